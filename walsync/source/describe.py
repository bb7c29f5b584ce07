"""Asks the catalogue what the stream does not say of a table: the catalogue of now, about a row of then.

After DDL the two can differ. What the stream does say wins: a column's type and typmod are the relation's, and only
their names are asked for. It is asked once per relation that the stream announces, which it does after every DDL.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import psycopg2

from walsync.relation import Column, Relation
from walsync.source.description import (
    ColumnDescription,
    TableDescription,
    TypeDescription,
    TypeName,
    describe_type,
    from_stream,
)
from walsync.source.session import open_session, source_error

# A deferrable key is none to a replica identity, nor to output plugins before 17.
_COLUMNS: Final = """
SELECT a.attname, a.attnum, a.atttypid::bigint, a.atttypmod, a.attnotnull,
       CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END,
       coalesce(a.attnum = ANY((key.indkey::int2[])[0:key.indnkeyatts - 1]), false)
FROM pg_catalog.pg_attribute AS a
LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_catalog.pg_index AS key
    ON key.indrelid = a.attrelid AND key.indisprimary AND key.indisvalid AND key.indimmediate
WHERE a.attrelid = %(relid)s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

_TYPES: Final = """
SELECT wanted.oid, wanted.typmod, pg_catalog.format_type(t.oid, wanted.typmod), t.typname,
       base.oid::bigint, pg_catalog.format_type(base.oid, t.typtypmod), base.typname
FROM unnest(%(oids)s::bigint[], %(typmods)s::int[]) AS wanted(oid, typmod)
JOIN pg_catalog.pg_type AS t ON t.oid = wanted.oid::oid
LEFT JOIN pg_catalog.pg_type AS base ON t.typtype = 'd' AND base.oid = t.typbasetype
"""

_Types = dict[tuple[int, int], TypeDescription]


class Describer:
    """A session that describes tables; names show as in a session of this role that sets no search_path of its own."""

    def __init__(self, dsn: str, application_name: str) -> None:
        self._session = open_session(dsn, application_name)
        # format_type() and pg_get_expr() leave out a schema that is in the path: show what the role's own sessions see.
        self._query("RESET search_path")

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def describe(self, relation: Relation, type_name: TypeName) -> TableDescription:
        """Describe a relation; by the stream alone what the catalogue does not have any more."""
        rows = self._query(_COLUMNS, relid=relation.relid)
        if not rows:
            return from_stream(relation, type_name)
        pairs = {(row[2], row[3]) for row in rows} | {(c.type_oid, c.typmod) for c in relation.columns}
        types = self._types(pairs)
        attributes = {row[0]: row for row in rows}
        columns = {
            column.name: _column(column, position, attributes.get(column.name), _type(column, types, type_name))
            for position, column in enumerate(relation.columns, 1)
        }
        key = tuple(columns.get(row[0]) or _key_column(row, types) for row in rows if row[6])
        return TableDescription(tuple(columns.values()), key)

    def origin_id(self, name: str) -> int:
        """Return the number of a replication origin; 0, as for a local transaction, when it is gone."""
        rows = self._query("SELECT roident::bigint FROM pg_catalog.pg_replication_origin WHERE roname = %(n)s", n=name)
        return int(rows[0][0]) if rows else 0

    def _types(self, pairs: Iterable[tuple[int, int]]) -> _Types:
        ordered = sorted(pairs)
        rows = self._query(_TYPES, oids=[oid for oid, _ in ordered], typmods=[typmod for _, typmod in ordered])
        return {
            (oid, typmod): TypeDescription(
                oid, name, plain, TypeDescription(base, base_name, base_plain) if base is not None else None
            )
            for oid, typmod, name, plain, base, base_name, base_plain in rows
        }

    def _query(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        try:
            with self._session.cursor() as cursor:
                cursor.execute(sql, parameters or None)
                return cursor.fetchall() if cursor.description else []
        except psycopg2.Error as error:
            raise source_error(error) from error


def _type(column: Column, types: Mapping[tuple[int, int], TypeDescription], type_name: TypeName) -> TypeDescription:
    return types.get((column.type_oid, column.typmod)) or describe_type(column, type_name)


def _column(
    column: Column, place: int, attribute: tuple[Any, ...] | None, described: TypeDescription
) -> ColumnDescription:
    if attribute is None:  # renamed or dropped since
        return ColumnDescription(column.name, place, described, not_null=False, default=None)
    _, position, _, _, not_null, default, _ = attribute
    return ColumnDescription(column.name, position, described, not_null, default)


def _key_column(attribute: tuple[Any, ...], types: _Types) -> ColumnDescription:
    name, position, oid, typmod, not_null, default, _ = attribute
    return ColumnDescription(name, position, types[oid, typmod], not_null, default)
