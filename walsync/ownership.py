"""Whose a target is: registers it, makes it this run's, and begins again with one whose WAL is gone."""

from collections.abc import Callable
from dataclasses import replace

from walsync.checkpoint.gap_guard import Register, Renew, Resume, decide
from walsync.checkpoint.registry import Registration, RegistrationState
from walsync.errors import SourceUnavailable
from walsync.lsn import LSN
from walsync.path import Path
from walsync.target.base import Checkpoint, Target


class Ownership:
    """One target's, as the registry on the source and the target itself know it."""

    def __init__(self, target: Target, registration: Registration | None, path: Path) -> None:
        self.is_claimed = False
        """Whether this run had the target at least once."""
        self._target = target
        self._registration = registration
        self._path = path

    @property
    def is_given_up(self) -> bool:
        """Whether nothing is kept for the target, which will be copied again."""
        return self._registration is not None and self._registration.state is RegistrationState.RELEASED

    def give_up(self) -> None:
        """Take note that nothing is kept for the target any more."""
        if self._registration is not None:
            self._registration = replace(self._registration, state=RegistrationState.RELEASED)

    async def claim(self, begin_again: Callable[[], None]) -> tuple[Checkpoint, LSN]:
        """Make the target this run's; returns where it stands, and how far the source is.

        `begin_again` is called where what the target lacks is gone, so that it is copied again.
        """
        target, path = self._target, self._path
        found = await target.read_checkpoint()
        synced = [] if found is None else [one.synced_lsn for one in (await target.table_states()).values()]
        source = await path.upstream.position(path.prepared, path.hold.held_from)
        match decide(target.name, self._known(), found, source, synced):
            case Register():
                await self._register()
            case Renew():
                begin_again()
                await self._renew()
            case Resume():
                pass
        checkpoint = await target.claim(path.writer)
        path.acknowledgement.reopen(target.name, checkpoint.lsn)
        # Whoever had the target before may have moved it between the first look and the claim.
        source = await path.upstream.position(path.prepared, path.hold.held_from)
        if isinstance(decide(target.name, self._known(), checkpoint, source), Renew):
            raise SourceUnavailable("WS2408", f"what committed since {checkpoint.lsn} was given up meanwhile")
        self.is_claimed = True
        if await path.upstream.complete_registration(target.name):
            path.hold.registered(target.name)
        if self._registration is not None:  # what it was is done with; whether it is parked, the hold knows
            self._registration = replace(self._registration, state=RegistrationState.REGISTERED)
        return checkpoint, source.wal_end

    def _known(self) -> Registration | None:
        """Return the registration as it stands now; what is not registered yet may be away, and is not parked."""
        known = self._registration
        if (
            known is None
            or known.state is RegistrationState.REGISTERING
            or not self._path.hold.keeps(self._target.name)
        ):
            return known
        return replace(known, state=RegistrationState.PARKED)

    async def _register(self) -> None:
        path, confirmed = self._path, self._path.acknowledgement.confirmed
        if self._registration is None:
            self._registration = await path.upstream.register(self._target.name, self._target.kind, confirmed)
        await self._target.register(self._registration.id, path.writer, confirmed)

    async def _renew(self) -> None:
        """Begin again with a target whose WAL is gone: what it holds is replaced by a new snapshot."""
        name, path, confirmed = self._target.name, self._path, self._path.acknowledgement.confirmed
        path.hold.forget(name)
        path.acknowledgement.reopen(name, confirmed)
        await path.upstream.note_state(name, RegistrationState.RELEASED, confirmed)
        self.give_up()
        await self._target.forget()
        await self._register()
