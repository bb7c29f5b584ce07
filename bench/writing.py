"""Writes batches to a target of any kind as the pipeline does, and takes the time."""

import time
from collections.abc import Sequence
from uuid import UUID

from watch import Watch

from walsync.lsn import LSN
from walsync.source.table import Table
from walsync.target.base import Batch, Target, Writer

WRITER = Writer("bench", "1", 1, 1)


async def write(target: Target, table: Table, prepared: Sequence[Batch], watch: Watch) -> float:
    """Let a new target have the table, write the batches, and close it; return the seconds of the writing."""
    await target.register(UUID(int=1), WRITER, LSN(0))
    await target.prepare([table])
    async with watch.running():
        started = time.perf_counter()
        for batch in prepared:
            await target.write(batch)
        elapsed = time.perf_counter() - started
    await target.close()
    return elapsed
