"""Makes the target's tables from the source's catalogue, and compares those that are there with it.

Tables made here have columns, the key and nothing that could refuse a row of the source: no defaults, foreign keys,
checks or other indexes. Tables that are there are never changed: a difference is a finding with the statement that
mends it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - psycopg2's class has a lower-case name

from walsync.identifier import quote
from walsync.source.table import Table, TableColumn
from walsync.target.base import Finding
from walsync.target.postgres.catalogue import (
    TableName,
    TargetColumn,
    TargetTable,
    absent_types,
    enum_labels,
    load,
)
from walsync.target.postgres.plan import key_operators
from walsync.target.postgres.types import holds

_VIRTUAL_SINCE: Final = 180000
_SCHEMA_OF_TYPE: Final = re.compile(r'(?P<schema>"(?:[^"]|"")+"|[^."]+)\..+')


def compare(cursor: Cursor, tables: Sequence[Table]) -> list[Finding]:
    """Find what would keep rows from fitting, and change nothing; absent tables are found fit if they can be made."""
    present = load(cursor, [_name(table) for table in tables])
    findings = list(_missing_types(cursor, tables))
    for table in tables:
        target = present.get(_name(table))
        if target is not None:
            findings += _differences(table, target)
    return findings


def prepare(cursor: Cursor, tables: Sequence[Table]) -> tuple[Mapping[int, tuple[Table, TargetTable]], Sequence[Table]]:
    """Create what is absent; returns what writes rely on, by relid, and what was absent.

    TargetRefused with the first finding.
    """
    names = [_name(table) for table in tables]
    findings = compare(cursor, tables)
    if findings:
        raise findings[0].refusal()
    present = load(cursor, names)
    absent = [table for table in tables if _name(table) not in present]
    if absent:
        _create(cursor, absent)
        present = load(cursor, names)
    return {table.relid: (table, present[_name(table)]) for table in tables}, absent


def mirrored(table: Table) -> tuple[TableColumn, ...]:
    """Tell which columns the target has: the stream's, and generated ones unless a column list leaves some out."""
    plain = {column.name for column in table.columns if not column.generated}
    whole = plain <= set(table.published)
    return tuple(c for c in table.columns if c.name in table.published or (c.generated and whole))


def create_table(table: Table, *, virtual: bool) -> str:
    """Write the CREATE TABLE of a table that is absent; `virtual`: the target knows virtual generated columns."""
    columns = mirrored(table)
    names = {column.name for column in columns}
    lines = [_column(table, column, virtual=virtual) for column in columns]
    if table.primary_key and names.issuperset(table.primary_key):
        lines.append(f"PRIMARY KEY ({', '.join(map(quote, table.primary_key))})")
    if table.key and table.key != table.primary_key:
        lines.append(f"UNIQUE ({', '.join(map(quote, table.key))})")
    return f"CREATE TABLE {quote(*table.target_name)} ({', '.join(lines)})"


def _name(table: Table) -> TableName:
    schema, name = table.target_name
    return schema, name


def _column(table: Table, column: TableColumn, *, virtual: bool) -> str:
    # A domain's checks may need what the target lacks, and have been made on the source.
    kind = column.base_type_name if column.type_kind == "d" else column.type_name
    parts = [quote(column.name), kind]
    if column.generated and column.name not in table.published:
        storage = "VIRTUAL" if column.generated == "v" and virtual else "STORED"
        parts.append(f"GENERATED ALWAYS AS ({column.default}) {storage}")
    if column.not_null:
        parts.append("NOT NULL")
    return " ".join(parts)


def _create(cursor: Cursor, tables: Sequence[Table]) -> None:
    for schema in sorted({_name(table)[0] for table in tables}):
        _create_schema(cursor, quote(schema))
    enums = {c.type_name: c.enum_labels for table in tables for c in mirrored(table) if c.type_kind == "e"}
    for name in sorted(absent_types(cursor, enums)):
        found = _SCHEMA_OF_TYPE.fullmatch(name)
        if found is not None:
            _create_schema(cursor, found["schema"])
        labels = ", ".join(["%s"] * len(enums[name]))
        cursor.execute(f"CREATE TYPE {name.replace('%', '%%')} AS ENUM ({labels})", enums[name] or None)
    virtual = cursor.connection.server_version >= _VIRTUAL_SINCE
    for table in tables:
        cursor.execute(create_table(table, virtual=virtual))


