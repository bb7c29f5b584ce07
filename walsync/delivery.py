"""One target's task: claim it, give it the snapshot it lacks, then write batches from the backlog, for ever.

An unavailable target is tried again with backoff; a refusing one stops, and only it. Nothing here knows what kind of
database the target is.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from walsync.assignment import Assignment
from walsync.backlog.backlog import Limits
from walsync.catch_up import Lane
from walsync.checkpoint.registry import Registration, RegistrationState
from walsync.copying import Copying
from walsync.errors import SourceRefused, SourceUnavailable, TargetRefused, TargetUnavailable, WalsyncError
from walsync.interruptible import Interruptible
from walsync.joining import Joining
from walsync.logs import Logger
from walsync.lsn import LSN, ZERO
from walsync.ownership import Ownership
from walsync.path import Path
from walsync.progress import Progress, unix_seconds
from walsync.right_of_way import Ahead, Between, Turn
from walsync.status import TargetState
from walsync.tables import Tables
from walsync.target.base import Batch, Target
from walsync.target.selection import Selected

_BATCH_CHANGES: Final = 20_000
_BATCH_BYTES: Final = 16 * 1024**2
_UNLIMITED: Final = 2**63
_BACKOFF: Final = wait_random_exponential(multiplier=0.25, max=5)
_FINISH_SECONDS: Final = 10.0
"""How long the write in progress may take when a delivery has to end: its target alone waits for it."""

_HANGS: Final = "a write hangs, or takes very long: the stream does not wait for it any more"
_PASSED: Final = "the stream has passed what it lacks"
_GIVEN_UP: Final = "the source kept more WAL for it than max_slot_lag: it was released, and is copied again"

log: Logger = structlog.get_logger()


class Delivery:
    """Follows a feed for one target until it is drained, stopped or cancelled: the main one, or one to catch up on."""

    def __init__(self, target: Target, assignment: Assignment, registration: Registration | None, path: Path) -> None:
        self.name = target.name
        self.kind = target.kind
        self._target = target
        self._tables = Tables(assignment.tables, assignment.memberships)
        self.progress = Progress(self._tables)
        self._copying = Copying(target.name, self.progress, path.metrics)
        self._joining = Joining(target, self._tables, path, copying=self._copying, notify=self.notify)
        self._ownership = Ownership(target, registration, path)
        self._path = path
        self._batch = assignment.batch
        self._arrived = asyncio.Event()
        self._draining = False
        self._ending = asyncio.Event()
        self._written_at = time.monotonic()
        self._advanced = False
        self._goal = ZERO
        self._log = log.bind(target=target.name)
        transactions = assignment.batch.transactions or _UNLIMITED
        self._limits = Limits(transactions, _BATCH_CHANGES, _BATCH_BYTES)
        self._ride(None)
        self._work = Interruptible()
        if self._ownership.is_given_up:
            return  # nobody waits for it, and nothing is kept for it, until it is back
        if path.acknowledgement.durable(self.name) is not None:
            return  # it has been followed so far: what is kept for it, and where, stays
        path.acknowledgement.join(
            self.name,
            max(registration.durable, path.hold.held_from) if registration else path.acknowledgement.confirmed,
        )
        if registration is not None and registration.state is RegistrationState.PARKED:
            path.hold.want(self.name, kept=True)
        else:
            path.main.follow(self.name, path.main.backlog.start, self.notify)

    @property
    def is_at_work(self) -> bool:
        """Whether the target is taking what the main stream has brought."""
        return self._lane is None and self.progress.state in {TargetState.STREAMING, TargetState.CATCHING_UP}

    @property
    def tables(self) -> list[str]:
        """The tables that the target gets, by qualified name."""
        return self._tables.names

    @property
    def is_complete(self) -> bool:
        """Whether every table is on the target, as far as the target is."""
        return self._joining.is_at_rest and not self._tables.lacking

    @property
    def ordered(self) -> Sequence[str]:
        """The tables that somebody wants to be copied once more, by qualified name."""
        return [one.table.qualified_name for one in self._joining.ordered]

    def copy_again(self, tables: Collection[str]) -> None:
        """Copy tables once more, by qualified name, while the others go on."""
        self._joining.order(tables)

    def lacks_since(self) -> float | None:
        """Tell when the first change was committed that the target lacks, in Unix seconds; None where it lacks nothing.

        Off the main stream nobody knows what it lacks: it is since it last had everything.
        """
        main = self._path.main.backlog
        if self._lane is not None or not main.follows(self.name):
            return self.progress.complete_at
        commit_time = main.next_commit_time(self.name)
        return None if commit_time is None else unix_seconds(commit_time)

    def notify(self) -> None:
        """Say that the backlog has more or is not kept for the target any more, or that it is time to drain."""
        self._arrived.set()
        if self._feed.backlog.follows(self.name):
            return
        if self.progress.state in {TargetState.STREAMING, TargetState.CATCHING_UP}:
            self._enter(TargetState.PARKED, _HANGS if self.progress.is_writing else _PASSED)
        elif self.progress.state is TargetState.RETRYING:
            self._enter(TargetState.PARKED, self.progress.life.reason)

    def drain(self) -> None:
        """Finish what the backlog holds, store the checkpoint, and return from `run`."""
        self._draining = True
        self.notify()

    async def end(self) -> None:
        """Finish the write in progress, or take it back where it hangs, and return from `run`."""
        self._ending.set()
        self.notify()
        async with self._work.interrupted(after=_FINISH_SECONDS if self.is_at_work else 0.0):
            self._log.info("target_ended")

    async def run(self) -> None:
        """Deliver; returns when drained, ended or stopped. Fenced passes through to the pipeline."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((TargetUnavailable, SourceUnavailable)),
            wait=self._backoff,
            before_sleep=self._note_unavailable,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    if not await self._work.do(self._attempt) and not self._ending.is_set():
                        raise SourceUnavailable("WS2502", _GIVEN_UP, hint="nothing to do: it is copied again")
        except (TargetRefused, SourceRefused) as error:
            # A table that cannot be read for its snapshot is this target's trouble; the others have theirs already.
            self._stop(error)
        finally:
            with suppress(TargetUnavailable):
                await self._target.close()

    async def give_up(self) -> None:
        """Keep nothing for this target: what it writes is cancelled, and it is copied again when it is back."""
        async with self._work.interrupted():
            if self._ending.is_set():
                return  # another one takes its place, and is looked at then
            self._path.main.leave(self.name)
            await self._path.hold.give_up(self.name)
            self._ownership.give_up()
        self._path.main.moved()
        if self.progress.state is not TargetState.STOPPED:
            self._enter(TargetState.NEEDS_SNAPSHOT, _GIVEN_UP)
        self._log.warning("target_given_up", code="WS2502", reason=_GIVEN_UP)

    async def _attempt(self) -> None:
        if self._ending.is_set():
            return
        try:
            await self._follow()
        finally:
            await self._joining.leave()
            await self._leave_lane()

    async def _follow(self) -> None:
        await self._open()
        while not self._ending.is_set():
            if await self._take_in():
                continue
            if again := self._joining.due(self.progress.position):
                await self._copy_again(again)
            elif not await self._stays():
                await self._join(self.progress.position)
            elif self._feed.backlog.has_more(self.name):
                await self._deliver()
            elif self._draining:
                break
            elif self.progress.position > self.progress.checkpoint and self._checkpoint_is_due():
                await self._store_checkpoint()
            else:
                await self._wait()
        await self._store_checkpoint()
        await self._joining.clear()

    async def _open(self) -> None:
        checkpoint, self._goal = await self._ownership.claim(
            lambda: self._enter(TargetState.NEEDS_SNAPSHOT, "no slot holds what it lacks any more")
        )
        await self._target.prepare(self._tables.all)
        self._tables.take(await self._target.table_states())
        lacking = self._tables.lacking
        if lacking and not self._joining.begin(lacking, checkpoint.lsn):
            await self._copy(lacking)
        # Every table contains what committed below the earliest snapshot: so does the target.
        position = max(checkpoint.lsn, min(self._tables.synced.values()))
        self.progress.checkpoint, self.progress.position = checkpoint.lsn, position
        self._path.acknowledgement.acknowledge(self.name, checkpoint.lsn)
        self.progress.error = None
        if position > checkpoint.lsn:
            await self._store_checkpoint()
        await self._join(position)

    async def _take_in(self) -> bool:
        """Write what there is for tables that join; False if there is nothing yet."""
        with self.progress.writing():
            if not await self._joining.take_in(self.progress.position):
                return False
        self._made_progress()
        return True

    async def _copy_again(self, tables: Sequence[Selected]) -> None:
        if not self._joining.begin(tables, self.progress.position):
            await self._store_checkpoint()
            self._tables.leave([one.table.relid for one in tables])
            await self._copy(tables)
            await self._join(self.progress.position)
        self._joining.begun(tables)

    async def _join(self, position: LSN) -> None:
        """Follow the main stream from `position` on if it still has that, else one to catch up on."""
        # The main stream first: while a lane is closed, it may pass what it still has now.
        if self._path.main.follow(self.name, position, self.notify):
            self._path.hold.release(self.name)
            await self._leave_lane()
            self._enter(TargetState.CATCHING_UP, "the main stream has what it lacks")
            self._settle()
            return
        await self._leave_lane()
        self._path.main.leave(self.name)
        self._enter(TargetState.PARKED, f"the main stream has passed {position}: waits for one of its own")
        self._ride(await self._path.catch_up.join(self.name, position, self.notify))
        self._enter(TargetState.CATCHING_UP, f"reads on its own from {position}")

    async def _stays(self) -> bool:
        """Tell whether to go on with the present feed, after a look whether the main one can be joined."""
        main, lane, position = self._path.main.backlog, self._lane, self.progress.position
        if lane is None:
            return main.follows(self.name)
        lane.raise_error()
        if position >= main.start and main.is_near(position):
            return False
        if lane.feed.backlog.end >= main.start and not main.follows(self.name):
            # What was read here reaches the main backlog: that is kept until the target gets there.
            self._path.main.follow(self.name, main.start, self.notify)
        return lane.feed.backlog.follows(self.name)

    def _ride(self, lane: Lane | None) -> None:
        """Take batches from a lane, or from the main feed."""
        way, main = self._path.way, self._path.main
        self._lane = lane
        self._feed = main if lane is None else lane.feed
        self._turn: Turn = (
            Ahead(way, self._limits)
            if lane is None
            else Between(way, self._limits, lambda: (self.progress.position, main.backlog.end))
        )

    async def _leave_lane(self) -> None:
        lane = self._lane
        if lane is not None:
            self._ride(None)
            await self._path.catch_up.leave(self.name, lane)

    def _settle(self) -> None:
        if self._lane is None and self.progress.position >= self._goal:
            self._enter(TargetState.STREAMING, f"has what was committed below {self._goal}")

    async def _copy(self, lacking: Sequence[Selected]) -> None:
        self._enter(TargetState.SNAPSHOT, f"{len(lacking)} tables have to be copied")
        async with self._path.snapshots.join() as snapshot:
            self._goal = max(self._goal, snapshot.lsn)  # its tables agree with each other from there on
            for one in lacking:
                state = self._tables.state(one, snapshot.lsn)
                await self._copying.copy(one, snapshot, partial(self._target.copy, one.table, state))
                self._tables.join([one.table.relid], snapshot.lsn)
                self._made_progress()

    async def _deliver(self) -> None:
        feed = self._feed
        taken = feed.backlog.take(self.name, self._turn.limits)
        keep, position = self._tables.keep, self.progress.position
        wanted = [kept for entry in taken if (kept := keep(entry, position)) is not None]
        position = max(self.progress.position, taken[-1].end_lsn)
        if wanted:
            async with self._turn.taking(sum(len(transaction.changes) for transaction in wanted)):
                await self._write(Batch(self.progress.checkpoint, position, wanted))
        else:
            self.progress.position = position
            if self._checkpoint_is_due():
                await self._store_checkpoint()
        self.progress.take(taken)
        if feed.backlog.follows(self.name):  # a feed lets go of who is far behind
            feed.backlog.advance(self.name)
            self._settle()
        feed.moved()

    async def _write(self, batch: Batch) -> None:
        started = time.monotonic()
        with self.progress.writing():
            await self._target.write(batch)
        self.progress.checkpoint = self.progress.position = batch.position
        self._path.acknowledgement.acknowledge(self.name, batch.position)
        self._written_at = time.monotonic()
        self._path.metrics.count_batch(self.name, batch, self._written_at - started)
        self._made_progress()

    async def _store_checkpoint(self) -> None:
        if self.progress.position > self.progress.checkpoint:
            await self._write(Batch(self.progress.checkpoint, self.progress.position, ()))
            self._feed.moved()

    def _checkpoint_is_due(self) -> bool:
        batch, progress = self._batch, self.progress
        return (
            time.monotonic() - self._written_at >= batch.idle_checkpoint_seconds
            or progress.position - progress.checkpoint >= batch.idle_checkpoint_bytes
        )

    async def _wait(self) -> None:
        # Keepalives arrive every second while the source is there: they bring the idle checkpoint about.
        self._arrived.clear()
        await self._arrived.wait()
        self.progress.rest(is_complete=self._lane is None)

    def _made_progress(self) -> None:
        self._advanced = True
        self.progress.progressed_at = time.time()
        self.progress.error = None

    def _enter(self, state: TargetState, reason: str) -> None:
        was = self.progress.state
        if self.progress.life.enter(state, reason):
            self._log.info("target_state", state=state.value, was=was.value, reason=reason)

    def _note_unavailable(self, retry: RetryCallState) -> None:
        error = retry.outcome.exception() if retry.outcome else None
        if isinstance(error, WalsyncError):
            self.progress.error = error
            self._path.metrics.target_errors.labels(target=self.name, code=error.code).inc()
            self._log.warning("target_unavailable", code=error.code, error=error.message, attempt=retry.attempt_number)
        self._path.metrics.target_retries.labels(target=self.name).inc()
        self._enter(self._state_while_away(), str(error or "unavailable"))

    def _state_while_away(self) -> TargetState:
        if self._ownership.is_given_up:
            return TargetState.NEEDS_SNAPSHOT
        return TargetState.RETRYING if self._path.main.backlog.follows(self.name) else TargetState.PARKED

    def _backoff(self, retry: RetryCallState) -> float:
        if self._advanced:  # it worked in between: this outage is a new one
            retry.attempt_number = 1
            self._advanced = False
        return _BACKOFF(retry)

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not longer than until it has to end."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)

    def _stop(self, error: TargetRefused | SourceRefused) -> None:
        self.progress.error = error
        self._path.metrics.target_errors.labels(target=self.name, code=error.code).inc()
        self._log.error("target_stopped", code=error.code, error=error.message, hint=error.hint)
        self._enter(TargetState.STOPPED, str(error))
        if not self._ownership.is_claimed:
            self._path.hold.doubt(self.name)
        # What it lacks is kept by the hold slot; the main stream is for those who go on.
        self._path.main.leave(self.name)
