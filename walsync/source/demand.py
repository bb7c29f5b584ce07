"""How many slots and walsenders a configuration takes of the server: at first, and when it takes most. Pure."""

from dataclasses import dataclass
from typing import Final

JOINING: Final = 2
"""For tables that join a target while it streams: the snapshot, and the stream of what they were given since."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a configuration asks of the server."""

    targets: int
    new_targets: int
    """Each needs a snapshot, which takes a slot and a walsender."""
    catch_up_streams: int

    @property
    def snapshots(self) -> int:
        """How many there are at once, at first."""
        return max(1, self.new_targets)  # a table that is listed later is copied too

    @property
    def lanes(self) -> int:
        """How many streams there may be to catch up on; the main one never passes the target furthest ahead."""
        return min(self.catch_up_streams, self.targets - 1)

    @property
    def at_first(self) -> int:
        """How many slots, and walsenders, it takes to begin: the stream's, and the snapshots'."""
        return 1 + self.snapshots

    @property
    def senders(self) -> int:
        """How many walsenders there are while targets catch up and tables join."""
        return 1 + self.lanes + JOINING

    @property
    def slots(self) -> int:
        """How many slots there are then: one for each of these, and the hold slot."""
        return self.senders + (self.targets > 1)
