"""What is opened in a thread, so that the loop does not wait for it, and is closed where nobody wants it any more."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar


class _Closeable(Protocol):
    def close(self) -> None: ...


_T = TypeVar("_T", bound=_Closeable)


async def opened(function: Callable[[], _T]) -> _T:
    """Return what a function opens; where this is cancelled meanwhile, that is closed as soon as it is open."""
    opening = asyncio.create_task(asyncio.to_thread(function))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise


def _close(opening: asyncio.Task[_Closeable]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
