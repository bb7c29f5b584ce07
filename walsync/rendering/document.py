"""walsync's own JSON: one object per transaction, as docs/transaction.schema.json describes it.

A value is never changed on its way: integers, numeric and finite floats are JSON numbers with the digits that Postgres
printed, booleans are true and false, NULL is null, and everything else is a string with Postgres' text; json and jsonb
too, since their null could not be told from NULL, nor a key that stands twice be kept. A value that the server did not
send is absent, and its column stands in `unchanged`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from heapq import merge
from typing import Final, NamedTuple, TypeAlias

import orjson

from walsync.errors import ProtocolError, TargetRefused
from walsync.pgoutput.message import LogicalMessage
from walsync.relation import Relation, ReplicaIdentity
from walsync.row import UNCHANGED, Value, read_tuple
from walsync.transaction.change import Change, Delete, Insert, Transaction, Truncate, Update

_Write: TypeAlias = Callable[[bytes], bytes]

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_INTEGERS: Final = frozenset({20, 21, 23, 26})  # int8, int2, int4, oid
_FRACTIONS: Final = frozenset({700, 701, 1700})  # float4, float8, numeric
_BOOLEAN: Final = 16

_INTEGER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_FRACTION: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?")
_NO_NUMBERS: Final = frozenset({b"NaN", b"Infinity", b"-Infinity"})
_BOOLEANS: Final = {b"t": b"true", b"f": b"false"}


class JsonRenderer:
    """Renders each transaction as one object; `snapshot` marks the rows of a table's copy."""

    def __init__(self, *, numbers_as_text: bool = False, snapshot: bool = False) -> None:
        self._numbers_as_text = numbers_as_text
        self._snapshot = snapshot
        self._shapes: dict[int, tuple[Relation, _Shape]] = {}

    def render(self, transaction: Transaction) -> Iterator[bytes]:
        """Yield one object, or nothing for a transaction that did nothing that the stream shows."""
        if not transaction.changes and not transaction.messages:
            return
        yield self._head(transaction) + b",".join(self._parts(transaction)) + b"]}"

    def _head(self, transaction: Transaction) -> bytes:
        stands_alone = self._snapshot or not transaction.xid
        origin = b"null" if transaction.origin is None else orjson.dumps(transaction.origin)
        return b'{%b"xid":%b,"commit_lsn":"%b","end_lsn":"%b","commit_time":%b,"origin":%b,"changes":[' % (
            b'"snapshot":true,' if self._snapshot else b"",
            b"null" if stands_alone else b"%d" % transaction.xid,
            _lsn(transaction.commit_lsn),
            _lsn(transaction.end_lsn),
            b"null" if stands_alone else b'"%b"' % moment(transaction.commit_time).encode(),
            origin,
        )

    def _parts(self, transaction: Transaction) -> Iterator[bytes]:
        if not transaction.messages:
            for change in transaction.changes:
                yield from self._change(change)
            return
        # Both are in the order of the WAL.
        for one in merge(transaction.changes, transaction.messages, key=lambda one: one.lsn):
            yield from [_message(one)] if isinstance(one, LogicalMessage) else self._change(one)

    def _change(self, change: Change) -> Iterator[bytes]:
        match change:
            case Insert(relation, new, lsn):
                shape = self._shape(relation)
                yield b'{"kind":"insert",%b,"lsn":"%b",%b}' % (shape.table, _lsn(lsn), shape.new(read_tuple(new)))
            case Update(relation, old, new, lsn):
                shape = self._shape(relation)
                values = read_tuple(new)
                before = shape.key(values) if old is None else shape.before(read_tuple(old))
                yield b'{"kind":"update",%b,"lsn":"%b",%b,%b}' % (shape.table, _lsn(lsn), before, shape.new(values))
            case Delete(relation, old, lsn):
                shape = self._shape(relation)
                yield b'{"kind":"delete",%b,"lsn":"%b",%b}' % (shape.table, _lsn(lsn), shape.before(read_tuple(old)))
            case Truncate():
                for relation in change.relations:
                    yield b'{"kind":"truncate",%b,"lsn":"%b","cascade":%b,"restart_identity":%b}' % (
                        self._shape(relation).table,
                        _lsn(change.lsn),
                        b"true" if change.cascade else b"false",
                        b"true" if change.restart_identity else b"false",
                    )

    def _shape(self, relation: Relation) -> "_Shape":
        known, shape = self._shapes.get(relation.relid, (None, None))
        # The stream has one object per shape: to compare whole relations for every row would cost more than the row.
        if shape is None or (known is not relation and known != relation):
            shape = _shape(relation, numbers_as_text=self._numbers_as_text)
            self._shapes[relation.relid] = relation, shape
        return shape


