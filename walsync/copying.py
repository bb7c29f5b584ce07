"""One table's way from a snapshot into a target, noted where people look while it lasts."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from walsync.logs import Logger
from walsync.metrics import Metrics
from walsync.progress import Progress
from walsync.snapshot.progress import CopyProgress
from walsync.snapshots import Snapshot
from walsync.target.selection import Selected

log: Logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Copying:
    """A target's copies."""

    target: str
    progress: Progress
    metrics: Metrics

    async def copy(
        self, one: Selected, snapshot: Snapshot, into: Callable[[AsyncIterator[bytes]], Awaitable[int]]
    ) -> None:
        """Read a table's rows, and let `into` take them."""
        name = one.table.qualified_name
        reading = self.progress.copying[name] = CopyProgress()
        try:
            async with aclosing(snapshot.read(one, reading)) as chunks:
                rows = await into(self.metrics.count_chunks(self.target, name, chunks))
        finally:
            self.progress.copying.pop(name, None)
        self.progress.copied_rows[name] = rows
        self.metrics.snapshot_rows.labels(target=self.target, table=name).inc(rows)
        log.info("table_copied", target=self.target, table=name, rows=rows, lsn=str(snapshot.lsn))
