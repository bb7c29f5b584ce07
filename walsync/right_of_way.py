"""Who follows the main stream goes first: whoever catches up takes small steps, and lets the others pass between two.

They share this process's Python, and often a machine. A target that lacks a million changes would else keep those that
have everything waiting for each of its batches.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Final, Protocol

from walsync.backlog.backlog import Limits
from walsync.lsn import LSN

_IN_USE_SECONDS: Final = 1.0
"""So long after its last batch the main stream counts as in use."""

_WAIT_STEPS: Final = 3
"""How many times as long as a step anybody waits after it, at most: who catches up has a quarter of the time."""

_WAIT_SECONDS: Final = 0.02
"""The longest that anybody waits between two steps."""

_STEP_SECONDS: Final = 0.005
"""What the changes of a step may take, beside the way to the target; as long as that way, where that is longer."""

_LONGEST_STEP_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 1.0
_HURRY_SECONDS: Final = 2.0
_GAIN: Final = 3.0
"""How many times as fast as the main stream, in WAL, a target catches up at least, whatever the others wait then:
it takes half as long as the target was away. Where it is twice that there is time to let the others pass."""

_FEWEST_CHANGES: Final = 16
"""The first step: what it takes is, but for little, the way to the target."""


class RightOfWay:
    """Knows whether somebody on the main stream is at work; `give_way` is for any thread, all else for the event loop.

    `clock` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock: Final = clock
        self._at_work = 0
        self._used_at = self._hurried_at = float("-inf")
        self._is_free = threading.Event()
        self._is_free.set()
        self._was_freed = asyncio.Event()
        self._was_freed.set()

    @property
    def is_in_use(self) -> bool:
        """Whether the main stream has brought changes of late."""
        return self._at_work > 0 or self.clock() - self._used_at < _IN_USE_SECONDS

    def take(self) -> None:
        """Begin to write what the main stream has brought."""
        self._at_work += 1
        self._is_free.clear()
        self._was_freed.clear()

    def leave(self) -> None:
        """End what `take` began."""
        self._at_work -= 1
        self._used_at = self.clock()
        if not self._at_work:
            self._is_free.set()
            self._was_freed.set()

    def hurry(self) -> None:
        """Let nobody wait for a while: somebody does not get nearer to the main stream."""
        self._hurried_at = self.clock()

    def give_way(self, seconds: float) -> None:
        """Let the others pass after a step that took so long."""
        self._is_free.wait(self.wait_seconds(seconds))

    async def give_way_on_loop(self, seconds: float) -> None:
        """Do the same on the event loop."""
        waiting = asyncio.ensure_future(self._was_freed.wait())
        await asyncio.wait([waiting], timeout=self.wait_seconds(seconds))
        waiting.cancel()

    def wait_seconds(self, step_seconds: float) -> float:
        """Tell how long to wait for the others, at most, after a step that took so long."""
        if self.clock() - self._hurried_at < _HURRY_SECONDS:
            return 0.0
        return min(_WAIT_STEPS * step_seconds, _WAIT_SECONDS)


class Turn(Protocol):
    """How a target takes its batches."""

    @property
    def limits(self) -> Limits:
        """What the next batch may hold."""
        ...

    def taking(self, changes: int) -> AbstractAsyncContextManager[None]:
        """Surround the write of a batch with so many changes."""
        ...


class Ahead:
    """The turn of who follows the main stream: as much as there is, at once."""

    def __init__(self, way: RightOfWay, limits: Limits) -> None:
        self.limits = limits
        self._way = way

    @asynccontextmanager
    async def taking(self, changes: int) -> AsyncIterator[None]:
        """Go first."""
        del changes
        self._way.take()
        try:
            yield
        finally:
            self._way.leave()


class Between:
    """The turn of who catches up: in steps of some milliseconds while the main stream is in use, else like the others.

    How many changes that are differs by a factor of a hundred between targets: it is found by trying. Where small steps
    do not bring it nearer to the main stream they are longer. `stands` tells where it stands, and where that does.
    """

    def __init__(self, way: RightOfWay, limits: Limits, stands: Callable[[], tuple[LSN, LSN]]) -> None:
        self._way = way
        self._limits = limits
        self._stands = stands
        self._changes = _FEWEST_CHANGES
        self._least_seconds = float("inf")
        self._step_seconds = _STEP_SECONDS
        self._seen_at = way.clock()
        self._seen = stands()

    @property
    def limits(self) -> Limits:
        """What the next batch may hold."""
        return replace(self._limits, changes=self._changes) if self._way.is_in_use else self._limits

    @asynccontextmanager
    async def taking(self, changes: int) -> AsyncIterator[None]:
        """Learn from how long it takes, and let the others pass."""
        is_in_use, started = self._way.is_in_use, self._way.clock()
        yield
        seconds = self._way.clock() - started
        self._least_seconds = min(self._least_seconds, seconds)
        if is_in_use:
            self._look()
            self._learn(changes, seconds)
            await self._way.give_way_on_loop(seconds)

    def _look(self) -> None:
        """Take longer steps, and wait for nobody, where the main stream gets away; and the other way round."""
        now = self._way.clock()
        if now - self._seen_at < _LOOK_SECONDS:
            return
        (position, end), (before, end_before) = self._stands(), self._seen
        gained, wanted = position - before, _GAIN * (end - end_before)
        if gained < wanted:
            self._step_seconds = min(2 * self._step_seconds, _LONGEST_STEP_SECONDS)
            self._way.hurry()
        elif gained >= 2 * wanted:
            self._step_seconds = max(self._step_seconds / 2, _STEP_SECONDS)
        self._seen_at, self._seen = now, (position, end)

    def _learn(self, changes: int, seconds: float) -> None:
        if seconds - self._least_seconds > max(self._step_seconds, self._least_seconds):
            self._changes = max(_FEWEST_CHANGES, self._changes // 2)
        elif 2 * changes > self._changes:
            self._changes = min(self._limits.changes, 2 * self._changes)
