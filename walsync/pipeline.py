"""Joins the steps: READ FIRST. It takes the slot, reads it into the backlog, and runs a delivery for each target.

    slot -> Stream -> Decoder -> Assembler -> Backlog -> Delivery -> Target -> Acknowledgement -> slot
            `-------- Reader, a thread -----'            `- a task each ---'

A *session* lasts from taking the slot until the source, or what the targets hold, forces a new beginning; inside it a
broken stream is simply opened again where the backlog ends.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    retry_if_not_exception_type,
    wait_random_exponential,
)

from walsync.backlog.backlog import Backlog
from walsync.checkpoint.acknowledgement import Acknowledgement
from walsync.config import Config
from walsync.delivery import Delivery, Path
from walsync.errors import SourceUnavailable, WalsyncError
from walsync.logs import Logger
from walsync.lsn import LSN
from walsync.metrics import Metrics
from walsync.reader import Reader
from walsync.source.stream import SlotActive, SourceChanged, Stream
from walsync.status import TargetState
from walsync.target.registry import open_target
from walsync.transaction.change import Transaction
from walsync.upstream import Prepared, Upstream

_T = TypeVar("_T")
_BACKOFF: Final = wait_random_exponential(multiplier=0.1, max=10)
_SLOT_ACTIVE_SECONDS: Final = 1.0
"""How often a waiting instance tries again to take the slot: a takeover is a matter of seconds."""

_DRAIN_SECONDS: Final = 10.0
_CAUGHT_UP_EVERY_SECONDS: Final = 0.1

log: Logger = structlog.get_logger()


@dataclass
class Session:
    """What exists between taking the slot and losing it for good."""

    prepared: Prepared
    backlog: Backlog
    acknowledgement: Acknowledgement
    deliveries: dict[str, Delivery]
    reader: Reader | None = None


class Pipeline:
    """One configuration at work. `run` ends when `stop` was called, or with the error that makes going on wrong."""

    def __init__(self, config: Config, metrics: Metrics) -> None:
        self.config = config
        self.metrics = metrics
        self.upstream = Upstream(config.source)
        self.session: Session | None = None
        self.source_error: WalsyncError | None = None
        self.received_at = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._received = False

    def stop(self) -> None:
        """Drain: let the targets finish what was read, confirm it, and return from `run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Keep the targets in step until `stop`."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(SourceUnavailable),
            wait=self._backoff,
            before_sleep=self._note_source_error,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    session = await self._unless_stopped(self._begin_session())
                    if session is not None:
                        await self._run_session(*session)
        finally:
            await self.upstream.close()

    async def wait_until_caught_up(self) -> None:
        """Return when every target has what the source had committed when this was called."""
        goal: LSN | None = None
        while True:
            await asyncio.sleep(_CAUGHT_UP_EVERY_SECONDS)
            session = self.session
            if session is None:
                continue
            if goal is None:
                goal = await self.upstream.wal_end()
            progress = [delivery.progress for delivery in session.deliveries.values()]
            stopped = next((p.error for p in progress if p.state is TargetState.STOPPED and p.error is not None), None)
            if stopped is not None:
                raise stopped
            if all(p.position >= goal for p in progress):
                return

    async def _begin_session(self) -> tuple[Session, Stream]:
        prepared = await self.upstream.prepare([target.name for target in self.config.targets])
        writer = await self.upstream.draw_writer(prepared)
        stream = await self.upstream.open_stream(prepared, prepared.confirmed_flush)
        log.info("slot_taken", slot=writer.slot, epoch=writer.epoch, lsn=str(prepared.confirmed_flush))
        self.source_error = None
        backlog = Backlog(self.config.backlog.max_bytes, prepared.confirmed_flush)
        acknowledgement = Acknowledgement(prepared.confirmed_flush)
        path = Path(
            self.upstream,
            prepared,
            writer,
            backlog,
            acknowledgement,
            self.config.batch,
            self.metrics,
            self._moved,
        )
        deliveries = {}
        for settings in self.config.targets:
            target = open_target(settings, slot=writer.slot, collapse=self.config.batch.transactions != 1)
            deliveries[target.name] = Delivery(target, prepared.registrations.get(target.name), path)
        return Session(prepared, backlog, acknowledgement, deliveries), stream

    async def _run_session(self, session: Session, stream: Stream) -> None:
        self.session = session
        try:
            await self._follow(session, stream)
        finally:
            self.session = None

    async def _unless_stopped(self, work: Coroutine[Any, Any, _T]) -> _T | None:
        """Do the work, unless `stop` is called before it is done: it may be waiting for others for hours."""
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            stopping.cancel()
            working.cancel()
            await asyncio.wait([working])

    async def _follow(self, session: Session, stream: Stream) -> None:
        """Read and deliver until stopped; the first failure of any part cancels the others."""
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(session, stream))
                delivering = {name: group.create_task(d.run()) for name, d in session.deliveries.items()}
                group.create_task(self._drain_when_stopped(session, reading, delivering))
        except* WalsyncError as errors:
            raise _gravest(errors) from errors

    async def _read(self, session: Session, stream: Stream) -> None:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(SourceUnavailable) & retry_if_not_exception_type(SourceChanged),
            wait=self._backoff,
            before_sleep=self._note_source_error,
            sleep=self._sleep,
            reraise=True,
        )
        opened: Stream | None = stream
        async for attempt in retrying:
            with attempt:
                if self._stopping.is_set() and opened is None:
                    return
                # What all targets have is not asked for again: it may be undecodable, in a publication made since.
                start = max(session.backlog.end, session.acknowledgement.confirmed)
                opened = opened or await self.upstream.open_stream(session.prepared, start)
                self.source_error = None
                reader = Reader(opened, self._deliver)
                opened = None
                await self._run_reader(session, reader)

    async def _run_reader(self, session: Session, reader: Reader) -> None:
        session.reader = reader
        self._moved()
        self.received_at = time.monotonic()
        reading = asyncio.create_task(asyncio.to_thread(reader.run))
        try:
            await asyncio.shield(reading)
        finally:
            session.reader = None
            reader.stop()
            await asyncio.wait([reading])

    def _deliver(self, transactions: Sequence[Transaction], received_bytes: int) -> None:
        # In the reader's thread: the loop takes it from here.
        self._loop.call_soon_threadsafe(self._receive, transactions, received_bytes)

    def _receive(self, transactions: Sequence[Transaction], received_bytes: int) -> None:
        session = self.session
        if session is None:
            return
        self.received_at = time.monotonic()
        self._received = True
        self.metrics.received_bytes.inc(received_bytes)
        self.metrics.transactions_received.inc(sum(1 for transaction in transactions if transaction.changes))
        for transaction in transactions:
            session.backlog.append(transaction)
        for delivery in session.deliveries.values():
            delivery.notify()
        self._moved()

    def _moved(self) -> None:
        session = self.session
        if session is None or session.reader is None:
            return
        session.reader.confirm(session.acknowledgement.confirmed)
        if session.backlog.is_full or self._stopping.is_set():
            session.reader.hold()
        else:
            session.reader.go_on()

    async def _drain_when_stopped(
        self, session: Session, reading: asyncio.Task[None], delivering: dict[str, asyncio.Task[None]]
    ) -> None:
        await self._stopping.wait()
        log.info("draining")
        self._moved()
        for name, delivery in session.deliveries.items():
            delivery.drain()
            if delivery.progress.state not in {TargetState.STREAMING, TargetState.CATCHING_UP}:
                delivering[name].cancel()
        done, late = await asyncio.wait(delivering.values(), timeout=_DRAIN_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.wait(delivering.values())
        self._moved()
        if session.reader is not None:
            session.reader.stop()
        await asyncio.wait([reading], timeout=_DRAIN_SECONDS)
        reading.cancel()
        durable = {name: lsn for name in session.deliveries if (lsn := session.acknowledgement.durable(name))}
        await self.upstream.note_durable(durable)
        log.info("drained", targets=len(done), confirmed_lsn=str(session.acknowledgement.confirmed))

    def _note_source_error(self, retry: RetryCallState) -> None:
        error = retry.outcome.exception() if retry.outcome else None
        if isinstance(error, WalsyncError):
            self.source_error = error
            self.metrics.source_reconnects.inc()
            log.warning("source_unavailable", code=error.code, error=error.message, attempt=retry.attempt_number)

    def _backoff(self, retry: RetryCallState) -> float:
        if self._received:  # it worked in between: this outage is a new one
            retry.attempt_number, self._received = 1, False
        error = retry.outcome.exception() if retry.outcome else None
        return _SLOT_ACTIVE_SECONDS if isinstance(error, SlotActive) else _BACKOFF(retry)

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not longer than until `stop`."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


def _gravest(errors: BaseExceptionGroup[WalsyncError]) -> WalsyncError:
    """Choose what to report of failures that came together: what ends the process before what is tried again."""
    leaves = [error for error in _leaves(errors) if isinstance(error, WalsyncError)]
    return max(leaves, key=lambda error: (not error.transient, error.exit_code))


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]
