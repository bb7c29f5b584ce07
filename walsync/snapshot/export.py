"""A snapshot of the source at an exact position: made by a temporary slot, read by any number of sessions."""

import os
import secrets
from dataclasses import dataclass
from typing import Self

from walsync.errors import SourceRefused, SourceUnavailable
from walsync.lsn import LSN
from walsync.postgres import Connection
from walsync.source import slot as slots


@dataclass(frozen=True, slots=True)
class ExportedSnapshot:
    """Rows of every transaction that committed below `lsn`, and of no other.

    It can be imported while the replication session that made it stays open; who has imported it goes on without.
    """

    lsn: LSN
    name: str
    slot: str
    """The temporary slot, which holds what commits since; it can be copied."""

    @classmethod
    def take(cls, replication: Connection, slot: str) -> Self:
        """Create the temporary slot; waits until every transaction that is writing now has ended.

        The tables must be in the publication before: a snapshot taken without that wait misses rows. SourceUnavailable
        also where the server has no room for another slot: others come free.
        """
        # The name carries process and chance: two snapshots never collide, and an operator sees whose it is.
        name = f"{slot}_snap_{os.getpid()}_{secrets.token_hex(2)}"
        try:
            created = slots.create_temporary(replication, name)
        except SourceRefused as error:
            if error.code != slots.NO_ROOM:
                raise
            raise SourceUnavailable(error.code, error.message, hint=error.hint) from error
        return cls(created.consistent_point, created.snapshot or "", created.name)
