"""One stream read into one backlog, for the targets that follow it: the main one, or one on which targets catch up.

It lives on the event loop. When the backlog is full it lets go of followers that are far behind the one furthest ahead,
which is never made to wait for them; what becomes of those is for their deliveries to decide.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from walsync.backlog.backlog import Backlog
from walsync.lsn import LSN
from walsync.reader import Reader
from walsync.source.stream import Stream
from walsync.transaction.change import Transaction
from walsync.upstream import Upstream

_PROBE_SECONDS: Final = 2.0
"""How long a shutdown of the source may have to wait for us; one query in that time costs nothing."""

Received = Callable[[Sequence[Transaction], int], None]


class Feed:
    """A backlog, filled by one reader at a time, and who follows it.

    `confirmed` tells what the stream may confirm, `received` hears of everything that was read, with its bytes, and
    `left` of who follows no longer; `keep` leaves of a transaction what is wanted.
    """

    def __init__(
        self,
        upstream: Upstream,
        backlog: Backlog,
        confirmed: Callable[[], LSN],
        *,
        received: Received | None = None,
        left: Callable[[str], None] | None = None,
        keep: Callable[[Transaction], Transaction] | None = None,
    ) -> None:
        self.backlog = backlog
        self.received_at = time.monotonic()
        self.is_reading = False
        self._upstream = upstream
        self._confirmed = confirmed
        self._received = received
        self._left = left
        self._keep = keep
        self._notify: dict[str, Callable[[], None]] = {}
        self._reader: Reader | None = None
        self._failing: asyncio.Future[None]
        """Of the present reader: a mistake of ours where its transactions are taken in."""
        self._draining = False
        self._loop = asyncio.get_running_loop()

    def follow(self, name: str, position: LSN, notify: Callable[[], None]) -> bool:
        """Follow from `position` on; False if that is not held any more.

        `notify` is called when there is more, and when the feed has let go of who follows.
        """
        if not self.backlog.attach(name, position):
            return False
        self._notify[name] = notify
        self.moved()  # it may stand further than it was waited for: there is room again
        return self.backlog.follows(name)

    def leave(self, name: str) -> None:
        """Follow no longer, by its own wish: the backlog is not kept for this target."""
        self._forget(name)
        self.moved()

    def let_go(self, name: str) -> None:
        """Keep the backlog for a target no longer, and tell it."""
        self._let_go(name)
        self.moved()

    def skip_to(self, position: LSN) -> None:
        """Go on at `position`, where that is above what was read; lets go of who lacks what lies between."""
        for name in self.backlog.skip_to(position):
            self._let_go(name)

    def wake(self) -> None:
        """Make every follower look again."""
        for notify in list(self._notify.values()):
            notify()

    def moved(self) -> None:
        """Confirm what may be confirmed, and let the reader read if there is room."""
        if self.backlog.is_full:
            for name in self.backlog.laggards():
                self._let_go(name)
        if self._reader is None:
            return
        self._reader.confirm(self._confirmed())
        if self.backlog.is_full or self._draining:
            self._reader.hold()
        else:
            self._reader.go_on()

    def resize(self, max_bytes: int) -> None:
        """Hold so much from now on."""
        self.backlog.max_bytes = max_bytes
        self.moved()

    def drain(self) -> None:
        """Read no more; the stream stays open, and confirms."""
        self._draining = True
        self.moved()

    def stop(self) -> None:
        """Let `read` return soon."""
        self.moved()
        if self._reader is not None:
            self._reader.stop()

    async def read(self, stream: Stream, pause: Callable[[float], None] | None = None) -> None:
        """Read the stream into the backlog until it breaks or `stop` is called; `pause` is as in Reader."""
        reader = Reader(stream, self._deliver, pause=pause)
        failing = self._failing = self._loop.create_future()
        self._reader = reader
        self.is_reading = True
        self.received_at = time.monotonic()
        self.moved()
        reading = asyncio.create_task(asyncio.to_thread(reader.run))
        probing = asyncio.create_task(self._probe_while_held(reader))
        try:
            done, _ = await asyncio.wait([reading, probing, failing], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._reader = None
            self.is_reading = False
            reader.stop()
            probing.cancel()
            await asyncio.wait([reading, probing])
            failing.cancel()
            _look_at(reading, probing, failing)

    def _let_go(self, name: str) -> None:
        notify = self._forget(name)
        if notify is not None:
            notify()

    def _forget(self, name: str) -> Callable[[], None] | None:
        self.backlog.detach(name)
        if self._left is not None:
            self._left(name)
        return self._notify.pop(name, None)

    async def _probe_while_held(self, reader: Reader) -> None:
        """Raise SourceUnavailable when the source goes away while nothing is read from it.

        Its walsender waits for us to read, and a server that shuts down waits for its walsender: it takes no other
        sessions by then, which is how we notice, and leave.
        """
        while True:
            await asyncio.sleep(_PROBE_SECONDS)
            if reader.is_held:
                await self._upstream.wal_end()

    def _deliver(self, transactions: Sequence[Transaction], received_bytes: int) -> None:
        # In the reader's thread: the loop takes it from here.
        self._loop.call_soon_threadsafe(self._receive, transactions, received_bytes)

    def _receive(self, transactions: Sequence[Transaction], received_bytes: int) -> None:
        if self._failing.done():
            return  # what comes behind a gap must not be confirmed
        try:
            self._take_in(transactions, received_bytes)
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop would log it and go on behind the gap
            self._failing.set_exception(error)

    def _take_in(self, transactions: Sequence[Transaction], received_bytes: int) -> None:
        self.received_at = time.monotonic()
        if self._received is not None:
            self._received(transactions, received_bytes)
        for transaction in transactions:
            self.backlog.append(transaction if self._keep is None else self._keep(transaction))
        self.wake()
        self.moved()


def _look_at(*outcomes: asyncio.Future[None]) -> None:
    """Look at outcomes that came too late to matter, so that asyncio does not report them."""
    for outcome in outcomes:
        if not outcome.cancelled():
            outcome.exception()
