"""What the running pipeline tells: the status of this moment, and whether it makes progress."""

import asyncio
import time
from typing import Final

from walsync.delivery import Delivery
from walsync.errors import SourceUnavailable, WalsyncError
from walsync.lsn import LSN
from walsync.pipeline import Pipeline
from walsync.retaining import Retaining
from walsync.session import Session
from walsync.source.slot import Slot, SlotActive
from walsync.status import (
    BacklogStatus,
    BlockedBy,
    LastError,
    SlotRoom,
    SlotStatus,
    SourceState,
    SourceStatus,
    Status,
    TableProgress,
    TableStatus,
    TargetState,
    TargetStatus,
)

_SILENT_SECONDS: Final = 90.0
"""The source answers every second; the stream itself gives up after 60 s and opens again."""

_STUCK_SECONDS: Final = 900.0
"""A target that streams, has work and has finished nothing for so long hangs; a large transaction may take minutes."""

_NO_SLOT: Final = "the source's slot is not ours yet: source.state says what it waits for"

_WORD_SECONDS: Final = 5.0
"""The source speaks every second; after this long without a word nobody knows what a target lacks."""

_ASK_SECONDS: Final = 2.0
"""The source answers in milliseconds; Prometheus gives up a scrape after 10 s."""


class Observer:
    """Looks at one pipeline; asks the source for its slot, and answers from memory where that fails."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._asking: asyncio.Task[tuple[Slot | None, LSN | None]] | None = None

    async def status(self) -> Status:
        """Return the status of this moment."""
        slot, wal_end = await self._ask_source()
        session = self._pipeline.session
        if session is None:
            targets = tuple(
                TargetStatus(settings.name, settings.type, TargetState.STARTING, reason=_NO_SLOT)
                for settings in self._pipeline.config.targets
            )
            return Status(self._source(None, slot, wal_end), targets)
        wal_end = max(wal_end or session.main.backlog.end, session.main.backlog.end)
        return Status(
            self._source(session, slot, wal_end),
            tuple(
                _target(delivery, session, wal_end, self._pipeline.retaining)
                for delivery in session.deliveries.values()
            ),
            BacklogStatus(
                session.main.backlog.size_bytes, len(session.main.backlog), self._pipeline.config.backlog.max_bytes
            ),
        )

    def health(self) -> list[str]:
        """Return why this instance makes no progress though it could; empty when it is well."""
        session = self._pipeline.session
        if session is None:
            return []  # it waits for the source or the slot, and says so in /status: a restart would change nothing
        reasons = []
        silent = time.monotonic() - session.main.received_at
        if session.main.is_reading and not session.main.backlog.is_full and silent > _SILENT_SECONDS:
            reasons.append(f"nothing received from the source for {silent:.0f} s")
        states = [delivery.progress.state for delivery in session.deliveries.values()]
        if all(state is TargetState.STOPPED for state in states):
            reasons.append("every target has stopped")
        for delivery in session.deliveries.values():
            progress = delivery.progress
            working = progress.state in {TargetState.STREAMING, TargetState.CATCHING_UP}
            has_work = progress.is_writing or (working and delivery.lacks_since() is not None)
            idle = time.time() - progress.progressed_at
            if has_work and idle > _STUCK_SECONDS:
                reasons.append(f"target {delivery.name} has taken nothing for {idle:.0f} s")
        return reasons

    async def _ask_source(self) -> tuple[Slot | None, LSN | None]:
        # One question at a time, and no answer waits for it long: the source may be frozen, or busy with a start.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        await asyncio.wait([self._asking], timeout=_ASK_SECONDS)
        return self._asking.result() if self._asking.done() else (None, None)

    async def _ask(self) -> tuple[Slot | None, LSN | None]:
        try:
            return await self._pipeline.upstream.slot(), await self._pipeline.upstream.wal_end()
        except WalsyncError:
            return None, None

    def _source(self, session: Session | None, slot: Slot | None, wal_end: LSN | None) -> SourceStatus:
        pipeline, retaining = self._pipeline, self._pipeline.retaining
        error = pipeline.source_error or (session.hold.error if session is not None else None)
        blocker = pipeline.upstream.blocker
        blocked_by = None
        state = SourceState.STARTING if session is None else SourceState.STREAMING
        if blocker is not None:
            state = SourceState.WAITING_FOR_TRANSACTIONS
            blocked_by = BlockedBy(blocker.pid, blocker.seconds, blocker.application_name)
        elif isinstance(error, SlotActive):
            state = SourceState.WAITING_FOR_SLOT
            if slot is not None and slot.active_pid is not None:
                blocked_by = BlockedBy(slot.active_pid, time.monotonic() - pipeline.source_error_since)
        elif isinstance(error, SourceUnavailable):
            state = SourceState.RETRYING
        confirmed = session.acknowledgement.confirmed if session is not None else None
        return SourceStatus(
            slot=pipeline.config.source.slot,
            state=state,
            system_identifier=session.prepared.identity.system_identifier if session is not None else None,
            timeline=session.prepared.identity.timeline if session is not None else None,
            confirmed_flush_lsn=slot.confirmed_flush_lsn if slot is not None else confirmed,
            wal_end_lsn=wal_end,
            retained_bytes=slot.retained_bytes if slot is not None else None,
            blocked_by=blocked_by,
            last_error=LastError.of(error) if error is not None else None,
            wal_status=slot.wal_status if slot is not None else None,
            hold=_hold(session.hold.slot, retaining.hold if retaining is not None else None)
            if session is not None
            else None,
            room=retaining.main if retaining is not None else None,
            max_slot_lag_bytes=pipeline.config.source.max_slot_lag or None,
            temporary=retaining.temporary if retaining is not None else None,
        )


def _hold(slot: Slot | None, room: SlotRoom | None) -> SlotStatus | None:
    if slot is None:
        return None
    return SlotStatus(slot.name, slot.confirmed_flush_lsn, slot.retained_bytes, slot.wal_status, room)


def _target(delivery: Delivery, session: Session, wal_end: LSN, retaining: Retaining | None) -> TargetStatus:
    progress = delivery.progress
    known = progress.state not in {TargetState.STARTING, TargetState.SNAPSHOT} or progress.checkpoint > 0
    checkpoint = progress.checkpoint if known else session.acknowledgement.durable(delivery.name)
    held = session.held.get(delivery.name)
    return TargetStatus(
        name=delivery.name,
        type=delivery.kind,
        state=progress.state,
        reason=progress.life.reason,
        checkpoint_lsn=checkpoint,
        lag_bytes=max(0, wal_end - max(progress.position, checkpoint or 0)),
        lag_seconds=_lag_seconds(delivery, session),
        last_progress_timestamp_seconds=progress.progressed_at or None,
        last_error=LastError.of(progress.error) if progress.error is not None else None,
        tables={name: _table(delivery, name) for name in delivery.tables},
        retained_bytes=max(0, wal_end - held) if held is not None else 0,
        retained_growth_bytes_per_second=retaining.growth(delivery.name) if retaining is not None else None,
        warning=_warning(delivery, retaining),
    )


def _warning(delivery: Delivery, retaining: Retaining | None) -> LastError | None:
    """Tell what has to be mended for a target that goes on meanwhile."""
    if delivery.progress.joining_error is not None:
        return LastError.of(delivery.progress.joining_error)
    return retaining.warnings.get(delivery.name) if retaining is not None else None


def _table(delivery: Delivery, name: str) -> TableStatus:
    progress = delivery.progress
    synced = progress.synced.get(name)
    copying = progress.copying.get(name)
    if copying is not None:
        return TableStatus(
            TableProgress.COPYING,
            synced,
            rows=copying.rows,
            bytes=copying.copied_bytes,
            total_rows=copying.total_rows,
            total_bytes=copying.total_bytes,
            eta_seconds=copying.eta_seconds(time.monotonic()),
        )
    if synced is None:
        return TableStatus(TableProgress.WAITING)
    return TableStatus(TableProgress.SYNCED, synced, progress.copied_rows.get(name))


def _lag_seconds(delivery: Delivery, session: Session) -> float:
    """Return how long the target has lacked something, or the source has said nothing.

    Computed when asked: it grows while nothing moves.
    """
    since = delivery.lacks_since()
    lag = 0.0 if since is None else time.time() - since
    silent = time.monotonic() - session.main.received_at
    return max(0.0, lag, silent if silent > _WORD_SECONDS else 0.0)
