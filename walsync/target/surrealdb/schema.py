"""How a source table stands in SurrealDB: the names of its fields, its records' ids, and what would keep rows out."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from cbor2 import CBORTag

from walsync.errors import TargetRefused
from walsync.relation import Relation, ReplicaIdentity
from walsync.row import UNCHANGED, Value, write_copy_line
from walsync.source.table import Table
from walsync.target.base import Finding
from walsync.target.collapse import Key
from walsync.target.surrealdb.fields import define_fields
from walsync.target.surrealdb.options import ENDS, Link, Options
from walsync.target.surrealdb.statements import MARK, STAGE, STORE, name
from walsync.target.surrealdb.statements import define as define_statement
from walsync.target.surrealdb.values import RECORD_TAG, ValueForm, record_id, value_form

ID: Final = "id"
"""SurrealDB's own field, which holds the record's id."""

ID_COLUMN: Final = "id_"
"""Where a column called `id` stands, unless it alone is the record's id."""

_MOST_ROWS: Final = 1000
"""Rows per second hardly rise beyond, measured."""

_MOST_NAME_BYTES: Final = 4 * 1024**2
"""A quarter of what a server takes in a request; the values may take up to a half (see `SLICE_BYTES`)."""

_TABLE_TAG: Final = 7
_UUID_TAG: Final = 37
_RANGE_TAG: Final = 49
_INCLUDED_TAG: Final = 50
_UUID_BYTES: Final = 16


@dataclass(frozen=True)
class Layout:
    """A relation of the stream, or the columns of a snapshot, and what they become.

    `fields` has a name per column, None for the one that is the record's id and nothing else. `key` are the indexes
    of the key columns; empty for a table without a key.
    """

    qualified_name: str
    table: str
    columns: tuple[str, ...]
    fields: tuple[str | None, ...]
    forms: tuple[ValueForm, ...]
    key: tuple[int, ...]
    options: Options

    def content(self, values: Sequence[Value], record: CBORTag) -> dict[str, object]:
        """Make the record of a row; UNCHANGED values are left out."""
        content: dict[str, object] = {ID: record}
        for (field, encode), value in zip(self._encoders, values, strict=True):
            if field is not None and value is not UNCHANGED:
                content[field] = encode(value)
        if self.options.links:
            self._add_links(content, values)
        return content

    def whole(self, values: Sequence[Value], record: CBORTag) -> dict[str, object]:
        """Make the record of a row that has all its values, as it will stand: without what is absent."""
        content = self.content(values, record)
        if self.options.null is None:
            return content
        return {field: value for field, value in content.items() if value is not self.options.null}

    def _add_links(self, content: dict[str, object], values: Sequence[Value]) -> None:
        for link, indexes in self._links:
            parts = [values[index] for index in indexes]
            unsent = parts.count(UNCHANGED)
            if unsent == len(parts):
                continue  # as it was
            key = [part for part in parts if isinstance(part, bytes)]
            if unsent or (len(key) < len(parts) and self.options.is_edge and link.field in ENDS):
                raise TargetRefused(
                    "WS4615",
                    f"{self.qualified_name}: a row came without all of ({', '.join(link.columns)}), which {link.field}"
                    " is made of",
                    hint=f"on the source: ALTER TABLE {self.qualified_name} REPLICA IDENTITY FULL; and make the"
                    " columns of an edge NOT NULL",
                )
            content[link.field] = link.record(key) if len(key) == len(parts) else self.options.null

    @cached_property
    def equals_others(self) -> bool:
        """Tell whether rows of different texts may make records that are equal to the engine."""
        return any(form.equals_others for form in self.forms)

    @cached_property
    def _links(self) -> list[tuple[Link, list[int]]]:
        return [(link, [self.columns.index(column) for column in link.columns]) for link in self.options.links]

    @cached_property
    def _encoders(self) -> list[tuple[str | None, Callable[[bytes | None], object]]]:
        encoders = [form.encode for form in self.forms]
        if self.options.null is not None:
            encoders = [_without_null(encode, self.options.null) for encode in encoders]
        return list(zip(self.fields, encoders, strict=True))

    @cached_property
    def _scalar_key(self) -> Callable[[bytes | None], object] | None:
        """The encoder of a key that is one column and stands alone: the way of nearly all rows."""
        forms = self._key_forms
        return forms[0].encode if len(forms) == 1 and forms[0].always_scalar_id else None

    @cached_property
    def _key_forms(self) -> list[ValueForm]:
        return [self.forms[index] for index in self.key]

    def record(self, key: Key) -> CBORTag:
        """Name the record of a key."""
        if self._scalar_key is not None:
            return CBORTag(RECORD_TAG, [self.table, self._scalar_key(key[0])])
        return record_id(self.table, self._key_forms, key)

    def name_record(self, values: Sequence[Value]) -> CBORTag:
        """Name the record of a whole row: by its key, or without one by a digest that finds it, and a new number."""
        if self.key:
            return self.record(tuple(self._key_value(values, index) for index in self.key))
        return CBORTag(RECORD_TAG, [self.table, [_digest(values), CBORTag(_UUID_TAG, os.urandom(_UUID_BYTES))]])

    def _key_value(self, values: Sequence[Value], index: int) -> bytes:
        value = values[index]
        if value is None or value is UNCHANGED:
            raise TargetRefused(
                "WS4306",
                f"{self.qualified_name}: a row came without a value in key column {self.columns[index]}",
                hint="compare the table's replica identity with its key, then restart",
            )
        return value

    def equal_records(self, values: Sequence[Value]) -> CBORTag:
        """Name all records of a table without a key that are this row, down to the text of each value."""
        digest = _digest(values)
        bounds = [CBORTag(_UUID_TAG, bytes([filler]) * _UUID_BYTES) for filler in (0x00, 0xFF)]
        span = CBORTag(_RANGE_TAG, [CBORTag(_INCLUDED_TAG, [digest, bound]) for bound in bounds])
        return CBORTag(RECORD_TAG, [self.table, span])


