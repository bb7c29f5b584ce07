"""Format 1: one record per transaction, or with write-in-chunks one per piece of it; columns as parallel lists."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from walsync.pgoutput.message import LogicalMessage
from walsync.relation import Relation
from walsync.row import UNCHANGED, Value, read_tuple
from walsync.source.description import ColumnDescription, TableDescription, TypeDescription
from walsync.transaction.change import Delete, Insert, Transaction, Update
from walsync.wal2json.names import timestamp, type_name
from walsync.wal2json.options import Options
from walsync.wal2json.steps import Step, content, new_values
from walsync.wal2json.values import Kind, Section, literal, quote_text


class Layout:
    """The white space of the format: none, or with pretty-print line ends, tabs, and a space after each colon."""

    def __init__(self, *, pretty: bool) -> None:
        self.end = b"\n" if pretty else b""
        self._tab = b"\t" if pretty else b""
        self._space = b" " if pretty else b""
        self.comma = b"," + self._space

    def indent(self, depth: int) -> bytes:
        """Return the white space before a line."""
        return self._tab * depth

    def member(self, depth: int, name: str, value: bytes) -> bytes:
        """Write the beginning of a line: a name and what follows it."""
        return self.indent(depth) + b'"%b":' % name.encode() + self._space + value

    def members(self, lines: Iterable[bytes]) -> bytes:
        """Join the members of an object."""
        return (b"," + self.end).join(lines)

    def list(self, items: Iterable[bytes]) -> bytes:
        """Write a list, on one line."""
        return b"[" + self.comma.join(items) + b"]"


class Table:
    """One relation's constant text, and the sections its rows are written by."""

    def __init__(self, relation: Relation, described: TableDescription, options: Options) -> None:
        layout = Layout(pretty=options.pretty_print)
        names = [layout.member(3, "schema", quote_text(relation.schema))] if options.include_schemas else []
        names.append(layout.member(3, "table", quote_text(relation.name)))
        self.name = layout.members(names)
        self.key: bytes | None = None
        if options.include_pk and described.primary_key:
            self.key = _primary_key(described.primary_key, options, layout)
        everything = range(len(relation.columns))
        identity = [index for index in everything if relation.columns[index].in_identity]
        self.columns = _section(_NewRow(described.columns, options, layout), len(everything), everything)
        chosen = [described.columns[index] for index in identity]
        self.identity = _section(_OldKeys(chosen, options, layout), len(everything), identity)


class Format1:
    """Writes the records of format 1; `table` finds what was prepared for a relation, None when it is filtered out."""

    def __init__(self, options: Options, table: Callable[[Relation], Table | None]) -> None:
        self._options = options
        self._table = table
        self._layout = Layout(pretty=options.pretty_print)

    def write(self, transaction: Transaction, steps: Iterable[Step], origin: int) -> Iterator[bytes]:
        """Yield the record of a transaction, or its chunks, whose changes and shown messages are `steps`."""
        layout = self._layout
        head = self._head(transaction, origin)
        end = layout.indent(1) + b"]" + layout.end + b"}"
        if self._options.write_in_chunks:
            yield head
            yield from self._write_steps(steps)
            yield end
        else:
            changes = [layout.end + change for change in self._write_steps(steps)]
            yield b"".join((head, *changes, layout.end, end))

    def write_alone(self, message: LogicalMessage) -> bytes:
        """Write a message that is not transactional: a record of its own."""
        layout = self._layout
        head = b"{" + layout.end + layout.member(1, "change", b"[") + layout.end
        end = layout.end + layout.indent(1) + b"]" + layout.end + b"}"
        return head + layout.indent(2) + self._message(message) + end

    def _head(self, transaction: Transaction, origin: int) -> bytes:
        options, layout = self._options, self._layout
        lines = []
        if options.include_xids:
            lines.append(layout.member(1, "xid", b"%d" % transaction.xid))
        if options.include_lsn:
            lines.append(layout.member(1, "nextlsn", b'"%b"' % str(transaction.end_lsn).encode()))
        if options.include_timestamp:
            lines.append(layout.member(1, "timestamp", b'"%b"' % timestamp(transaction.commit_time).encode()))
        if options.include_origin:
            lines.append(layout.member(1, "origin", b"%d" % origin))
        lines.append(layout.member(1, "change", b"["))
        return b"{" + layout.end + layout.members(lines)

    def _write_steps(self, steps: Iterable[Step]) -> Iterator[bytes]:
        lead = self._layout.indent(2)
        for step in steps:
            written = self._message(step) if isinstance(step, LogicalMessage) else self._change(step)
            if written is not None:
                yield lead + written
                lead = self._layout.indent(2) + b","

    def _change(self, change: Step) -> bytes | None:
        actions = self._options.actions
        match change:
            case Insert() if "insert" in actions and (table := self._table(change.relation)) is not None:
                columns = table.columns.write(read_tuple(change.new))
                return self._object("insert", table.name, columns, table.key)
            case Update() if "update" in actions and (table := self._table(change.relation)) is not None:
                new = new_values(change)
                columns = table.columns.write(new)
                identity = table.identity.write(new if change.old is None else read_tuple(change.old))
                return self._object("update", table.name, columns, table.key, identity)
            case Delete() if "delete" in actions and (table := self._table(change.relation)) is not None:
                identity = table.identity.write(read_tuple(change.old))
                return self._object("delete", table.name, table.key, identity)
            case _:
                return None  # a TRUNCATE is never shown by this format, whatever `actions` says

    def _message(self, message: LogicalMessage) -> bytes:
        layout = self._layout
        return self._object(
            "message",
            layout.member(3, "transactional", b"true" if message.transactional else b"false"),
            layout.member(3, "prefix", quote_text(message.prefix)),
            layout.member(3, "content", quote_text(content(message))),
        )

    def _object(self, kind: str, *members: bytes | None) -> bytes:
        layout = self._layout
        first = layout.member(3, "kind", b'"%b"' % kind.encode())
        lines = layout.members([first, *(member for member in members if member is not None)])
        return b"".join((b"{", layout.end, lines, layout.end, layout.indent(2), b"}"))


