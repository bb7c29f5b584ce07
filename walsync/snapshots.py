"""The snapshots of a session: what a target joins to be given tables, all as of one position.

Targets that begin together share a snapshot, and the reads of their tables.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Final, TypeAlias

from walsync.lsn import LSN
from walsync.snapshot.export import ExportedSnapshot
from walsync.snapshot.progress import CopyProgress
from walsync.snapshot.session import SnapshotSessions
from walsync.snapshot.settings import SnapshotSettings
from walsync.snapshot.sharing import SharedRead
from walsync.snapshot.throttle import Throttle
from walsync.target.selection import Selected
from walsync.upstream import Upstream

_Taken: TypeAlias = tuple[ExportedSnapshot, SnapshotSessions]
_Wanted: TypeAlias = tuple[int, frozenset[tuple[str, frozenset[bytes]]]]
_TAKING: Final = "snapshot"


class Snapshot:
    """Rows of every transaction that committed below `lsn`; `slot`, a temporary one, holds what committed since."""

    def __init__(self, taken: _Taken, reads: dict[_Wanted, SharedRead], throttle: Throttle) -> None:
        exported, self._sessions = taken
        self.lsn = exported.lsn
        self.slot = exported.slot
        self._reads = reads
        self._throttle = throttle

    async def read(self, one: Selected, progress: CopyProgress | None = None) -> AsyncGenerator[bytes, None]:
        """Yield whole lines of COPY text, and note in `progress` how far it is.

        SourceUnavailable when the snapshot is gone: take another.
        """
        # Looked for when the first chunk is wanted: before that a target may wait for a lock of its own.
        wanted = one.table.relid, frozenset(one.match.items())
        read = self._reads.get(wanted)
        if read is None or not read.is_open:
            read = self._reads[wanted] = SharedRead(self._sessions, self._throttle, one.table, one.match)
        async with aclosing(read.follow(progress or CopyProgress())) as chunks:
            async for chunk in chunks:
                yield chunk


class Snapshots:
    """Gives snapshots to targets."""

    def __init__(self, upstream: Upstream, settings: SnapshotSettings, confirmed: Callable[[], LSN]) -> None:
        """Take snapshots of `upstream`; `confirmed` tells from where on its slots still hold what was committed."""
        self._upstream = upstream
        self._confirmed = confirmed
        self.take(settings)

    def take(self, settings: SnapshotSettings) -> None:
        """Take the next snapshots as another configuration says.

        Nobody joins one that others have begun with before: what its tables were given since then may not have been
        published, where they were not yet.
        """
        self._workers = settings.workers
        self._throttle = Throttle(settings.max_bytes_per_second)
        self._round: _Round | None = None

    @asynccontextmanager
    async def join(self) -> AsyncIterator[Snapshot]:
        """Share the snapshot that others have just begun with, or take one; it lasts as long as the block."""
        joined = self._round
        if joined is None or not joined.takes_in(self._confirmed()):
            joined = self._round = _Round(self._upstream, self._workers)
        joined.members += 1
        try:
            yield Snapshot(await joined.taken(), joined.reads, self._throttle)
        finally:
            await joined.leave()


class _Round:
    """One snapshot for those who joined it; its session stays idle until the last has left."""

    def __init__(self, upstream: Upstream, workers: int) -> None:
        self.members = 0
        self.reads: dict[_Wanted, SharedRead] = {}
        self._left = False
        self._empty = asyncio.Event()
        self._taken: asyncio.Future[_Taken] = asyncio.get_running_loop().create_future()
        self._holding = asyncio.create_task(self._hold(upstream, workers), name=_TAKING)

    def takes_in(self, confirmed: LSN) -> bool:
        """Whether others may join: until the first has left, and while the slots hold what committed since."""
        if self._left or (self._taken.done() and (self._taken.cancelled() or self._taken.exception() is not None)):
            return False
        return not self._taken.done() or self._taken.result()[0].lsn >= confirmed

    async def taken(self) -> _Taken:
        """Wait for the snapshot; raises what kept it from being taken."""
        return await asyncio.shield(self._taken)

    async def leave(self) -> None:
        """Go; with the last the snapshot ends."""
        self._left = True
        self.members -= 1
        if self.members == 0:
            self._empty.set()
            if not self._taken.done():
                self._holding.cancel()
            await asyncio.wait([self._holding])
            if self._taken.done() and not self._taken.cancelled():
                self._taken.exception()  # who left while waiting has not asked for it

    async def _hold(self, upstream: Upstream, workers: int) -> None:
        try:
            async with upstream.snapshot(workers) as taken:
                self._taken.set_result(taken)
                await self._empty.wait()
        except asyncio.CancelledError:
            self._taken.cancel()
        except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait for the snapshot get it
            if not self._taken.done():
                self._taken.set_exception(error)