class Layouts:
    """The tables given to `prepare`, and the layout of each relation that the stream brings for them."""

    def __init__(self, tables: Iterable[Table], options: Mapping[int, Options]) -> None:
        self._tables = {table.relid: table for table in tables}
        self._options = options
        self._layouts: dict[int, tuple[Relation, Layout]] = {}

    @property
    def most_rows(self) -> int:
        """How many rows a request takes at most, since each brings the names of its fields along."""
        return most_rows(self._tables.values())

    def options_of(self, table: Table) -> Options:
        """Return the options of a table; none where it is not among those."""
        return self._options.get(table.relid, Options())

    @property
    def digests(self) -> dict[str, str]:
        """What the options of each table come to, by qualified name."""
        return {table.qualified_name: self._options[relid].digest for relid, table in self._tables.items()}

    def neighbours(self, table: Table) -> list[str]:
        """Name the tables of edges that lead to or from a table: deleting its records deletes them."""
        return [
            table_name(one)
            for relid, one in self._tables.items()
            if one.relid != table.relid and self._options[relid].leads_to(table_name(table))
        ]

    def of(self, relation: Relation) -> Layout:
        """Find the layout of a relation; TargetRefused where it is not what the catalogue said."""
        relation_of, layout = self._layouts.get(relation.relid, (None, None))
        # The stream has one object per shape: to compare whole relations for every row costs a sixth of the time.
        if layout is None or (relation_of is not relation and relation_of != relation):
            layout = self._make(relation)
            self._layouts[relation.relid] = relation, layout
        return layout

    def _make(self, relation: Relation) -> Layout:
        table = self._tables.get(relation.relid)
        if table is None:
            raise TargetRefused(
                "WS4207",
                f"{relation.qualified_name}: the target was not prepared for this table",
                hint="restart walsync",
            )
        described = {column.name: column.type_oid for column in table.columns}
        for column in relation.columns:
            if described.get(column.name) != column.type_oid:
                raise TargetRefused(
                    "WS4209",
                    f"{relation.qualified_name}: column {column.name} is not what walsync read from the catalogue",
                    hint="restart walsync: it reads the source's tables again",
                )
        _check_key(relation, table)
        return _layout(table, [column.name for column in relation.columns], self._options[table.relid])