class _Shape(NamedTuple):
    """A relation, with all that is the same in each of its rows written once."""

    qualified_name: str
    table: bytes
    is_full: bool
    names: Sequence[bytes]
    labels: Sequence[bytes]
    writers: Sequence[_Write]
    identity: Sequence[int]

    def new(self, values: Sequence[Value]) -> bytes:
        """Write the row after the change, and what of it was not sent."""
        written = self._object(values)
        if UNCHANGED not in values:
            return b'"new":%b' % written
        absent = [name for name, value in zip(self.names, values, strict=True) if value is UNCHANGED]
        return b'"new":%b,"unchanged":[%b]' % (written, b",".join(absent))

    def before(self, values: Sequence[Value]) -> bytes:
        """Write what the server sent of the row before the change."""
        return b'"old":%b' % self._object(values) if self.is_full else self.key(values)

    def key(self, values: Sequence[Value]) -> bytes:
        """Write the columns of the replica identity."""
        self._check(values)
        return b'"key":%b' % self._members(
            [self.labels[index] for index in self.identity],
            [self.writers[index] for index in self.identity],
            [values[index] for index in self.identity],
        )

    def _object(self, values: Sequence[Value]) -> bytes:
        self._check(values)
        return self._members(self.labels, self.writers, values)

    def _members(self, labels: Sequence[bytes], writers: Sequence[_Write], values: Sequence[Value]) -> bytes:
        members: list[bytes] = []
        append, label = members.append, b""
        try:
            # Every value passes here: one loop, and the column of an error is whichever was reached.
            for label, write, value in zip(labels, writers, values, strict=True):
                if value is None:
                    append(label + b"null")
                elif value is not UNCHANGED:
                    append(label + write(value))
        except ValueError as error:
            raise self._refuse(error, label) from None
        return b"{%b}" % b",".join(members)

    def _check(self, values: Sequence[Value]) -> None:
        if len(values) != len(self.labels):
            raise ProtocolError(f"a row of {len(values)} columns for {self.qualified_name}, not {len(self.labels)}")

    def _refuse(self, error: ValueError, label: bytes) -> TargetRefused:
        where = f"{self.qualified_name}.{orjson.loads(label[:-1])}"
        if isinstance(error, UnicodeDecodeError):
            return TargetRefused("WS4401", f"{where}: a value is not UTF-8", hint="mend the value on the source")
        return TargetRefused(
            "WS4402", f"{where}: a value is not the text of its type", hint="restart if the type has just changed"
        )


def moment(microseconds: int) -> str:
    """Write a commit time, in microseconds since 2000, as ISO 8601 in UTC; always with six digits, so that it sorts."""
    try:
        time = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise ProtocolError(f"a transaction committed {microseconds} microseconds after 2000") from None
    return time.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _shape(relation: Relation, *, numbers_as_text: bool) -> _Shape:
    names = [orjson.dumps(column.name) for column in relation.columns]
    return _Shape(
        relation.qualified_name,
        b'"schema":%b,"table":%b' % (orjson.dumps(relation.schema), orjson.dumps(relation.name)),
        relation.replica_identity is ReplicaIdentity.FULL,
        names,
        [name + b":" for name in names],
        [_writer(column.type_oid, numbers_as_text=numbers_as_text) for column in relation.columns],
        [index for index, column in enumerate(relation.columns) if column.in_identity],
    )


def _writer(type_oid: int, *, numbers_as_text: bool) -> _Write:
    if type_oid == _BOOLEAN:
        return _write_boolean
    if type_oid in _INTEGERS and not numbers_as_text:
        return _write_integer
    if type_oid in _FRACTIONS and not numbers_as_text:
        return _write_fraction
    return write_string


def write_string(text: bytes) -> bytes:
    """Write text as a JSON string; ValueError where it is not UTF-8."""
    return orjson.dumps(text.decode())


def _write_boolean(text: bytes) -> bytes:
    found = _BOOLEANS.get(text)
    if found is None:
        raise ValueError("a boolean that is neither t nor f")
    return found


def _write_integer(text: bytes) -> bytes:
    if _INTEGER.fullmatch(text) is None:
        raise ValueError("an integer that is no integer")
    return text


def _write_fraction(text: bytes) -> bytes:
    if _FRACTION.fullmatch(text) is not None:
        return text
    if text not in _NO_NUMBERS:
        raise ValueError("a number that is no number")
    return b'"%b"' % text  # JSON has no such numbers


def _message(message: LogicalMessage) -> bytes:
    try:
        content = b'"content":%b' % write_string(message.content)
    except UnicodeDecodeError:
        content = b'"content_hex":"%b"' % message.content.hex().encode()
    return b'{"kind":"message","lsn":"%b","transactional":%b,"prefix":%b,%b}' % (
        _lsn(message.lsn),
        b"true" if message.transactional else b"false",
        orjson.dumps(message.prefix),
        content,
    )


def _lsn(position: int) -> bytes:
    # As str(LSN) does; for every change.
    return b"%X/%X" % (position >> 32, position & 0xFFFFFFFF)
