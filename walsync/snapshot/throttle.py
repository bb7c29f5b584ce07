"""Keeps reading below a rate: a token bucket, and the wait that it asks for."""

import asyncio
import time
from typing import Final

_BURST_SECONDS: Final = 1.0
"""How much of the rate may be saved up while nobody reads."""


class TokenBucket:
    """Pure: times are passed in, in seconds of any clock that never goes back."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._tokens = 0.0
        self._at: float | None = None

    def take(self, size: int, now: float) -> float:
        """Take `size` bytes, which may be more than there are; return how long to wait before the next are taken."""
        if self._at is not None:
            earned = (now - self._at) * self._rate
            self._tokens = min(self._tokens + earned, self._rate * _BURST_SECONDS)
        self._at = now
        self._tokens -= size
        return max(0.0, -self._tokens / self._rate)


class Throttle:
    """Waits as the bucket says; 0 bytes per second stand for no limit."""

    def __init__(self, bytes_per_second: int) -> None:
        self._bucket = TokenBucket(bytes_per_second) if bytes_per_second else None

    async def passed(self, size: int) -> None:
        """Say that `size` bytes were read; returns when more may be."""
        if self._bucket is not None and (seconds := self._bucket.take(size, time.monotonic())):
            await asyncio.sleep(seconds)
