"""The structure of a Postgres type, as deep as it goes: what a target needs to read a value's text.

Domains are resolved to their base type: a value of a domain is written as its base type's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from walsync.postgres import Connection


class Kind(StrEnum):
    """How a type's text is put together."""

    SCALAR = "scalar"
    ENUM = "enum"
    ARRAY = "array"
    COMPOSITE = "composite"
    RANGE = "range"
    MULTIRANGE = "multirange"


@dataclass(frozen=True, slots=True)
class PgType:
    """A type without typmod.

    `name` is as format_type() writes it with an empty search_path: ``integer``, ``public.mood``, ``text[]``. `element`
    is an array's element, a range's subtype, or a multirange's range; `attributes` are a composite's live columns;
    `delimiter` separates the elements in an array of this type.
    """

    oid: int
    name: str
    kind: Kind = Kind.SCALAR
    element: "PgType | None" = None
    attributes: tuple[tuple[str, "PgType"], ...] = ()
    delimiter: str = ","


# typtype d stands for its base type; an array is known by its element's typarray: oidvector and int2vector have
# elements too, and a text of their own.
_TYPES: Final = """
SELECT t.oid::bigint, pg_catalog.format_type(t.oid, -1), t.typtype, t.typdelim,
       CASE WHEN t.typtype = 'd' THEN t.typbasetype::bigint END,
       (SELECT e.oid::bigint FROM pg_catalog.pg_type AS e WHERE e.oid = t.typelem AND e.typarray = t.oid),
       (SELECT r.rngsubtype::bigint FROM pg_catalog.pg_range AS r WHERE r.rngtypid = t.oid),
       (SELECT r.rngtypid::bigint FROM pg_catalog.pg_range AS r WHERE r.rngmultitypid = t.oid),
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT a.atttypid::bigint FROM pg_catalog.pg_attribute AS a
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
FROM pg_catalog.pg_type AS t WHERE t.oid = ANY(%s::oid[])
"""


def load(session: Connection, oids: Iterable[int]) -> dict[int, PgType]:
    """Describe types, and all that they are made of, by OID."""
    rows: dict[int, tuple[Any, ...]] = {}
    missing = set(oids)
    while missing:
        with session.cursor() as cursor:
            cursor.execute(_TYPES, (sorted(missing),))
            found = {row[0]: row for row in cursor.fetchall()}
        rows.update(found)
        missing = {part for row in found.values() for part in _parts(row)} - rows.keys()
    built: dict[int, PgType] = {}
    for oid in rows:
        _build(oid, rows, built)
    return built


def _parts(row: tuple[Any, ...]) -> list[int]:
    *_, base, element, subtype, range_, _, attribute_oids = row
    return [oid for oid in (base, element, subtype, range_, *attribute_oids) if oid is not None]


def _build(oid: int, rows: dict[int, tuple[Any, ...]], built: dict[int, PgType]) -> PgType:
    if oid in built:
        return built[oid]
    _, name, kind, delimiter, base, element, subtype, range_, names, attribute_oids = rows[oid]
    if base is not None:
        built[oid] = _build(base, rows, built)
        return built[oid]
    part = next((one for one in (element, subtype, range_) if one is not None), None)
    built[oid] = PgType(
        oid,
        name,
        _kind(kind, is_array=element is not None),
        _build(part, rows, built) if part is not None else None,
        tuple((each, _build(type_, rows, built)) for each, type_ in zip(names, attribute_oids, strict=True))
        if kind == "c"
        else (),
        delimiter,
    )
    return built[oid]


def _kind(letter: str, *, is_array: bool) -> Kind:
    if is_array:
        return Kind.ARRAY
    return {"e": Kind.ENUM, "c": Kind.COMPOSITE, "r": Kind.RANGE, "m": Kind.MULTIRANGE}.get(letter, Kind.SCALAR)
