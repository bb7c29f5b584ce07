"""What wal2json's formats show of a table beside its rows, from the catalogue that a target is given when it prepares.

A domain's base type is known without its length or precision here.
"""

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from walsync.relation import Column, Relation
from walsync.source.description import ColumnDescription, TableDescription, TypeDescription, describe_type, from_stream
from walsync.source.table import Table, TableColumn
from walsync.source.type_names import format_builtin, plain_builtin

Describe: TypeAlias = Callable[[Relation], TableDescription]

_PLAIN: Final = re.compile(r'(?:.*\.)?(?:"(.*)"|([^."]*))', re.DOTALL)


def from_nothing(relation: Relation) -> TableDescription:
    """Describe a table of which nothing is known."""
    return from_stream(relation, lambda _oid: None)


def describe(relation: Relation, table: Table | None) -> TableDescription:
    """Describe a relation of the stream as the catalogue knew it; what it did not know is as the stream says."""
    if table is None:
        return from_nothing(relation)
    known = {column.name: column for column in table.columns}
    streamed = from_nothing(relation)
    columns = tuple(
        _column(known[column.name], column) if column.name in known else described
        for column, described in zip(relation.columns, streamed.columns, strict=True)
    )
    key = tuple(
        _column(column, Column(column.name, column.type_oid, column.typmod, in_identity=True))
        for column in table.columns
        if column.name in table.primary_key
    )
    return TableDescription(columns, key)


def _column(known: TableColumn, column: Column) -> ColumnDescription:
    default = None if known.generated else known.default
    return ColumnDescription(
        column.name, known.position, _type(known, column), not_null=known.not_null, default=default
    )


def _type(known: TableColumn, column: Column) -> TypeDescription:
    if known.type_oid != column.type_oid or format_builtin(column.type_oid, column.typmod) is not None:
        return describe_type(column, lambda _oid: None)
    name = known.type_name.removeprefix("public.")
    base = None
    if known.type_kind == "d":
        base_name = known.base_type_name.removeprefix("public.")
        base = TypeDescription(known.type.oid, base_name, plain_builtin(known.type.oid) or _plain(base_name))
    return TypeDescription(column.type_oid, name, _plain(name), base)


def _plain(name: str) -> str:
    """Take pg_type.typname out of what format_type() wrote."""
    found = _PLAIN.fullmatch(name.removesuffix("[]"))
    plain = name if found is None else found[1].replace('""', '"') if found[1] is not None else found[2]
    return f"_{plain}" if name.endswith("[]") else plain
