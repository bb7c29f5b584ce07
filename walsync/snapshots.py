"""The snapshots of a session: what a target joins to be given tables, all as of one position."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from walsync.lsn import LSN
from walsync.snapshot.read import SnapshotReader
from walsync.target.selection import Selected
from walsync.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Rows of every transaction that committed below `lsn`; `slot`, a temporary one, holds what committed since."""

    lsn: LSN
    slot: str
    _reader: SnapshotReader

    def read(self, one: Selected) -> AsyncGenerator[bytes, None]:
        """Yield whole lines of COPY text; SourceUnavailable when the snapshot is gone: take another."""
        return self._reader.read(one.table, one.match)


class Snapshots:
    """Gives snapshots to targets."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    @asynccontextmanager
    async def join(self) -> AsyncIterator[Snapshot]:
        """Take a snapshot; it lasts as long as the block."""
        async with self._upstream.snapshot() as (exported, reader):
            yield Snapshot(exported.lsn, exported.slot, reader)
