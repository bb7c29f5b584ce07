"""What a transaction does: inserts, updates, deletes and truncates, with rows still in their raw form.

A change's `lsn` is where its WAL record starts (XLogData dataStart): it orders the changes of one transaction, is
not unique, and is never compared with a position. In `old` only the columns of the replica identity mean anything.
"""

from typing import NamedTuple, TypeAlias

from walsync.lsn import LSN
from walsync.pgoutput.message import LogicalMessage
from walsync.relation import Relation


class Insert(NamedTuple):
    """A new row."""

    relation: Relation
    new: bytes
    lsn: int


class Update(NamedTuple):
    """A changed row; `old` is None when no column of the identity changed. UNCHANGED values are filled from `old`.

    `unsent` names the columns, by index, whose values in `new` come from `old`: the server left them out.
    """

    relation: Relation
    old: bytes | None
    new: bytes
    lsn: int
    unsent: tuple[int, ...] = ()


class Delete(NamedTuple):
    """A removed row."""

    relation: Relation
    old: bytes
    lsn: int


class Truncate(NamedTuple):
    """Tables emptied by one statement."""

    relations: tuple[Relation, ...]
    cascade: bool
    restart_identity: bool
    lsn: int


Change: TypeAlias = Insert | Update | Delete | Truncate


class Transaction(NamedTuple):
    """A committed transaction; a keepalive is one without changes, whose commit_lsn and end_lsn are the WAL's end.

    `commit_time` is in microseconds since 2000-01-01 UTC and not monotonic. `size_bytes` is what it weighs in memory,
    roughly: the payloads it came from. `message_places` says for each message how many changes stand before it.
    """

    xid: int
    commit_lsn: LSN
    end_lsn: LSN
    commit_time: int
    changes: tuple[Change, ...]
    size_bytes: int
    origin: str | None = None
    messages: tuple[LogicalMessage, ...] = ()
    message_places: tuple[int, ...] = ()

    @classmethod
    def keepalive(cls, wal_end: LSN, server_time: int) -> "Transaction":
        """Everything that committed below `wal_end` has been read."""
        return cls(0, wal_end, wal_end, server_time, (), 0)
