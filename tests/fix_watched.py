"""Somebody who looks at a target all the time, in a thread of their own, while a test does something to it."""

import threading
from collections.abc import Callable
from typing import Generic, Self, TypeVar

from fix_walsync import eventually_async

_T = TypeVar("_T")

SECONDS = 30


class Watched(Generic[_T]):
    """What `look` has seen, in order; the last one after the block."""

    def __init__(self, look: Callable[[], _T]) -> None:
        self.seen: list[_T] = []
        self._look = look
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stopping.set()
        self._thread.join()
        self.seen.append(self._look())

    async def until_seen(self) -> None:
        """Wait until there was one more look."""
        before = len(self.seen)
        await eventually_async(lambda: len(self.seen) > before, SECONDS, "one more look")

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self.seen.append(self._look())
