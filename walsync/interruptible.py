"""Work that another task may interrupt, to do something while the work stands still; then it may begin again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class Interruptible:
    """One piece of work at a time; `interrupted` cancels it, and keeps the next from beginning."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._scope: asyncio.Timeout | None = None

    async def do(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Do the work to its end; False if it was interrupted."""
        async with self._one_at_a_time:
            scope = self._scope = asyncio.timeout(None)
            try:
                async with scope:
                    await work()
            except TimeoutError:
                if not scope.expired():
                    raise  # the work's own
                return False
            finally:
                self._scope = None
        return True

    @asynccontextmanager
    async def interrupted(self, *, after: float = 0.0) -> AsyncIterator[None]:
        """Cancel the work, if there is any, `after` seconds; inside the block it has ended and none begins."""
        if self._scope is not None and not self._scope.expired():  # it may be on its way out for another one
            self._scope.reschedule(asyncio.get_running_loop().time() + after)
        async with self._one_at_a_time:
            yield
