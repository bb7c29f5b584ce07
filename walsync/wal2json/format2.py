"""Format 2: one record per change, between one for BEGIN and one for COMMIT."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from walsync.pgoutput.message import LogicalMessage
from walsync.relation import Relation
from walsync.row import UNCHANGED, Value, read_tuple
from walsync.source.description import ColumnDescription, TableDescription
from walsync.transaction.change import Delete, Insert, Transaction, Truncate, Update
from walsync.wal2json.names import timestamp, type_name
from walsync.wal2json.options import Options
from walsync.wal2json.steps import Step, content, new_values
from walsync.wal2json.values import Kind, Section, literal, quote_text

_SIGN: Final = 2**31
_LOW: Final = 0xFFFFFFFF


class Table:
    """One relation's constant text, and the sections its rows are written by: each with what stands around it."""

    def __init__(self, relation: Relation, described: TableDescription, options: Options) -> None:
        schema = b'"schema":' + quote_text(relation.schema) + b"," if options.include_schemas else b""
        self.name = b"," + schema + b'"table":' + quote_text(relation.name)
        end = b"]}"
        if options.include_pk:
            key = b",".join(_key_column(column, options) for column in described.primary_key)
            end = b'],"pk":[' + key + b"]}"
        new = self.name + b',"columns":['
        identity = [index for index, column in enumerate(relation.columns) if column.in_identity]
        make = _Sections(described.columns, options)
        self.insert = make.whole(new, end)
        self.update_new = make.whole(new, b'],"identity":[')
        self.update_old = make.some(identity, b"", end)
        self.delete = make.some(identity, self.name + b',"identity":[', end)


class Format2:
    """Writes the records of format 2; `table` finds what was prepared for a relation, None when it is filtered out."""

    def __init__(self, options: Options, table: Callable[[Relation], Table | None]) -> None:
        self._options = options
        self._table = table

    def write(self, transaction: Transaction, steps: Iterable[Step], origin: int) -> Iterator[bytes]:
        """Yield the records of a transaction, whose changes and shown messages are `steps`."""
        head = self._head(transaction, origin)
        if self._options.include_transaction:
            yield b'{"action":"B"' + head + self._bounds(transaction) + b"}"
        yield from self._write_steps(steps, head)
        if self._options.include_transaction:
            yield b'{"action":"C"' + head + self._bounds(transaction) + b"}"

    def write_alone(self, message: LogicalMessage) -> bytes:
        """Write a message that is not transactional."""
        options = self._options
        head = b',"xid":null' if options.include_xids else b""
        head += b',"timestamp":null' if options.include_timestamp else b""
        return self._message(message, head + (b',"origin":null' if options.include_origin else b""))

    def _write_steps(self, steps: Iterable[Step], head: bytes) -> Iterator[bytes]:
        actions = self._options.actions
        inserts, updates, deletes = "insert" in actions, "update" in actions, "delete" in actions
        find, lsn = self._table, self._lsn
        insert, update, delete = (b'{"action":"%b"' % action + head for action in (b"I", b"U", b"D"))
        for step in steps:
            match step:
                case Insert():
                    if inserts and (table := find(step.relation)) is not None:
                        yield insert + lsn(step.lsn) + table.insert.write(read_tuple(step.new))
                case Update():
                    if updates and (table := find(step.relation)) is not None:
                        yield update + lsn(step.lsn) + _update(table, step)
                case Delete():
                    if deletes and (table := find(step.relation)) is not None:
                        yield delete + lsn(step.lsn) + table.delete.write(read_tuple(step.old))
                case Truncate():
                    yield from self._truncate(step, head)
                case LogicalMessage():
                    yield self._message(step, head)

    def _truncate(self, change: Truncate, head: bytes) -> Iterator[bytes]:
        for relation in change.relations:
            if "truncate" in self._options.actions and (table := self._table(relation)) is not None:
                yield b'{"action":"T"' + head + self._lsn(change.lsn) + table.name + b"}"

    def _message(self, message: LogicalMessage, head: bytes) -> bytes:
        flag = b"true" if message.transactional else b"false"
        texts = (quote_text(message.prefix), quote_text(content(message)))
        lsn = self._lsn(message.lsn)
        return b'{"action":"M"%b%b,"transactional":%b,"prefix":%b,"content":%b}' % (head, lsn, flag, *texts)

    def _head(self, transaction: Transaction, origin: int) -> bytes:
        options = self._options
        head = f',"xid":{transaction.xid}' if options.include_xids else ""
        head += f',"timestamp":"{timestamp(transaction.commit_time)}"' if options.include_timestamp else ""
        head += f',"origin":{origin}' if options.include_origin else ""
        return head.encode()

    def _bounds(self, transaction: Transaction) -> bytes:
        if not self._options.include_lsn:
            return b""
        return f',"lsn":"{transaction.commit_lsn}","nextlsn":"{transaction.end_lsn}"'.encode()

    def _lsn(self, lsn: int) -> bytes:
        return b',"lsn":"%X/%X"' % (lsn >> 32, lsn & _LOW) if self._options.include_lsn else b""