class _NewRow:
    """The lists of a new row: names, types, and what else is asked for, then the values."""

    skips_null = False

    def __init__(self, columns: Sequence[ColumnDescription], options: Options, layout: Layout) -> None:
        self.columns = columns
        self.options = options
        self.layout = layout
        self.tail = b""

    def head(self, columns: Sequence[ColumnDescription]) -> bytes:
        """Write everything before the values of some of the columns."""
        lines = self._lines("column", 3, columns)
        return self.layout.members([*lines, self.layout.member(3, "columnvalues", b"")])

    def _lines(self, word: str, depth: int, columns: Sequence[ColumnDescription]) -> list[bytes]:
        options = self.options
        types = [_shown_type(column, options) for column in columns]
        lists = {"names": [quote_text(column.name) for column in columns]}
        if options.include_types:
            lists["types"] = [type_name(each, typmod=options.include_typmod) for each in types]
        if options.include_type_oids:
            lists["typeoids"] = [b"%d" % each.oid for each in types]
        if word == "column":
            lists |= self._more(columns)
        return [self.layout.member(depth, word + name, self.layout.list(items)) for name, items in lists.items()]

    def _more(self, columns: Sequence[ColumnDescription]) -> dict[str, list[bytes]]:
        options, lists = self.options, {}
        if options.include_column_positions:
            lists["positions"] = [b"%d" % column.position for column in columns]
        if options.include_not_null:
            # The plugin fills this list where it fills that of the types, and leaves it empty without them.
            optional = [b"false" if column.not_null else b"true" for column in columns]
            lists["optionals"] = optional if options.include_types else []
        if options.include_default:
            defaults = [column.default for column in columns]
            lists["defaults"] = [b"null" if each is None else quote_text(each) for each in defaults]
        return lists


class _OldKeys(_NewRow):
    """The lists of an old row, without what is NULL in it."""

    skips_null = True

    def __init__(self, columns: Sequence[ColumnDescription], options: Options, layout: Layout) -> None:
        super().__init__(columns, options, layout)
        self.tail = layout.end + layout.indent(3) + b"}"

    def head(self, columns: Sequence[ColumnDescription]) -> bytes:
        """Write everything before the values of some of the columns."""
        layout = self.layout
        lines = [*self._lines("key", 4, columns), layout.member(4, "keyvalues", b"")]
        return layout.member(3, "oldkeys", b"{") + layout.end + layout.members(lines)


def _section(row: _NewRow, width: int, indexes: Sequence[int]) -> Section:
    options = row.options
    numbers_as_strings = options.numeric_data_types_as_string
    kinds = [Kind(_shown_type(each, options).oid, numbers_as_strings=numbers_as_strings) for each in row.columns]
    places = row.layout.list(kind.place for kind in kinds)
    template = literal(row.head(row.columns)) + places + literal(row.tail)

    def slow(values: Sequence[Value]) -> bytes:
        shown = [
            (column, kind.write(value))
            for column, kind, value in zip(row.columns, kinds, values, strict=True)
            if value is not UNCHANGED and not (row.skips_null and value is None)
        ]
        return row.head([column for column, _ in shown]) + row.layout.list(text for _, text in shown) + row.tail

    return Section(width, indexes, kinds, template, slow)


def _shown_type(column: ColumnDescription, options: Options) -> TypeDescription:
    # The plugin looks at a domain's base only where it writes the name of a type.
    base = column.type.base if options.include_domain_data_type and options.include_types else None
    return base or column.type


def _primary_key(columns: Sequence[ColumnDescription], options: Options, layout: Layout) -> bytes:
    names = layout.list(quote_text(column.name) for column in columns)
    types: Iterable[bytes] = ()
    if options.include_types:
        types = (type_name(_shown_type(column, options), typmod=options.include_typmod) for column in columns)
    lines = [layout.member(4, "pknames", names), layout.member(4, "pktypes", layout.list(types))]
    return layout.member(3, "pk", b"{") + layout.end + layout.members(lines) + layout.end + layout.indent(3) + b"}"
