"""Keeps the WAL of targets that the main stream does not wait for: one slot, copied from the main one, never streamed.

Without it a parked target would hold the main slot: each reconnect would decode everything since, and a limit on the
slot's WAL would take it from everybody. The order is what makes it safe at every crash: first the slot holds what the
target lacks, then the registry says so, and only then the main slot may pass.
"""

import asyncio
from typing import Final

import structlog

from walsync.checkpoint.acknowledgement import Acknowledgement
from walsync.checkpoint.registry import RegistrationState
from walsync.errors import SourceRefused, SourceUnavailable, WalsyncError
from walsync.logs import Logger
from walsync.lsn import LSN
from walsync.metrics import Metrics
from walsync.source.slot import Slot
from walsync.upstream import Upstream

_LOOK_SECONDS: Final = 1.0
_AFTER_REFUSAL_SECONDS: Final = 10.0

_STEP_BYTES: Final = 16 * 1024**2
"""One WAL segment: what is less than that frees nothing on the server's disk."""

log: Logger = structlog.get_logger()


class Hold:
    """The hold slot of a session; `want` and `release` are called as targets leave and join the main stream."""

    def __init__(
        self, upstream: Upstream, acknowledgement: Acknowledgement, found: Slot | None, metrics: Metrics
    ) -> None:
        self.slot = found
        self.error: WalsyncError | None = None
        self._upstream = upstream
        self._acknowledgement = acknowledgement
        self._metrics = metrics
        self._off_main: set[str] = set()
        self._doubted: set[str] = set()
        self._kept: set[str] = set()
        """Noted as parked: the registry says that the hold slot is theirs."""
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    @property
    def held_from(self) -> LSN:
        """Everything that commits from here on can still be read, through one slot or the other."""
        main, held = self._acknowledgement.confirmed, self._confirmed
        return main if held is None else min(main, held)

    def want(self, name: str, *, kept: bool = False) -> None:
        """Keep the WAL of a target that has left the main stream; `kept` where an earlier run began to."""
        if self._acknowledgement.durable(name) is None:
            return  # given up, and not back yet
        self._off_main.add(name)
        if kept:
            self._kept.add(name)
            if self._confirmed is not None:  # a crash while the slot was replaced leaves none: the main one waits then
                self._acknowledgement.set_aside(name)
        self._changed.set()

    def release(self, name: str) -> None:
        """Let the main stream wait for a target again, which follows it; its hold ends once the main slot has it."""
        self._off_main.discard(name)
        self._doubted.discard(name)
        self._acknowledgement.take_back(name)
        self._changed.set()

    def doubt(self, name: str) -> None:
        """Keep the WAL of a target whose position was refused, but do not renew it by itself if that is lost."""
        self._doubted.add(name)

    def keeps(self, name: str) -> bool:
        """Tell whether the registry says that the hold slot is this target's."""
        return name in self._kept

    def registered(self, name: str) -> None:
        """Note once more what a target is that has stored its id only now; until then that was not for the registry."""
        self._kept.discard(name)
        self._changed.set()

    def forget(self, name: str) -> None:
        """Keep nothing for a target any more, which begins again; the main stream waits for it from here on."""
        self._off_main.discard(name)
        self._doubted.discard(name)
        self._kept.discard(name)
        self._acknowledgement.take_back(name)
        self._changed.set()

    async def give_up(self, name: str) -> None:
        """Keep nothing for a target any more, for the sake of the source's disk: it is copied again when it is back.

        What it writes must have ended. The registry says so before any slot moves.
        """
        async with self._one_at_a_time:
            await self._upstream.note_state(name, RegistrationState.RELEASED, self._durable(name))
            self._off_main.discard(name)
            self._kept.discard(name)
            self._doubted.discard(name)
            self._acknowledgement.leave(name)
        self._changed.set()

    async def run(self) -> None:
        """Keep, until cancelled."""
        while True:
            try:
                async with self._one_at_a_time:
                    await self._keep()
                self.error = None
                pause = _LOOK_SECONDS
            except SourceUnavailable:
                pause = _LOOK_SECONDS  # the main stream finds out too, and says so
            except SourceRefused as error:
                # The main slot goes on waiting for everybody, as if there were no other.
                if self.error is None:
                    log.warning("hold_slot_refused", code=error.code, error=error.message, hint=error.hint)
                self.error = error
                self._metrics.source_errors.labels(code=error.code).inc()
                pause = _AFTER_REFUSAL_SECONDS
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), pause)
            except TimeoutError:
                continue

    @property
    def _confirmed(self) -> LSN | None:
        usable = self.slot is not None and self.slot.wal_status != "lost"
        return self.slot.confirmed_flush_lsn if usable and self.slot is not None else None

    async def _keep(self) -> None:
        await self._let_go()
        await self._look()
        # Whoever leaves the main stream from here on waits for the next turn: what follows may not hold for it.
        off_main = set(self._off_main)
        lacking = self._lacking()
        # What nothing holds any more needs no slot: that target gets a new snapshot, or a person.
        held = [lsn for lsn in lacking.values() if lsn >= self.held_from]
        if held:
            await self._hold(min(held))
        elif self.slot is not None:
            await self._upstream.drop_hold()
            log.info("hold_slot_dropped")
            self.slot = None
        for name in off_main - self._kept - self._doubted:
            await self._upstream.note_state(name, RegistrationState.PARKED, self._durable(name))
            self._kept.add(name)
            log.info("target_held", target=name, lsn=str(self._durable(name)))
        # Not who came back meanwhile; but also who was noted before, came back, and has left once more.
        for name in off_main & self._off_main:
            self._acknowledgement.set_aside(name)

    async def _look(self) -> None:
        """Look for the slot: it may be gone, or be there though its creation was never answered."""
        known, self.slot = self.slot, await self._upstream.hold_slot()
        if self._confirmed is not None or (known is None and self.slot is None):
            return
        log.error("hold_slot_lost", targets=sorted(self._lacking()), hint="they get a new snapshot by themselves")
        if self.slot is not None:
            await self._upstream.drop_hold()
            self.slot = None

    def _lacking(self) -> dict[str, LSN]:
        return {
            name: lsn
            for name, lsn in self._acknowledgement.members.items()
            if lsn < self._acknowledgement.confirmed or name in self._off_main
        }

    async def _hold(self, lowest: LSN) -> None:
        confirmed = self._confirmed
        if confirmed is not None and confirmed > lowest:
            # Whoever left the main stream just now is further back: the main slot still holds what all lack, and must
            # not pass any of them while there is no other.
            for name in self._off_main:
                self._acknowledgement.take_back(name)
            await self._upstream.drop_hold()
            self.slot = confirmed = None
        if confirmed is None:
            self.slot = await self._upstream.copy_hold()
            log.info("hold_slot_created", lsn=str(self._confirmed))
        elif lowest - confirmed >= _STEP_BYTES:
            await self._upstream.advance_hold(lowest)

    async def _let_go(self) -> None:
        """End the hold of targets that the main stream waits for, once its slot holds all that they lack."""
        for name in self._kept - self._off_main:
            if self._durable(name) >= self._acknowledgement.confirmed:
                self._kept.discard(name)  # at once: one that leaves meanwhile is noted as parked again
                await self._upstream.note_state(name, RegistrationState.REGISTERED, self._durable(name))
                log.info("target_released", target=name)

    def _durable(self, name: str) -> LSN:
        return self._acknowledgement.durable(name) or self._acknowledgement.confirmed
