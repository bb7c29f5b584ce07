"""The slowest target decides the confirmed LSN: `max` for each target, `min` across them. Pure.

A target that is set aside is not waited for: another slot keeps the WAL that it lacks.
"""

from collections.abc import Mapping

from walsync.lsn import LSN


class Acknowledgement:
    """What each registered target has durably; `confirmed` never goes back, and never passes a member not set aside."""

    def __init__(self, confirmed: LSN) -> None:
        self._confirmed = confirmed
        self._durable: dict[str, LSN] = {}
        self._aside: set[str] = set()

    @property
    def confirmed(self) -> LSN:
        """Everything below is durable in every member that is not set aside; the slot may forget it."""
        return self._confirmed

    @property
    def members(self) -> Mapping[str, LSN]:
        """Who is counted, and what each has."""
        return dict(self._durable)

    def durable(self, name: str) -> LSN | None:
        """Return what `name` has acknowledged; None when it is no member."""
        return self._durable.get(name)

    def join(self, name: str, durable: LSN) -> None:
        """Count a target from now on, which has everything below `durable`.

        One that joins below `confirmed` holds it where it is: the slot cannot go back for it.
        """
        if name in self._durable:
            raise ValueError(f"target {name} is a member already")
        self._durable[name] = durable

    def reopen(self, name: str, durable: LSN) -> None:
        """Take a target's word as it was opened again: a restored or failed-over one has less than it had once."""
        self._durable[name] = durable
        self._rise()

    def acknowledge(self, name: str, durable: LSN) -> None:
        """Note that the target has everything below `durable`; an older word that comes late changes nothing."""
        self._durable[name] = max(self._durable[name], durable)
        self._rise()

    def set_aside(self, name: str) -> None:
        """Wait for a target no longer; its WAL must be kept by another slot before this is called."""
        if name not in self._durable:
            raise ValueError(f"target {name} is no member")
        self._aside.add(name)
        self._rise()

    def take_back(self, name: str) -> None:
        """Wait for a target again: from where it stands, but `confirmed` does not go back for it."""
        self._aside.discard(name)

    def leave(self, name: str) -> None:
        """Stop counting a target: what it lacks is kept for it no longer."""
        del self._durable[name]
        self._aside.discard(name)
        self._rise()

    def pass_unclaimed(self, lsn: LSN) -> None:
        """Let the slot forget what was read while there is no member who might need it."""
        if not self._durable:
            self._confirmed = max(self._confirmed, lsn)

    def _rise(self) -> None:
        lowest = min((lsn for name, lsn in self._durable.items() if name not in self._aside), default=self._confirmed)
        self._confirmed = max(self._confirmed, lowest)
