"""Watches how much WAL the source keeps and for whom, and bounds it where `max_slot_lag` says so.

It asks the source one cheap question every few seconds. It moves no slot: it tells targets to give up what they lack,
and the main stream to go on without who stands still.
"""

import asyncio
import time
from contextlib import suppress
from typing import Final

import structlog

from walsync.checkpoint.growth import Growth
from walsync.checkpoint.release import Member, Release, moves, propose
from walsync.checkpoint.waiting import Waiting
from walsync.config import Config
from walsync.errors import SourceRefused, SourceUnavailable
from walsync.logs import Logger
from walsync.lsn import LSN
from walsync.session import Session
from walsync.source.retention import Retention, SlotRetention
from walsync.source.slot import hold_name
from walsync.status import LastError, SlotRoom, SlotStatus, TargetState
from walsync.upstream import Upstream

_LOOK_SECONDS: Final = 2.0
"""Half of what a disk fills with in the time between two scrapes is known before the second."""

_WINDOW_SECONDS: Final = 300.0
"""Longer than an idle checkpoint's interval, after which slots move; short enough to see a load begin."""

_TRY_AGAIN_SECONDS: Final = 60.0
"""Whether a release would free anything costs reading the WAL: not more often, while it would not."""

_AT_WORK: Final = frozenset({TargetState.STREAMING, TargetState.CATCHING_UP})

log: Logger = structlog.get_logger()


