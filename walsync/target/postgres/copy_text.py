"""Carries COPY text from an async iterator on the event loop to psycopg2, which reads a file in a thread."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future


class CopyReader:
    """What ``copy_expert`` reads from: one chunk per call, with the next one fetched meanwhile, so two in memory.

    psycopg2 swallows what `read` raises; `failure` keeps it. `is_at_end` tells an end from a pause.
    """

    def __init__(self, chunks: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self.failure: BaseException | None = None
        self.is_at_end = False
        self._until_pause: int | None = None
        self._chunks = chunks
        self._loop = loop
        self._stopped = False
        self._reading = asyncio.Lock()
        self._pending: Future[bytes] | None = None

    def pause_after(self, size: int) -> None:
        """End once when `size` bytes have been read, at the end of a line, though more may follow."""
        self._until_pause = size

    def read(self, _size: int = -1) -> bytes:
        """Give the next chunk, whatever its size; empty at the end."""
        if self._until_pause is not None and self._until_pause <= 0:
            self._until_pause = None
            return b""
        chunk = self._take()
        self.is_at_end = not chunk
        if self._until_pause is not None:
            self._until_pause -= len(chunk)
        return chunk

    def _take(self) -> bytes:
        try:
            chunk = (self._pending or self._fetch()).result()
            self._pending = self._fetch() if chunk else None
        except BaseException as error:
            self.failure = error
            raise
        return chunk

    def readline(self, size: int = -1) -> bytes:
        """Be a file for the types; psycopg2 never calls it."""
        return self.read(size)

    def stop(self) -> None:
        """Make a waiting `read` raise, and every later one; from the event loop."""
        self._stopped = True
        if self._pending is not None:
            self._pending.cancel()

    async def close(self) -> None:
        """Stop, and wait until the iterator is at rest, so that its owner may close it."""
        self.stop()
        async with self._reading:
            pass

    def _fetch(self) -> "Future[bytes]":
        self._pending = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
        if self._stopped:
            self._pending.cancel()
        return self._pending

    async def _next(self) -> bytes:
        async with self._reading:
            # An empty chunk in the middle would read as the end.
            async for chunk in self._chunks:
                if chunk:
                    return chunk
        return b""
