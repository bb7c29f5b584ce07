"""Looks how late the event loop comes round while something else is measured."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

PERIOD_SECONDS = 0.001


@dataclass
class Watch:
    """The longest time for which the event loop did not come round."""

    longest: float = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch the loop meanwhile."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _watch(self) -> None:
        while True:
            due = time.perf_counter() + PERIOD_SECONDS
            await asyncio.sleep(PERIOD_SECONDS)
            self.longest = max(self.longest, time.perf_counter() - due)