class Retaining:
    """One session's watch; what it has seen last is for /status and the metrics."""

    def __init__(self, upstream: Upstream, config: Config, session: Session) -> None:
        self.warnings: dict[str, LastError] = {}
        """Targets for which more is kept than the limit, and why that is so."""
        self.is_stuck = False
        """Whether somebody would be released, if that freed anything."""
        self.looks = 0
        self._upstream = upstream
        self._session = session
        self._main = config.source.slot
        self._hold = hold_name(config.source.slot)
        self._seen: Retention | None = None
        self._growth: dict[str, Growth] = {}
        self._target_growth: dict[str, Growth] = {}
        self._waiting = Waiting()
        self._proposed: tuple[str, ...] = ()
        self._tried_at = -_TRY_AGAIN_SECONDS
        self._refused = ""
        self._taken = asyncio.Event()
        self.take(config)

    def take(self, config: Config) -> None:
        """Go by another configuration from now on."""
        self.max_slot_lag = config.source.max_slot_lag
        if not self.max_slot_lag:
            self.warnings.clear()
        self._heartbeat_seconds = config.source.heartbeat_seconds
        default = config.source.on_max_slot_lag
        self._on_max = {target.name: target.on_max_slot_lag or default for target in config.targets}
        self._taken.set()

    @property
    def main(self) -> SlotRoom | None:
        """What is known of the slot's WAL; None before the first look."""
        return self._room(self._main)

    @property
    def hold(self) -> SlotRoom | None:
        """What is known of the hold slot's WAL; None while there is no such slot."""
        return self._room(self._hold)

    @property
    def temporary(self) -> SlotStatus | None:
        """The temporary slot that keeps the most WAL, of a copy or a stream to catch up on; None without one."""
        slots = self._seen.slots if self._seen is not None else {}
        ours = {name: slot for name, slot in slots.items() if name not in {self._main, self._hold}}
        if not ours:
            return None
        name, slot = max(ours.items(), key=lambda one: one[1].retained_bytes)
        return SlotStatus(name, slot.confirmed_flush_lsn, slot.retained_bytes, slot.wal_status, self._room(name))

    def growth(self, target: str) -> float | None:
        """How fast the WAL grows that is kept for a target, in bytes per second; None while nobody knows."""
        growth = self._target_growth.get(target)
        return growth.bytes_per_second if growth is not None else None

    async def run(self) -> None:
        """Watch, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._beat())

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
                self.looks += 1
                self._refused = ""
            except SourceUnavailable:
                self._seen = None  # the main stream finds out too, and says so
            except SourceRefused as error:
                if self._refused != error.code:
                    log.warning("release_refused", code=error.code, error=error.message, hint=error.hint)
                self._refused = error.code
            await asyncio.sleep(_LOOK_SECONDS)

    async def _beat(self) -> None:
        while True:
            self._taken.clear()
            if self._heartbeat_seconds:
                await self._emit()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._taken.wait(), self._heartbeat_seconds or None)

    async def _emit(self) -> None:
        try:
            await self._upstream.emit_heartbeat()
        except SourceUnavailable:
            pass  # as above
        except SourceRefused as error:
            log.warning("heartbeat_refused", code=error.code, error=error.message)

    async def _look(self) -> None:
        seen = self._seen = await self._upstream.retention()
        now = time.monotonic()
        self._growth = {name: self._growth.get(name, Growth(_WINDOW_SECONDS)) for name in seen.slots}
        for slot, retention in seen.slots.items():
            self._growth[slot].observe(now, retention.retained_bytes)
        held = self._session.held
        self._target_growth = {name: self._target_growth.get(name, Growth(_WINDOW_SECONDS)) for name in held}
        for name, lsn in held.items():
            self._target_growth[name].observe(now, max(0, seen.wal_end - lsn))
        self._session.acknowledgement.pass_unclaimed(self._session.main.backlog.end)
        self._wait_no_longer()
        if self.max_slot_lag:
            self._warn(seen)
            await self._release(seen, now)

    def _wait_no_longer(self) -> None:
        """Let the main stream go on without who stands still far behind: the hold slot keeps what that one lacks."""
        main = self._session.main
        reached = {
            name: max(lsn, self._session.deliveries[name].progress.position)
            for name, lsn in self._session.acknowledgement.members.items()
            if main.backlog.follows(name)
        }
        for name in self._waiting.look(reached, main.backlog.max_bytes):
            log.info("waits_no_longer", target=name, lsn=str(reached[name]), behind=str(main.backlog.end))
            main.let_go(name)

    def _members(self, wal_end: LSN) -> list[Member]:
        return [self._member(name, lsn, wal_end) for name, lsn in self._session.held.items()]

    def _member(self, name: str, lsn: LSN, wal_end: LSN) -> Member:
        progress, backlog = self._session.deliveries[name].progress, self._session.main.backlog
        at_work = progress.state in _AT_WORK
        # What nobody has read yet is the stream's to bring, unless that waits for its followers.
        until = wal_end if not at_work or backlog.is_full else min(wal_end, backlog.end)
        may_be_released = self._releases(name) and not progress.is_beginning
        return Member(name, lsn, until - lsn, may_be_released, at_work)

    def _warn(self, seen: Retention) -> None:
        over = {
            name: seen.wal_end - lsn
            for name, lsn in self._session.held.items()
            if seen.wal_end - lsn > self.max_slot_lag
        }
        for name in self.warnings.keys() - over.keys():
            del self.warnings[name]
            log.info("max_slot_lag_kept_again", target=name)
        for name, retained_bytes in over.items():
            warning = self._warning(name, retained_bytes)
            if name not in self.warnings:
                log.warning("max_slot_lag_exceeded", target=name, code=warning.code, error=warning.message)
            self.warnings[name] = warning

    def _warning(self, name: str, retained_bytes: int) -> LastError:
        hint = f"mend the target; or walsync drop --target {name}; or on_max_slot_lag: release"
        if self._releases(name):
            hint = "it is released when that frees WAL: no other target and no open transaction on the source needs it"
        return LastError(
            "WS2501",
            f"the source keeps {retained_bytes} bytes of WAL for it, more than max_slot_lag, {self.max_slot_lag}",
            hint,
        )

    def _releases(self, name: str) -> bool:
        return self._on_max.get(name) == "release"  # one that is being taken out is not there any more

    async def _release(self, seen: Retention, now: float) -> None:
        """Release whom the rule names at two looks in a row, so that one who is about to come nearer is left alone."""
        proposal = propose(self._members(seen.wal_end), seen.wal_end, self.max_slot_lag)
        before, self._proposed = self._proposed, proposal.names if proposal is not None else ()
        if proposal is None or proposal.names != before:
            self._tried_at, self.is_stuck = now - _TRY_AGAIN_SECONDS, False
            return
        if not await self._would_move(proposal, seen, now):
            return
        # Trying took its time: whoever has come nearer meanwhile is left alone.
        again = propose(self._members(seen.wal_end), seen.wal_end, self.max_slot_lag)
        if again is None or (again.names, again.lowest) != (proposal.names, proposal.lowest):
            return
        for name in proposal.names:
            if name in self._session.deliveries:
                await self._session.deliveries[name].give_up()
            self.warnings.pop(name, None)

    async def _would_move(self, proposal: Release, seen: Retention, now: float) -> bool:
        main, hold = seen.slots.get(self._main), seen.slots.get(self._hold)
        holding = self._hold if hold is not None and _holds(hold, proposal.lowest) else self._main
        restart = seen.slots[holding].restart_lsn if holding in seen.slots else None
        if restart is None:
            return False
        if holding == self._hold and main is not None and _holds(main, proposal.up_to):
            after = main.restart_lsn  # nobody would be left whom the hold slot is for
        elif now - self._tried_at < _TRY_AGAIN_SECONDS:
            return False
        else:
            self._tried_at = now
            after = await self._upstream.restart_after(holding, proposal.up_to)
        if after is not None and moves(proposal, restart, after):
            return True
        if not self.is_stuck:
            log.warning("release_would_free_nothing", targets=proposal.names, restart_lsn=str(after))
            self.is_stuck = True
        return False

    def _room(self, name: str) -> SlotRoom | None:
        slot = self._seen.slots.get(name) if self._seen is not None else None
        if slot is None:
            return None
        growth = self._growth[name]
        left = None if slot.safe_bytes is None else growth.seconds_until(slot.safe_bytes)
        return SlotRoom(slot.safe_bytes, growth.bytes_per_second, left)


def _holds(slot: SlotRetention, lsn: LSN) -> bool:
    return slot.wal_status != "lost" and slot.confirmed_flush_lsn is not None and slot.confirmed_flush_lsn <= lsn