def _update(table: Table, change: Update) -> bytes:
    new = new_values(change)
    old = new if change.old is None else read_tuple(change.old)
    return table.update_new.write(new) + table.update_old.write(old)


class _Sections:
    """Makes the sections of a table."""

    def __init__(self, columns: Sequence[ColumnDescription], options: Options) -> None:
        self._columns = columns
        self._options = options

    def whole(self, before: bytes, after: bytes) -> Section:
        """Make one of all columns, with what is known of each beside name, type and value."""
        more = [_more(column, self._options) for column in self._columns]
        return self._make(range(len(self._columns)), more, before, after)

    def some(self, indexes: Sequence[int], before: bytes, after: bytes) -> Section:
        """Make one of some columns."""
        return self._make(indexes, [b""] * len(indexes), before, after)

    def _make(self, indexes: Sequence[int], more: Sequence[bytes], before: bytes, after: bytes) -> Section:
        options = self._options
        chosen = [self._columns[index] for index in indexes]
        kinds = [Kind(column.type.oid, numbers_as_strings=options.numeric_data_types_as_string) for column in chosen]
        heads = [_start(column, options) + b',"value":' for column in chosen]
        tails = [each + b"}" for each in more]
        places = zip(heads, kinds, tails, strict=True)
        template = b",".join(literal(head) + kind.place + literal(tail) for head, kind, tail in places)

        def slow(values: Sequence[Value]) -> bytes:
            parts = zip(heads, kinds, tails, values, strict=True)
            shown = (head + kind.write(value) + tail for head, kind, tail, value in parts if value is not UNCHANGED)
            return before + b",".join(shown) + after

        return Section(len(self._columns), indexes, kinds, literal(before) + template + literal(after), slow)


def _start(column: ColumnDescription, options: Options) -> bytes:
    text = b'{"name":' + quote_text(column.name)
    if options.include_types:
        base = column.type.base if options.include_domain_data_type else None
        text += b',"type":' + type_name(base or column.type, typmod=True)
    if options.include_type_oids:
        # This format writes it as a signed number.
        text += b',"typeoid":%d' % ((column.type.oid + _SIGN) % (2 * _SIGN) - _SIGN)
    return text


def _more(column: ColumnDescription, options: Options) -> bytes:
    text = b',"optional":' + (b"false" if column.not_null else b"true") if options.include_not_null else b""
    text += b',"position":%d' % column.position if options.include_column_positions else b""
    if options.include_default:
        text += b',"default":' + (b"null" if column.default is None else quote_text(column.default))
    return text


def _key_column(column: ColumnDescription, options: Options) -> bytes:
    return _start(column, options) + b"}"