def _create_schema(cursor: Cursor, quoted: str) -> None:
    # Asked first: CREATE SCHEMA IF NOT EXISTS wants the right to create even where there is nothing to do.
    cursor.execute("SELECT pg_catalog.to_regnamespace(%s) IS NULL", (quoted,))
    row = cursor.fetchone()
    if row and row[0]:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted}")


def _missing_types(cursor: Cursor, tables: Iterable[Table]) -> Iterator[Finding]:
    wanted = [(table, column) for table in tables for column in mirrored(table)]
    absent = absent_types(cursor, [column.base_type_name for _, column in wanted])
    brought = {column.base_type_name for _, column in wanted if column.type_kind == "e"}
    enums = enum_labels(cursor, brought)
    for table, column in wanted:
        name = column.base_type_name
        if column.type_kind != "e":
            # An array of an enum comes with the enum, which another column brings.
            if name in absent and name.removesuffix("[]") not in brought:
                yield Finding(
                    "WS4210",
                    table.qualified_name,
                    f"column {column.name} has the type {name}, which the target does not have",
                    f"on the target: CREATE EXTENSION or CREATE TYPE {name} as on the source",
                )
        elif name not in absent:
            for label in column.enum_labels:
                if label not in enums[name]:
                    yield Finding(
                        "WS4211",
                        table.qualified_name,
                        f"the type {name} of column {column.name} lacks the label '{label}' on the target",
                        f"on the target: ALTER TYPE {name} ADD VALUE {_literal(label)}",
                    )


def _differences(table: Table, target: TargetTable) -> Iterator[Finding]:
    name = table.qualified_name
    if target.kind not in ("r", "p"):
        yield Finding("WS4212", name, "it is not a table on the target", "rename what has its name there")
        return
    columns = mirrored(table)
    for column in columns:
        yield from _column_differences(table, column, target.columns.get(column.name))
    known = {column.name for column in columns}
    for extra in target.columns.values():
        if extra.name not in known and extra.not_null and not (extra.has_default or extra.identity):
            yield Finding(
                "WS4205",
                name,
                f"column {extra.name}, which only the target has, is NOT NULL and has no default",
                f"on the target: {_alter(table, extra.name)} DROP NOT NULL",
            )
    if table.key and key_operators(target, table.key) is None:
        key = ", ".join(map(quote, table.key))
        yield Finding(
            "WS4206",
            name,
            f"the target has no plain, immediate unique index on the key ({', '.join(table.key)})",
            f"on the target: ALTER TABLE {quote(*table.target_name)} ADD UNIQUE ({key})",
        )


def _column_differences(table: Table, column: TableColumn, found: TargetColumn | None) -> Iterator[Finding]:
    name = table.qualified_name
    of_stream = column.name in table.published
    kind = column.base_type_name if column.type_kind == "d" else column.type_name
    if found is None:
        definition = _column(table, column, virtual=False).removesuffix(" NOT NULL")
        add = f"ALTER TABLE {quote(*table.target_name)} ADD COLUMN {definition}"
        yield Finding("WS4203", name, f"column {column.name} is missing on the target", f"on the target: {add}")
        return
    if of_stream and found.generated:
        drop = f"on the target: {_alter(table, column.name)} DROP EXPRESSION"
        yield Finding("WS4213", name, f"column {column.name} is generated on the target only", drop)
    elif of_stream and found.identity == "a" and column.name not in table.key:
        by_default = f"on the target: {_alter(table, column.name)} SET GENERATED BY DEFAULT"
        yield Finding("WS4213", name, f"column {column.name} is GENERATED ALWAYS AS IDENTITY on the target", by_default)
    elif not of_stream and not found.generated:
        table_sql = quote(*table.target_name)
        again = f"{quote(column.name)}, ADD COLUMN {_column(table, column, virtual=False)}"
        yield Finding(
            "WS4214",
            name,
            f"column {column.name} is generated on the source, is not in the stream, and would stay empty",
            f"on the target: ALTER TABLE {table_sql} DROP COLUMN {again}",
        )
    if not (found.type_name == column.type_name or holds(found.plain_type, kind)):
        yield Finding(
            "WS4204",
            name,
            f"column {column.name} is {found.type_name} on the target and {column.type_name} on the source",
            f"on the target: {_alter(table, column.name)} TYPE {kind}",
        )


def _literal(text: str) -> str:
    """Quote a string for a hint; statements take theirs as parameters."""
    return "'" + text.replace("'", "''") + "'"


def _alter(table: Table, column: str) -> str:
    return f"ALTER TABLE {quote(*table.target_name)} ALTER COLUMN {quote(column)}"
