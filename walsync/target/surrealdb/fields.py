"""DEFINE FIELD for the columns of a SCHEMAFULL table: the kinds of what `values` makes of each type. Pure.

2.x drops what is inside of an object or an array without a word unless the field is FLEXIBLE; 3.x refuses it, and
takes FLEXIBLE for objects only.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from walsync.source.pgtype import Kind, PgType
from walsync.source.table import Table
from walsync.target.surrealdb.options import ENDS, Options
from walsync.target.surrealdb.statements import name

_FLEXIBLE: Final = " FLEXIBLE"
_ANY: Final = "any"
_OLD_MAJOR: Final = 2

_KINDS: Final[Mapping[str, str]] = {
    "smallint": "int",
    "integer": "int",
    "bigint": "int",
    "oid": "int",
    "boolean": "bool",
    "real": "float",
    "double precision": "float",
    "numeric": "decimal | string",
    "bytea": "bytes",
    "uuid": "uuid",
    "timestamp without time zone": "datetime | string",
    "timestamp with time zone": "datetime | string",
    "interval": "object | string",
    "point": "geometry<point>",
}
"""What is not listed, and is neither document, array nor object, is a string."""


def define_fields(table: Table, fields: Mapping[str, str], options: Options, major: int) -> Iterator[str]:
    """Define the fields of the columns that have one (by column), and the links; `major` is the server's version."""
    on = name(".".join(table.target_name))
    for column in table.published_columns:
        if column.name in fields:
            kind, is_nested = _kind(column.type, major)
            optional = kind if kind == _ANY or column.not_null else _optional(kind, options)
            flexible = _FLEXIBLE if is_nested else ""
            yield f"DEFINE FIELD IF NOT EXISTS {name(fields[column.name])} ON {on} TYPE {optional}{flexible}"
    for link in options.links:
        if options.is_edge and link.field in ENDS:
            continue  # the table's kind says what they are
        kind = f"record<{name(link.table)}>"
        required = all(_is_required(table, column) for column in link.columns)
        optional = kind if required else _optional(kind, options)
        yield f"DEFINE FIELD IF NOT EXISTS {name(link.field)} ON {on} TYPE {optional}"


def _optional(kind: str, options: Options) -> str:
    return f"{kind} | null" if options.null is None else f"option<{kind}>"


def _is_required(table: Table, column: str) -> bool:
    return any(one.name == column and one.not_null for one in table.columns)


def _kind(type_: PgType, major: int) -> tuple[str, bool]:
    """Tell the kind, and whether it has to be FLEXIBLE to keep what is inside."""
    if type_.kind in (Kind.COMPOSITE, Kind.RANGE) or type_.name.endswith(".hstore"):
        return "object", True
    if type_.name == "interval":
        return _KINDS[type_.name], True
    if type_.kind in (Kind.ARRAY, Kind.MULTIRANGE) or type_.name in ("json", "jsonb"):
        return _ANY, major == _OLD_MAJOR
    return (_KINDS.get(type_.name, "string") if type_.kind is Kind.SCALAR else "string"), False
