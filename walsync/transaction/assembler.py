"""Messages -> transactions: keeps the relations of the session, and collects changes until their COMMIT.

One assembler serves one replication session (protocol 1: transactions arrive whole, in commit order). After a
reconnect a new one starts with an empty relation cache: the server sends every relation again.
"""

from typing import Final

from walsync.errors import ProtocolError
from walsync.lsn import LSN
from walsync.pgoutput import message as wire
from walsync.relation import Relation
from walsync.row import UNCHANGED, read_tuple, write_tuple
from walsync.transaction.change import Change, Delete, Insert, Transaction, Truncate, Update

CHANGE_BYTES: Final = 200
"""What a change weighs in memory beside its payload, roughly: the tuple, the bytes objects, the list's slot."""


class Assembler:
    """Fed with one message after the other; hands out each transaction at its COMMIT."""

    def __init__(self) -> None:
        self.relations: dict[int, Relation] = {}
        self.types: dict[int, wire.Type] = {}
        self._begin: wire.Begin | None = None
        self._origin: str | None = None
        self._changes: list[Change] = []
        self._messages: list[wire.LogicalMessage] = []
        self._message_places: list[int] = []
        self._size = 0

    @property
    def inside_transaction(self) -> bool:
        """Whether a BEGIN has come whose COMMIT has not."""
        return self._begin is not None

    def feed(self, message: wire.Message, data_start: int, size: int) -> Transaction | None:
        """Take one message of `size` bytes at `data_start`; return the transaction that it completes."""
        # Outside of the match: what a pattern does to take a message apart is half of what an INSERT costs here.
        if isinstance(message, wire.Insert):
            self._add(Insert(self._relation(message.relid), message.new, data_start), size)
            return None
        match message:
            case wire.Update(relid, key, old, new, _):
                relation = self._relation(relid)
                self._add(_update(relation, key or old, new, data_start), size)
            case wire.Delete(relid, key, old, _):
                self._add(Delete(self._relation(relid), key or old or b"", data_start), size)
            case wire.Truncate():
                relations = tuple(self._relation(relid) for relid in message.relids)
                self._add(Truncate(relations, message.cascade, message.restart_identity, data_start), size)
            case wire.RelationMessage():
                self.relations[message.relation.relid] = message.relation
            case wire.Type():
                self.types[message.type_oid] = message
            case wire.Begin():
                self._start(message)
            case wire.Commit():
                return self._finish(message)
            case wire.Origin():
                self._origin = message.name
            case wire.LogicalMessage():
                return self._take_message(message, size)
            case (
                wire.StreamStart()
                | wire.StreamStop()
                | wire.StreamCommit()
                | wire.StreamAbort()
                | wire.BeginPrepare()
                | wire.Prepare()
                | wire.CommitPrepared()
                | wire.RollbackPrepared()
                | wire.StreamPrepare()
            ):
                raise ProtocolError(f"{type(message).__name__} in a session that asked for protocol 1")
        return None

    def keepalive(self, wal_end: LSN, server_time: int) -> Transaction | None:
        """Turn a keepalive into an empty transaction; inside a transaction it says nothing about commits."""
        return None if self.inside_transaction else Transaction.keepalive(wal_end, server_time)

    def _relation(self, relid: int) -> Relation:
        relation = self.relations.get(relid)
        if relation is None:
            raise ProtocolError(f"a change of relation {relid}, which the server has not described")
        return relation

    def _add(self, change: Change, size: int) -> None:
        if self._begin is None:
            raise ProtocolError("a change outside of a transaction")
        self._changes.append(change)
        self._size += size + CHANGE_BYTES

    def _start(self, begin: wire.Begin) -> None:
        if self._begin is not None:
            raise ProtocolError("BEGIN inside a transaction")
        self._begin, self._origin = begin, None
        self._changes, self._messages, self._message_places, self._size = [], [], [], 0

    def _finish(self, commit: wire.Commit) -> Transaction:
        begin = self._begin
        if begin is None or begin.commit_lsn != commit.commit_lsn:
            raise ProtocolError(f"COMMIT at {commit.commit_lsn} without its BEGIN")
        self._begin = None
        return Transaction(
            begin.xid,
            commit.commit_lsn,
            commit.end_lsn,
            commit.commit_time,
            tuple(self._changes),
            self._size,
            self._origin,
            tuple(self._messages),
            tuple(self._message_places),
        )

    def _take_message(self, message: wire.LogicalMessage, size: int) -> Transaction | None:
        if not message.transactional:
            # It stands alone, between the transactions: everything that committed below it has been sent.
            return Transaction(0, message.lsn, message.lsn, 0, (), size, messages=(message,), message_places=(0,))
        if self._begin is None:
            raise ProtocolError("a transactional message outside of a transaction")
        self._messages.append(message)
        self._message_places.append(len(self._changes))
        self._size += size
        return None


def _update(relation: Relation, old: bytes | None, new: bytes, lsn: int) -> Update:
    if old is None:
        return Update(relation, None, new, lsn)
    values = read_tuple(new)
    if UNCHANGED not in values:
        return Update(relation, old, new, lsn)
    # A key column stored out of line is unsent in the new row, even unchanged: its value is only in the old one.
    before = read_tuple(old)
    if len(before) != len(values) or len(values) != len(relation.columns):
        raise ProtocolError(f"rows of {len(before)} and {len(values)} columns for {relation.qualified_name}")
    identity = enumerate(relation.columns)
    unsent = tuple(index for index, column in identity if column.in_identity and values[index] is UNCHANGED)
    for index in unsent:
        values[index] = before[index]
    return Update(relation, old, write_tuple(values), lsn, unsent)
