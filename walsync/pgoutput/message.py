"""The messages of pgoutput, one class each, named and ordered as in the manual's "Logical Replication Message Formats".

Per-row messages are tuples (cheap to build) and keep their rows as raw tuples (see `walsync.row`); LSNs and timestamps
are as sent: microseconds since 2000-01-01 UTC. `xid` on a message is the (sub)transaction's, only inside a
stream block.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from walsync.lsn import LSN
from walsync.relation import Relation


class Insert(NamedTuple):
    """A new row."""

    relid: int
    new: bytes
    xid: int | None = None


class Update(NamedTuple):
    """A changed row; `key` holds only identity columns, `old` the whole old row; at most one of them is there."""

    relid: int
    key: bytes | None
    old: bytes | None
    new: bytes
    xid: int | None = None


class Delete(NamedTuple):
    """A removed row; exactly one of `key` (identity columns) and `old` (whole row) is there."""

    relid: int
    key: bytes | None
    old: bytes | None
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class Begin:
    """The start of a transaction; `commit_lsn` is where its COMMIT record starts."""

    commit_lsn: LSN
    commit_time: int
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The end of a transaction; `end_lsn` is just past its COMMIT record."""

    commit_lsn: LSN
    end_lsn: LSN
    commit_time: int


@dataclass(frozen=True, slots=True)
class Origin:
    """The replication origin of the transaction just begun."""

    commit_lsn: LSN
    name: str


@dataclass(frozen=True, slots=True)
class LogicalMessage:
    """A message from pg_logical_emit_message(); a transactional one stands between Begin and Commit."""

    transactional: bool
    lsn: LSN
    prefix: str
    content: bytes
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class RelationMessage:
    """The shape of a table from here on; replaces an earlier one of the same relid."""

    relation: Relation
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class Type:
    """The name of a type that is not built in; for a domain, the name of its base type."""

    type_oid: int
    schema: str
    name: str
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class Truncate:
    """Tables emptied by one TRUNCATE."""

    relids: tuple[int, ...]
    cascade: bool
    restart_identity: bool
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class StreamStart:
    """The start of a block of a transaction that is still in progress."""

    xid: int
    first_segment: bool


@dataclass(frozen=True, slots=True)
class StreamStop:
    """The end of the block."""


@dataclass(frozen=True, slots=True)
class StreamCommit:
    """A streamed transaction has committed."""

    xid: int
    commit_lsn: LSN
    end_lsn: LSN
    commit_time: int


@dataclass(frozen=True, slots=True)
class StreamAbort:
    """A streamed (sub)transaction was rolled back; position and time only with streaming = parallel."""

    xid: int
    subxid: int
    abort_lsn: LSN | None = None
    abort_time: int | None = None


@dataclass(frozen=True, slots=True)
class BeginPrepare:
    """The start of a two-phase transaction."""

    prepare_lsn: LSN
    end_lsn: LSN
    prepare_time: int
    xid: int
    gid: str


@dataclass(frozen=True, slots=True)
class Prepare:
    """The end of a two-phase transaction's changes: complete, not committed."""

    prepare_lsn: LSN
    end_lsn: LSN
    prepare_time: int
    xid: int
    gid: str


@dataclass(frozen=True, slots=True)
class CommitPrepared:
    """COMMIT PREPARED."""

    commit_lsn: LSN
    end_lsn: LSN
    commit_time: int
    xid: int
    gid: str


@dataclass(frozen=True, slots=True)
class RollbackPrepared:
    """ROLLBACK PREPARED."""

    prepare_end_lsn: LSN
    rollback_end_lsn: LSN
    prepare_time: int
    rollback_time: int
    xid: int
    gid: str


@dataclass(frozen=True, slots=True)
class StreamPrepare:
    """PREPARE TRANSACTION of a streamed transaction."""

    prepare_lsn: LSN
    end_lsn: LSN
    prepare_time: int
    xid: int
    gid: str


Message: TypeAlias = (
    Insert
    | Update
    | Delete
    | Begin
    | Commit
    | RelationMessage
    | Type
    | Origin
    | LogicalMessage
    | Truncate
    | StreamStart
    | StreamStop
    | StreamCommit
    | StreamAbort
    | BeginPrepare
    | Prepare
    | CommitPrepared
    | RollbackPrepared
    | StreamPrepare
)
