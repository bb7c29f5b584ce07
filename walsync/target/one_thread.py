"""One thread for the blocking calls of a target that writes files: calls come one by one, and can be abandoned."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

_END_SECONDS: Final = 5.0
"""How long abandoned work may take to notice; only a stuck disk takes longer."""


class Abandoned(Exception):
    """Nobody waits for this work any more: what it has not made durable does not count."""


def go_on(abandoned: threading.Event) -> None:
    """Raise Abandoned where nobody waits any more."""
    if abandoned.is_set():
        raise Abandoned


class OneThread:
    """Runs work off the event loop, in order."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, work: Callable[[threading.Event], T]) -> T:
        """Run it to its end. Cancelling sets the event that it is given, and waits until it has noticed."""
        abandoned = threading.Event()
        future = asyncio.get_running_loop().run_in_executor(self._executor, work, abandoned)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            abandoned.set()
            future.add_done_callback(_take_exception)
            await asyncio.wait({future}, timeout=_END_SECONDS)
            raise

    def close(self) -> None:
        """End the thread when its work has ended."""
        self._executor.shutdown(wait=False)


def _take_exception(future: "asyncio.Future[T]") -> None:
    """Look at the outcome that nobody waits for, so that asyncio does not report it."""
    if not future.cancelled():
        future.exception()