def most_rows(tables: Iterable[Table]) -> int:
    """Tell how many rows go into one request without their names being more than some megabytes."""
    widest = max((sum(len(column.encode()) + 9 for column in table.published) for table in tables), default=0)
    return max(1, min(_MOST_ROWS, _MOST_NAME_BYTES // max(1, widest)))


def copy_layout(table: Table, options: Options) -> Layout:
    """Lay out the columns of a snapshot."""
    return _layout(table, table.published, options)


def fields_of(table: Table, options: Options) -> dict[str, str]:
    """Name the field of each column that has one of its own."""
    layout = copy_layout(table, options)
    return {column: field for column, field in zip(layout.columns, layout.fields, strict=True) if field is not None}


def table_name(table: Table) -> str:
    """Name a table on the target."""
    return ".".join(table.target_name)


def define(tables: Iterable[Table], options: Mapping[int, Options], major: int) -> Iterable[str]:
    """Define what is absent; a table that is there keeps what its owner has made of it."""
    for table in tables:
        its = options[table.relid]
        kind = "TYPE RELATION" if its.is_edge else "TYPE NORMAL" if its.is_schemafull else ""
        schema = "SCHEMAFULL" if its.is_schemafull else "SCHEMALESS"
        yield " ".join((define_statement("table", table_name(table)), kind, schema))
        if its.is_schemafull:
            yield from define_fields(table, fields_of(table, its), its, major)
            if copy_layout(table, its).equals_others:
                yield f"DEFINE FIELD IF NOT EXISTS {MARK} ON {name(table_name(table))} TYPE option<uuid>"


def table_parameter(name: str) -> CBORTag:
    """Name a table in a parameter, where it needs no quotes."""
    return CBORTag(_TABLE_TAG, name)


def find_differences(
    tables: Iterable[Table], options: Mapping[int, Options], described: Mapping[str, Mapping[str, Any]]
) -> list[Finding]:
    """Find what would keep rows from standing as they should; `described` are the target's tables, by name."""
    findings: list[Finding] = []
    for table in tables:
        findings += _find_in_names(table)
        if table_name(table) in described:
            findings += _find_in_target(table, options[table.relid], described[table_name(table)])
    return findings


def _find_in_names(table: Table) -> Iterable[Finding]:
    if table_name(table) in (STORE, STAGE):
        yield Finding(
            "WS4604",
            table.qualified_name,
            "walsync keeps its own records under this name",
            f"give it another one: tables: [{{table: {table.qualified_name}, rename: ...}}]",
        )
    if ID_COLUMN in table.published and ID in table.published and not _is_record_id(table):
        yield Finding(
            "WS4605",
            table.qualified_name,
            f"its column {ID} would stand as {ID_COLUMN}, and there is another column of that name",
            "leave one of them out with `columns`, or rename it on the source",
        )


def _find_in_target(table: Table, options: Options, described: Mapping[str, Any]) -> Iterable[Finding]:
    quoted = name(table_name(table))
    is_schemafull = bool(described.get("full") or described.get("schemafull"))  # as 2.x calls it, and 3.x
    if options.is_schemafull and not is_schemafull:
        yield Finding(
            "WS4616",
            table.qualified_name,
            "the table is there, and it is not SCHEMAFULL",
            f"in the target: ALTER TABLE {quoted} SCHEMAFULL; or REMOVE TABLE {quoted}; or leave `schemafull` out",
        )
    if is_schemafull and not options.is_schemafull:
        yield Finding(
            "WS4606",
            table.qualified_name,
            "the table is SCHEMAFULL there, and the engine drops fields that it does not define without a word",
            f"in the target: ALTER TABLE {quoted} SCHEMALESS; or say `schemafull: true` of this table",
        )
    is_relation = described.get("kind", {}).get("kind") == "RELATION"
    if described.get("drop") or "view" in described or is_relation != options.is_edge:
        wanted = "no table of edges" if options.is_edge else "a table of edges"
        yield Finding(
            "WS4607",
            table.qualified_name,
            f"what has the table's name there is a view, {wanted}, or one that drops what is written",
            f"in the target: REMOVE TABLE {quoted}; or choose another name with `rename`",
        )


def _without_null(encode: Callable[[bytes | None], object], null: CBORTag) -> Callable[[bytes | None], object]:
    return lambda value: null if value is None else encode(value)


def _layout(table: Table, columns: Sequence[str], options: Options) -> Layout:
    replaced = {link.replaces for link in options.links}
    types = {column.name: column.type for column in table.columns}
    alone = _is_record_id(table)
    return Layout(
        qualified_name=table.qualified_name,
        table=table_name(table),
        columns=tuple(columns),
        fields=tuple(
            None if column in replaced else (None if alone else ID_COLUMN) if column == ID else column
            for column in columns
        ),
        forms=tuple(value_form(f"{table.qualified_name}.{column}", types[column]) for column in columns),
        key=tuple(columns.index(column) for column in table.key),
        options=options,
    )


def _is_record_id(table: Table) -> bool:
    """Tell whether the column `id` is the key, and of a type that stands in a record's id as it is."""
    if table.key != (ID,):
        return False
    column = next(column for column in table.columns if column.name == ID)
    return value_form(table.qualified_name, column.type).always_scalar_id


def _check_key(relation: Relation, table: Table) -> None:
    identity = {column.name for column in relation.columns if column.in_identity}
    known = {column.name for column in relation.columns}
    for column in table.key:
        if column in identity or (column in known and relation.replica_identity is ReplicaIdentity.NOTHING):
            continue
        raise TargetRefused(
            "WS4208",
            f"{relation.qualified_name}: key column {column} is no longer part of the replica identity",
            hint="restart walsync: it reads the source's keys again",
        )


def _digest(values: Sequence[Value]) -> str:
    return hashlib.sha256(write_copy_line(values)).hexdigest()
