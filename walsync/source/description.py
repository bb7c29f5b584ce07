"""What the catalogue knows about a table and the stream does not say: type names, defaults, positions, the primary key.

Without a catalogue, or when the table is gone from it, `from_stream` says what can be said from the stream alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from walsync.relation import Column, Relation, ReplicaIdentity
from walsync.source.type_names import format_builtin, format_named, plain_builtin

TypeName: TypeAlias = Callable[[int], tuple[str, str] | None]
"""Names a type that is not built in, by oid: schema and name, as the stream's Type message has them."""


@dataclass(frozen=True, slots=True)
class TypeDescription:
    """A column's type: `name` is ``format_type(oid, typmod)``, `plain_name` is pg_type.typname.

    `base` is there for a domain: the type it is made from, one level down, with the domain's own typmod.
    """

    oid: int
    name: str
    plain_name: str
    base: "TypeDescription | None" = None


@dataclass(frozen=True, slots=True)
class ColumnDescription:
    """A column: `position` is its attnum, `default` the expression; None for a generated or identity column."""

    name: str
    position: int
    type: TypeDescription
    not_null: bool
    default: str | None


@dataclass(frozen=True, slots=True)
class TableDescription:
    """A table: `columns` stand beside those of the relation that was described, one for one.

    `primary_key` has the columns of the primary key in table order, also those that are not published.
    """

    columns: tuple[ColumnDescription, ...]
    primary_key: tuple[ColumnDescription, ...]


def from_stream(relation: Relation, type_name: TypeName) -> TableDescription:
    """Describe a table by what the stream says.

    A domain shows as its base type, nothing is known of NOT NULL and defaults, the primary key is taken to be the
    default replica identity, and a position is the place among the published columns.
    """
    columns = tuple(
        ColumnDescription(column.name, position, describe_type(column, type_name), not_null=False, default=None)
        for position, column in enumerate(relation.columns, 1)
    )
    if relation.replica_identity is not ReplicaIdentity.DEFAULT:
        return TableDescription(columns, ())
    key = zip(columns, relation.columns, strict=True)
    return TableDescription(columns, tuple(described for described, column in key if column.in_identity))


def describe_type(column: Column, type_name: TypeName) -> TypeDescription:
    """Name a column's type as the server does with ``public`` in the search_path."""
    built_in = format_builtin(column.type_oid, column.typmod)
    if built_in is not None:
        return TypeDescription(column.type_oid, built_in, plain_builtin(column.type_oid))
    schema, name = type_name(column.type_oid) or ("", "???")
    return TypeDescription(column.type_oid, format_named(schema, name), name)
