"""The streams of targets that the main one does not wait for: each reads on its own from where its targets stand.

Targets at similar positions share one. There are few at a time, because each takes a replication slot and a sender of
the server; the others wait for their turn.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import structlog

from walsync.backlog.backlog import Backlog
from walsync.backlog.settings import BacklogSettings
from walsync.errors import SourceUnavailable
from walsync.feed import Feed
from walsync.logs import Logger
from walsync.lsn import LSN
from walsync.upstream import Prepared, Upstream

_LOOK_SECONDS: Final = 5.0
_STILL_SECONDS: Final = 60.0
"""Longer than a write that gets on; nothing is lost by it but the reading of what comes after that write."""

_STOOD_STILL: Final = "a stream to catch up on was taken back: nobody took anything from it, and others waited for one"

log: Logger = structlog.get_logger()


class Lane:
    """One stream on which targets catch up; it ends with its last follower."""

    def __init__(self, upstream: Upstream, backlog: Backlog, durable: Callable[[str], LSN | None]) -> None:
        self.feed: Final = Feed(upstream, backlog, self._confirmed)
        self.error: Exception | None = None
        self._start = backlog.start
        self._durable = durable
        self._followers: set[str] = set()
        self._reached: Mapping[str, LSN | None] = {}
        self._moved_at = 0.0
        self._reading: asyncio.Task[None] | None = None

    def follow(self, name: str, position: LSN, notify: Callable[[], None]) -> bool:
        """Follow from `position` on; False if the stream has passed it, or has ended."""
        if self.error is not None or not self.feed.follow(name, position, notify):
            return False
        self._followers.add(name)
        return True

    def leave(self, name: str) -> bool:
        """Follow no longer; tells whether that was the last one."""
        self._followers.discard(name)
        self.feed.leave(name)
        return not self._followers

    def raise_error(self) -> None:
        """Raise what has ended the stream."""
        if self.error is not None:
            raise self.error

    def still_seconds(self) -> float:
        """Tell for how long nobody has taken what there was for all, from one look to the next."""
        reached = {name: self._durable(name) for name in self._followers}
        backlog = self.feed.backlog
        is_given = all(backlog.has_more(name) for name in self._followers if backlog.follows(name))
        if reached != self._reached or not is_given:
            self._reached, self._moved_at = reached, time.monotonic()
        return time.monotonic() - self._moved_at

    def let_go(self) -> None:
        """Keep the stream for none of its followers any more."""
        for name in self._followers:
            self.feed.let_go(name)

    async def open(self, upstream: Upstream, prepared: Prepared, pause: Callable[[float], None]) -> None:
        """Open the stream, and begin to read it; `pause` is as in Reader."""
        stream = await upstream.open_catch_up(prepared, self._start)
        self._reading = asyncio.create_task(self.feed.read(stream, pause))
        self._reading.add_done_callback(self._ended)

    def fail(self, error: BaseException) -> None:
        """Tell the followers that there is no stream for them; they try again, unless it is an error of ours."""
        closed = SourceUnavailable("WS2002", "the stream to catch up on has ended")
        self.error = self.error or (error if isinstance(error, Exception) else closed)
        self.feed.wake()

    async def close(self) -> None:
        """End the stream, and with it the slot."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def _confirmed(self) -> LSN:
        return max(
            self._start, min((self._durable(name) or self._start for name in self._followers), default=self._start)
        )

    def _ended(self, reading: asyncio.Task[None]) -> None:
        error = None if reading.cancelled() else reading.exception()
        self.fail(error or asyncio.CancelledError())


class CatchUp:
    """All lanes of a session; `catch_up_streams` of them at a time.

    `durable` tells what a target has; `pause` is as in Reader.
    """

    def __init__(
        self,
        upstream: Upstream,
        prepared: Prepared,
        settings: BacklogSettings,
        durable: Callable[[str], LSN | None],
        *,
        pause: Callable[[float], None],
    ) -> None:
        self._upstream = upstream
        self._prepared = prepared
        self._settings = settings
        self._pause = pause
        self._durable = durable
        self._lanes: list[Lane] = []
        self._held_lanes = 0
        self._freed = asyncio.Event()

    def take(self, settings: BacklogSettings) -> None:
        """Open the next lanes as another configuration says."""
        self._settings = settings
        self._freed.set()

    async def join(self, name: str, position: LSN, notify: Callable[[], None]) -> Lane:
        """Find a lane that still has `position`, or open one in turn; SourceUnavailable where there is no room."""
        while not (found := self._find(name, position, notify)):
            await self._wait_for_room()
            if found := self._find(name, position, notify):  # somebody opened it while this one waited
                self._free()
                break
            lane = Lane(self._upstream, Backlog(self._settings.max_bytes, position), self._durable)
            lane.follow(name, position, notify)
            self._lanes.append(lane)  # at once: those that come back together share it
            try:
                await lane.open(self._upstream, self._prepared, self._pause)
            except BaseException as error:
                self._lanes.remove(lane)
                self._free()
                lane.fail(error)
                raise
            log.info("catching_up", target=name, lsn=str(position))
            return lane
        log.info("catching_up_together", target=name, lsn=str(position))
        return found

    async def leave(self, name: str, lane: Lane) -> None:
        """Leave a lane, which ends when nobody follows it any more."""
        if lane.leave(name) and lane in self._lanes:
            await self._end(lane)

    async def close(self) -> None:
        """End all lanes."""
        for lane in self._lanes:
            await lane.close()
        self._lanes.clear()

    async def _wait_for_room(self) -> None:
        while self._held_lanes >= self._settings.catch_up_streams:
            self._freed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), _LOOK_SECONDS)
            for lane in [one for one in self._lanes if one.still_seconds() > _STILL_SECONDS]:
                stood_still = SourceUnavailable("WS2410", _STOOD_STILL, hint="see what its target waits for: a lock?")
                log.warning("lane_taken_back", code=stood_still.code, error=stood_still.message)
                lane.let_go()
                lane.fail(stood_still)
                await self._end(lane)
        self._held_lanes += 1

    async def _end(self, lane: Lane) -> None:
        self._lanes.remove(lane)
        try:
            await lane.close()
        finally:
            self._free()

    def _free(self) -> None:
        self._held_lanes -= 1
        self._freed.set()

    def _find(self, name: str, position: LSN, notify: Callable[[], None]) -> Lane | None:
        return next((lane for lane in self._lanes if lane.follow(name, position, notify)), None)
