"""Joins the steps: READ FIRST. It takes the slot, reads it into the backlog, and runs a delivery for each target.

    slot -> Stream -> Decoder -> Assembler -> Backlog -> Delivery -> Target -> Acknowledgement -> slot
            `-------- Reader, a thread -----'            `- a task each ---'

A `Session` lasts from taking the slot until the source, or what the targets hold, forces a new beginning; inside it a
broken stream is simply opened again where the backlog ends, and another configuration is taken while it flows.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    retry_if_not_exception_type,
    wait_random_exponential,
)

from walsync.assignment import assign
from walsync.config import Config, refuse_what_needs_a_restart
from walsync.deliveries import copy_again
from walsync.errors import SourceUnavailable, WalsyncError
from walsync.logs import Logger
from walsync.lsn import LSN
from walsync.metrics import Metrics
from walsync.retaining import Retaining
from walsync.session import Session
from walsync.source.slot import SlotActive
from walsync.source.stream import SourceChanged, Stream
from walsync.status import TargetState
from walsync.target.selection import select
from walsync.upstream import Upstream

_T = TypeVar("_T")
_BACKOFF: Final = wait_random_exponential(multiplier=0.1, max=10)
_SLOT_ACTIVE_SECONDS: Final = 1.0
"""How often a waiting instance tries again to take the slot: a takeover is a matter of seconds."""

_CAUGHT_UP_EVERY_SECONDS: Final = 0.1
_PUBLISHED_EVERY_SECONDS: Final = 5.0
_NARROWED_HINT: Final = "what it left out is copied again; change source.tables instead, and reload"

log: Logger = structlog.get_logger()


class Pipeline:
    """One configuration at work. `run` ends when `stop` was called, or with the error that makes going on wrong."""

    def __init__(self, config: Config, metrics: Metrics) -> None:
        self.config = config
        self.upstream = Upstream(config.source)
        self.session: Session | None = None
        self.retaining: Retaining | None = None
        self.source_error: WalsyncError | None = None
        self.source_error_since = 0.0
        self._metrics = metrics
        self._changing = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._interrupted = asyncio.Event()
        """The session ends: set by `stop`, and where nobody knows what the source publishes."""

    def stop(self) -> None:
        """Drain: let the targets finish what was read, confirm it, and return from `run`."""
        self._stopping.set()
        self._interrupted.set()

    async def reload(self, config: Config) -> None:
        """Go on with another configuration; where that may not be, raise a WalsyncError and go on with the present one.

        The stream goes on, and so does every target of which nothing changes; nobody waits for a target that hangs.
        """
        async with self._changing:
            refuse_what_needs_a_restart(self.config, config)
            tables = await self.upstream.look(config.source, _names(config))
            for settings in config.targets:
                select(settings, tables)
            if self.session is not None:
                await self._change(self.session, config)
            self.config = config  # if it is only now beginning, it is given this as soon as it has
            log.info("configuration_taken", targets=_names(config))

    def copy_again(self, target: str | None, table: str | None) -> dict[str, list[str]]:
        """Copy a table once more, or all, to a target or to all, while the others go on; returns which, by target."""
        return copy_again({} if self.session is None else self.session.deliveries, target, table)

    async def run(self) -> None:
        """Keep the targets in step until `stop`."""
        try:
            async for attempt in self._retrying():
                with attempt:
                    await self._run_sessions()
        finally:
            await self.upstream.close()

    async def _run_sessions(self) -> None:
        """Hold the slot until `stop`."""
        while not self._stopping.is_set():
            self._interrupted.clear()
            begun = await self._unless_stopped(self._begin_session())
            if begun is not None:
                await self._follow(*begun)

    async def wait_until_caught_up(self) -> None:
        """Return when every target has what the source had committed when this was called; raise when one stopped."""
        goal: LSN | None = None
        while True:
            await asyncio.sleep(_CAUGHT_UP_EVERY_SECONDS)
            session = self.session
            if session is None:
                continue
            if goal is None:
                goal = await self._ask_goal()
                continue
            deliveries = session.deliveries.values()
            progress = [delivery.progress for delivery in deliveries]
            stopped = next((p.error for p in progress if p.state is TargetState.STOPPED and p.error is not None), None)
            if stopped is not None:
                raise stopped
            if all(each.progress.position >= goal and each.is_complete for each in deliveries):
                return

    async def _ask_goal(self) -> LSN | None:
        try:
            return await self.upstream.wal_end()
        except SourceUnavailable:
            return None

    async def _begin_session(self) -> tuple[Session, Stream]:
        config = self.config
        prepared = await self.upstream.prepare(config.source, _names(config))
        writer = await self.upstream.draw_writer(prepared)
        assign(config, prepared.published)  # what one of them asks in vain is refused before the slot is taken
        stream = await self.upstream.open_stream(prepared, prepared.confirmed_flush, writer)
        log.info("slot_taken", slot=writer.slot, epoch=writer.epoch, lsn=str(prepared.confirmed_flush))
        return Session(self.upstream, prepared, writer, config, self._metrics), stream

    async def _change(self, session: Session, config: Config) -> None:
        """Let a session take another configuration."""
        try:
            published = await self.upstream.publish(config.source, _names(config))
        except SourceUnavailable:
            self._interrupted.set()  # it went away, perhaps with the publication changed: begin with a look at it
            return
        if self.session is not session or self.retaining is None:
            return  # it has ended meanwhile, and the next one begins with a look
        try:
            session.take(config, published)
        except WalsyncError:
            self._interrupted.set()  # a table has gone since the look: the publication has to be what it was
            raise
        self.retaining.take(config)

    async def _keep_published(self, session: Session) -> None:
        """Publish again what somebody else takes out of the publication, and have it copied again.

        The server does not tell: it leaves the changes out, from 18 on even where the whole publication is gone.
        """
        told = ""
        while True:
            await asyncio.sleep(_PUBLISHED_EVERY_SECONDS)
            try:
                async with self._changing:
                    if await self.upstream.has_narrowed(session.published):
                        await self._change(session, self.config)
                        log.warning("publication_narrowed", code="WS2304", hint=_NARROWED_HINT)
                told = ""
            except SourceUnavailable:
                pass  # the main stream finds out too, and says so
            except WalsyncError as error:
                if error.code != told:
                    log.warning("publication_refused", code=error.code, error=error.message, hint=error.hint)
                told = error.code

    async def _take_reloads_since(self, session: Session) -> None:
        async with self._changing:
            if session.config is not self.config:
                await self._change(session, self.config)

    async def _follow(self, session: Session, stream: Stream) -> None:
        """Read and deliver until stopped; the first failure of any part cancels the others."""
        self.session = session
        self.retaining = Retaining(self.upstream, self.config, session)
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(session, stream))
                holding = group.create_task(session.hold.run())
                watching = [group.create_task(one) for one in (self.retaining.run(), self._keep_published(session))]
                group.create_task(session.deliveries.run())
                if session.config is not self.config:
                    await self._unless_stopped(self._take_reloads_since(session))
                await self._interrupted.wait()
                for one in watching:
                    one.cancel()
                await session.drain(reading)
                holding.cancel()
        except* WalsyncError as errors:
            raise _gravest(errors) from errors
        finally:
            self.session = self.retaining = None
            await session.catch_up.close()

    async def _read(self, session: Session, first: Stream) -> None:
        stream: Stream | None = first
        async for attempt in self._retrying(but=SourceChanged):
            with attempt:
                if stream is None:
                    if self._interrupted.is_set():
                        return
                    stream = await self.upstream.reopen_stream(session.prepared, session.resume(), session.writer)
                    self._metrics.source_reconnects.inc()
                self.source_error = None
                opened, stream = stream, None
                await session.read(opened)

    def _retrying(self, but: type[SourceUnavailable] | tuple[()] = ()) -> AsyncRetrying:
        started = time.monotonic()

        def note(retry: RetryCallState) -> None:
            error = retry.outcome.exception() if retry.outcome else None
            if isinstance(error, WalsyncError):
                if type(error) is not type(self.source_error):
                    self.source_error_since = time.monotonic()
                self.source_error = error
                self._metrics.source_errors.labels(code=error.code).inc()
                log.warning("source_unavailable", code=error.code, error=error.message, attempt=retry.attempt_number)

        def wait(retry: RetryCallState) -> float:
            nonlocal started
            if self.session is not None and self.session.main.received_at > started:
                retry.attempt_number = 1  # it worked in between: this outage is a new one
            started = time.monotonic()
            error = retry.outcome.exception() if retry.outcome else None
            return _SLOT_ACTIVE_SECONDS if isinstance(error, SlotActive) else _BACKOFF(retry)

        return AsyncRetrying(
            retry=retry_if_exception_type(SourceUnavailable) & retry_if_not_exception_type(but),
            wait=wait,
            before_sleep=note,
            sleep=self._sleep,
            reraise=True,
        )

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

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not longer than until `stop`."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


def _names(config: Config) -> list[str]:
    return [target.name for target in config.targets]


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
