"""What one hold on the slot has read, and how far each target has come with it. It lives on the event loop."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import structlog

from walsync.backlog.backlog import Backlog
from walsync.checkpoint.acknowledgement import Acknowledgement
from walsync.delivery import Delivery, Path
from walsync.logs import Logger
from walsync.lsn import LSN
from walsync.metrics import Metrics
from walsync.reader import Reader
from walsync.source.stream import Stream
from walsync.status import TargetState
from walsync.target.base import Writer
from walsync.transaction.change import Transaction
from walsync.upstream import Prepared, Upstream

_DRAIN_SECONDS: Final = 10.0
_PROBE_SECONDS: Final = 2.0
"""How long a shutdown of the source may have to wait for us; one query in that time costs nothing."""

log: Logger = structlog.get_logger()


class Session:
    """The backlog between one reader at a time and a delivery per target, and the acknowledgement back."""

    def __init__(self, upstream: Upstream, prepared: Prepared, max_bytes: int, metrics: Metrics) -> None:
        self.prepared = prepared
        self.backlog = Backlog(max_bytes, prepared.confirmed_flush)
        self.acknowledgement = Acknowledgement(prepared.confirmed_flush)
        self.deliveries: dict[str, Delivery] = {}
        self.received_at = time.monotonic()
        self.is_reading = False
        self._upstream = upstream
        self._metrics = metrics
        self._reader: Reader | None = None
        self._draining = False
        self._loop = asyncio.get_running_loop()

    def path(self, writer: Writer) -> Path:
        """Give a delivery what it needs of this session."""
        return Path(
            self._upstream, self.prepared, writer, self.backlog, self.acknowledgement, self._metrics, self._moved
        )

    @property
    def resume_at(self) -> LSN:
        """Where a broken stream goes on.

        What all targets have is not asked for again: it may be undecodable, in a publication made since.
        """
        return max(self.backlog.end, self.acknowledgement.confirmed)

    async def read(self, stream: Stream) -> None:
        """Read the stream into the backlog until it breaks or the session is drained."""
        reader = Reader(stream, self._deliver)
        self._reader = reader
        self.is_reading = True
        self.received_at = time.monotonic()
        self._moved()
        reading = asyncio.create_task(asyncio.to_thread(reader.run))
        probing = asyncio.create_task(self._probe_while_held(reader))
        try:
            done, _ = await asyncio.wait([reading, probing], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._reader = None
            self.is_reading = False
            reader.stop()
            probing.cancel()
            await asyncio.wait([reading, probing])
            _look_at(reading, probing)

    async def _probe_while_held(self, reader: Reader) -> None:
        """Raise SourceUnavailable when the source goes away while nothing is read from it.

        Its walsender waits for us to read, and a server that shuts down waits for its walsender: it takes no other
        sessions by then, which is how we notice, and leave.
        """
        while True:
            await asyncio.sleep(_PROBE_SECONDS)
            if reader.is_held:
                await self._upstream.wal_end()

    async def drain(self, reading: asyncio.Task[None], delivering: dict[str, asyncio.Task[None]]) -> None:
        """Stop reading, let the targets finish what was read, confirm it, and end both kinds of task."""
        log.info("draining")
        self._draining = True
        self._moved()
        for name, delivery in self.deliveries.items():
            delivery.drain()
            if delivery.progress.state not in {TargetState.STREAMING, TargetState.CATCHING_UP}:
                delivering[name].cancel()
        done, late = await asyncio.wait(delivering.values(), timeout=_DRAIN_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.wait(delivering.values())
        self._moved()
        if self._reader is not None:
            self._reader.stop()
        await asyncio.wait([reading], timeout=_DRAIN_SECONDS)
        reading.cancel()
        await self._upstream.note_durable(
            {name: lsn for name in self.deliveries if (lsn := self.acknowledgement.durable(name)) is not None}
        )
        log.info("drained", targets=len(done), confirmed_lsn=str(self.acknowledgement.confirmed))

    def _deliver(self, transactions: Sequence[Transaction], received_bytes: int) -> None:
        # In the reader's thread: the loop takes it from here.
        self._loop.call_soon_threadsafe(self._receive, transactions, received_bytes)

    def _receive(self, transactions: Sequence[Transaction], received_bytes: int) -> None:
        self.received_at = time.monotonic()
        self._metrics.count_received(transactions, received_bytes)
        for transaction in transactions:
            self.backlog.append(transaction)
        for delivery in self.deliveries.values():
            delivery.notify()
        self._moved()

    def _moved(self) -> None:
        """Confirm what all targets have, and let the reader read if there is room."""
        if self._reader is None:
            return
        self._reader.confirm(self.acknowledgement.confirmed)
        if self.backlog.is_full or self._draining:
            self._reader.hold()
        else:
            self._reader.go_on()


def _look_at(*tasks: asyncio.Task[None]) -> None:
    """Look at outcomes that came too late to matter, so that asyncio does not report them."""
    for task in tasks:
        if not task.cancelled():
            task.exception()
