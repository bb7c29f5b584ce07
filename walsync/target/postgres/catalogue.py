"""The target's tables as its own catalogue describes them: what the source's are compared with, and writes rely on."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - psycopg2's class has a lower-case name

TableName: TypeAlias = tuple[str, str]
"""Schema and table."""


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A live column; `plain_type` is `type_name`, or for a domain the type under it."""

    name: str
    type_name: str
    plain_type: str
    not_null: bool
    has_default: bool
    generated: str
    identity: str


@dataclass(frozen=True, slots=True)
class UniqueIndex:
    """A unique index; `operators` are the equality operators it is built on, as ``=`` or ``OPERATOR("schema".=)``.

    `usable` means that ON CONFLICT can rely on it: valid, immediate, neither partial nor on expressions. `touched`
    are all the columns its entries depend on.
    """

    columns: tuple[str, ...]
    operators: tuple[str, ...]
    usable: bool
    touched: frozenset[str]


@dataclass(frozen=True, slots=True)
class TargetTable:
    """A table of the target; `referencing` and `referenced_by` tell other tables by oid, or itself."""

    oid: int
    schema: str
    name: str
    kind: str
    columns: Mapping[str, TargetColumn]
    unique: tuple[UniqueIndex, ...]
    referencing: frozenset[int]
    referenced_by: frozenset[int]
    has_exclusion: bool


_TABLES: Final = """
SELECT c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN unnest(%(schemas)s::text[], %(names)s::text[]) AS wanted (schema_name, table_name)
    ON wanted.schema_name = n.nspname AND wanted.table_name = c.relname
"""

_COLUMNS: Final = """
SELECT a.attrelid::bigint, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
    CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod)
         ELSE pg_catalog.format_type(a.atttypid, a.atttypmod) END,
    a.attnotnull, a.atthasdef, a.attgenerated::text, a.attidentity::text
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = ANY (%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

# Equality by name would miss types of extensions (citext): their operators are not on an empty search_path.
_UNIQUE: Final = """
SELECT i.indrelid::bigint,
    ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, n)
          JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
          WHERE k.n <= i.indnkeyatts ORDER BY k.n),
    ARRAY(SELECT CASE WHEN s.nspname = 'pg_catalog' THEN o.oprname::text
                      ELSE pg_catalog.format('OPERATOR(%%I.%%s)', s.nspname, o.oprname) END
          FROM unnest(i.indclass::oid[]) WITH ORDINALITY AS k (opclass, n)
          JOIN pg_catalog.pg_opclass AS c ON c.oid = k.opclass
          JOIN pg_catalog.pg_amop AS p ON p.amopfamily = c.opcfamily AND p.amopstrategy = 3
              AND p.amoplefttype = c.opcintype AND p.amoprighttype = c.opcintype
          JOIN pg_catalog.pg_operator AS o ON o.oid = p.amopopr
          JOIN pg_catalog.pg_namespace AS s ON s.oid = o.oprnamespace
          ORDER BY k.n),
    i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL,
    ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
          WHERE a.attrelid = i.indrelid AND a.attnum > 0
          AND (a.attnum = ANY (i.indkey::int2[]) OR EXISTS (
              SELECT FROM pg_catalog.pg_depend AS d
              WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indexrelid
              AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = i.indrelid
              AND d.refobjsubid = a.attnum)))
FROM pg_catalog.pg_index AS i
WHERE i.indrelid = ANY (%(oids)s::oid[]) AND i.indisunique AND NOT i.indisexclusion
ORDER BY i.indrelid, i.indisprimary DESC, i.indexrelid
"""

_FOREIGN_KEYS: Final = """
SELECT conrelid::bigint, confrelid::bigint FROM pg_catalog.pg_constraint
WHERE contype = 'f' AND (conrelid = ANY (%(oids)s::oid[]) OR confrelid = ANY (%(oids)s::oid[]))
"""

_EXCLUSIONS: Final = """
SELECT DISTINCT indrelid::bigint FROM pg_catalog.pg_index
WHERE indisexclusion AND indrelid = ANY (%(oids)s::oid[])
"""


def load(cursor: Cursor, names: Iterable[TableName]) -> dict[TableName, TargetTable]:
    """Read the named tables; those that do not exist are left out."""
    wanted = list(names)
    tables = _rows(cursor, _TABLES, schemas=[name[0] for name in wanted], names=[name[1] for name in wanted])
    oids = [row[0] for row in tables]
    columns: defaultdict[int, dict[str, TargetColumn]] = defaultdict(dict)
    for oid, *column in _rows(cursor, _COLUMNS, oids=oids):
        columns[oid][column[0]] = TargetColumn(*column)
    unique: defaultdict[int, list[UniqueIndex]] = defaultdict(list)
    for oid, names_, operators, usable, touched in _rows(cursor, _UNIQUE, oids=oids):
        unique[oid].append(UniqueIndex(tuple(names_), tuple(operators), usable, frozenset(touched)))
    foreign_keys: Sequence[tuple[int, int]] = _rows(cursor, _FOREIGN_KEYS, oids=oids)
    exclusions = {row[0] for row in _rows(cursor, _EXCLUSIONS, oids=oids)}
    return {
        (schema, name): TargetTable(
            oid,
            schema,
            name,
            kind,
            columns[oid],
            tuple(unique[oid]),
            frozenset(to for of, to in foreign_keys if of == oid),
            frozenset(of for of, to in foreign_keys if to == oid),
            oid in exclusions,
        )
        for oid, schema, name, kind in tables
    }


def absent_types(cursor: Cursor, type_names: Iterable[str]) -> set[str]:
    """Tell which of the types, as format_type() writes them, this database does not have."""
    found = _rows(
        cursor,
        "SELECT wanted FROM unnest(%(names)s::text[]) AS wanted WHERE pg_catalog.to_regtype(wanted) IS NULL",
        names=sorted(set(type_names)),
    )
    return {row[0] for row in found}


def enum_labels(cursor: Cursor, type_names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read the labels of enum types that exist, in their order."""
    found = _rows(
        cursor,
        "SELECT wanted, ARRAY(SELECT e.enumlabel::text FROM pg_catalog.pg_enum AS e"
        " WHERE e.enumtypid = pg_catalog.to_regtype(wanted) ORDER BY e.enumsortorder)"
        " FROM unnest(%(names)s::text[]) AS wanted",
        names=sorted(set(type_names)),
    )
    return {row[0]: tuple(row[1]) for row in found}


def _rows(cursor: Cursor, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
    cursor.execute(sql, parameters)
    return cursor.fetchall()
