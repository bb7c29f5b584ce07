"""How many requests an API token has left, for all targets that share it.

Cloudflare takes 1200 requests per 5 minutes and token, and blocks the token for 5 minutes after that. One budget per
token spreads them: a target waits for its turn instead of running into the block. Time comes from outside.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from weakref import WeakValueDictionary

from walsync.settings import Secret

REQUESTS: Final = 1200
WINDOW_SECONDS: Final = 300.0
BLOCK_SECONDS: Final = 300.0
"""How long Cloudflare refuses a token that has used them up, where it does not say so itself."""

_FOR_FLUSHES: Final = 0.75
"""The share that flushes may use; the rest is for claims, snapshots, and whoever else uses the token."""

_SPACING_SECONDS: Final = WINDOW_SECONDS / (0.9 * REQUESTS)
_BURST: Final = 60
"""Requests that may come at once, as at a start."""

_INSTANT_SECONDS: Final = 0.001
"""What floating point leaves over is not waited for."""

_REMAINING: Final = re.compile(r"\br=(\d+)\b.*?\bt=(\d+)\b")
"""Of the header ``Ratelimit: "default";r=50;t=30``: requests left, seconds until there are new ones."""

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


class RateBudget:
    """The requests of one token."""

    def __init__(self, clock: Clock = time.monotonic, sleep: Sleep = asyncio.sleep) -> None:
        self._clock = clock
        self._sleep = sleep
        self._targets = 0
        self._turn = clock() - _BURST * _SPACING_SECONDS
        self._blocked_until = 0.0

    def join(self) -> None:
        """Count a target in."""
        self._targets += 1

    def leave(self) -> None:
        """Count a target out."""
        self._targets -= 1

    @property
    def targets(self) -> int:
        """How many share it."""
        return self._targets

    @property
    def flush_seconds(self) -> float:
        """How far apart each target's flushes are, so that those of all targets fit."""
        return max(self._targets, 1) * WINDOW_SECONDS / (REQUESTS * _FOR_FLUSHES)

    @property
    def blocked_seconds(self) -> float:
        """How long nobody may ask."""
        return max(0.0, self._blocked_until - self._clock())

    async def take(self) -> None:
        """Wait for the turn of one request: requests are spaced, and a few may come at once."""
        now = self._clock()
        self._turn = max(self._turn + _SPACING_SECONDS, now - _BURST * _SPACING_SECONDS)
        await self._sleep_until(max(self._turn, self._blocked_until))

    async def pace(self, flushed_at: float | None) -> float:
        """Wait until the next flush of a target whose last one was then; return when this one is."""
        if flushed_at is not None:
            await self._sleep_until(flushed_at + self.flush_seconds)
        return self._clock()

    def block(self, seconds: float) -> None:
        """Take note that nothing is answered for so long."""
        self._blocked_until = max(self._blocked_until, self._clock() + seconds)

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take note of what an answer says about what is left: others may use the token as well."""
        found = _REMAINING.search(headers.get("Ratelimit", ""))
        if found is None:
            return
        left, seconds = int(found[1]), int(found[2])
        if left == 0:
            self.block(seconds)
        elif left * _SPACING_SECONDS < seconds:
            # What is left has to last until there are new ones.
            self._turn = max(self._turn, self._clock() + seconds / left - _SPACING_SECONDS)

    async def _sleep_until(self, moment: float) -> None:
        # A block may begin while one waits.
        while (seconds := max(moment, self._blocked_until) - self._clock()) > _INSTANT_SECONDS:
            await self._sleep(seconds)


_shared: WeakValueDictionary[bytes, RateBudget] = WeakValueDictionary()


def budget_of(token: Secret) -> RateBudget:
    """Return the one budget of a token in this process."""
    key = hashlib.sha256(token.get_secret_value().encode()).digest()
    budget = _shared.get(key)
    if budget is None:
        budget = _shared[key] = RateBudget()
    return budget


def retry_after(headers: Mapping[str, str]) -> float:
    """Read how long to stay away after a refusal."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isdigit() else BLOCK_SECONDS
