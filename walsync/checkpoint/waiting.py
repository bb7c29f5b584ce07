"""Finds those for whose sake the main slot stands still while nothing much is published. Pure.

The backlog lets go of who is far behind, but it weighs what was read: 100 bytes for gigabytes of WAL of which nothing
is published. Here the WAL itself is weighed, by the same rule: whoever stands still, and is further behind the one
furthest ahead than the backlog has room. Why it stands still makes no difference, as it makes none to the backlog: a
target that is away, is copied, or hangs in a write holds the slot alike. One that moves is left to the backlog.
"""

from collections.abc import Mapping
from typing import Final

from walsync.checkpoint.release import STEP_BYTES
from walsync.lsn import LSN

ROOM_BYTES: Final = 4 * STEP_BYTES
"""Less is no burden for a server, and not worth a second slot and a stream: an idle target stores its checkpoint at
such distances, by default."""


class Waiting:
    """Who the main stream waits for, from one look to the next."""

    def __init__(self) -> None:
        self._behind: dict[str, LSN] = {}

    def look(self, reached: Mapping[str, LSN], room_bytes: int) -> list[str]:
        """Name those far behind at two looks in a row who have not moved between them; `reached` is of all followers.

        Never the one furthest ahead: nobody would gain anything, since the slot waits for all where nobody is there.
        """
        furthest = max(reached.values(), default=LSN(0))
        room_bytes = max(room_bytes, ROOM_BYTES)
        before = self._behind
        self._behind = {name: lsn for name, lsn in reached.items() if furthest - lsn > room_bytes}
        return [name for name, lsn in self._behind.items() if before.get(name) == lsn]
