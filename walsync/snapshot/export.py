"""A snapshot of the source at an exact position: made by a temporary slot, read by any number of sessions."""

import os
import secrets
from dataclasses import dataclass
from typing import Self

from walsync.lsn import LSN
from walsync.postgres import Connection
from walsync.source import slot as slots
from walsync.source.session import open_replication


@dataclass(frozen=True, slots=True)
class ExportedSnapshot:
    """Rows of every transaction that committed below `lsn`, and of no other; importable until `close`."""

    lsn: LSN
    name: str
    _replication: Connection

    @classmethod
    def take(cls, dsn: str, slot: str, application_name: str) -> Self:
        """Create the temporary slot; waits until every transaction that is writing now has ended.

        The tables must be in the publication before: a snapshot taken without that wait misses rows.
        """
        replication = open_replication(dsn, application_name)
        try:
            # The name carries process and chance: two snapshots never collide, and an operator sees whose it is.
            created = slots.create_temporary(replication, f"{slot}_snapshot_{os.getpid()}_{secrets.token_hex(3)}")
        except BaseException:
            replication.close()
            raise
        return cls(created.consistent_point, created.snapshot or "", replication)

    def close(self) -> None:
        """End the session, and with it slot and snapshot; transactions that imported it go on."""
        self._replication.close()
