"""The source's tables as the catalogue describes them, for the names that the configuration gives."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from walsync.errors import SourceRefused
from walsync.postgres import Connection
from walsync.relation import ReplicaIdentity
from walsync.source import pgtype
from walsync.source.pgtype import PgType
from walsync.source.settings import TableSettings
from walsync.source.table import ForeignKey, Table, TableColumn

_KINDS: Final = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "i": "an index",
    "c": "a type",
}

_RELATIONS: Final = """
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind, c.relpersistence, c.relreplident,
       ARRAY(SELECT above.relid::oid::bigint FROM pg_catalog.pg_partition_ancestors(c.oid) AS above
             WHERE above.relid <> c.oid),
       ARRAY(SELECT leaf.relid::oid::bigint FROM pg_catalog.pg_partition_tree(c.oid) AS leaf
             WHERE c.relkind = 'p' AND leaf.isleaf ORDER BY 1)
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind NOT IN ('i', 'I', 'S', 'c', 't')
ORDER BY n.nspname, c.relname
"""

# format_type with typmod -1 names a type that neither cuts nor rounds: "bit" and bpchar instead of one character.
_COLUMNS: Final = """
SELECT a.attrelid::bigint, a.attname, a.attnum, a.atttypid::bigint, a.atttypmod,
       pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.format_type(base.oid, -1), t.typtype,
       ARRAY(SELECT label.enumlabel::text FROM pg_catalog.pg_enum AS label
             WHERE label.enumtypid = base.oid ORDER BY label.enumsortorder),
       a.attnotnull, pg_catalog.pg_get_expr(d.adbin, d.adrelid), a.attgenerated
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
CROSS JOIN LATERAL (
    WITH RECURSIVE step AS (
        SELECT t.oid, t.typtype, t.typbasetype
        UNION ALL
        SELECT b.oid, b.typtype, b.typbasetype FROM step JOIN pg_catalog.pg_type AS b ON b.oid = step.typbasetype
        WHERE step.typtype = 'd')
    SELECT step.oid FROM step WHERE step.typtype <> 'd') AS base
WHERE a.attrelid = ANY(%(relids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

# A deferrable key is no replica identity, and names two rows for a moment: as if it were not there.
_KEYS: Final = """
SELECT i.indrelid::bigint, i.indisprimary, i.indisreplident, ARRAY(
    SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = i.indrelid AND a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1]) ORDER BY a.attnum)
FROM pg_catalog.pg_index AS i
WHERE i.indrelid = ANY(%(relids)s::oid[]) AND i.indisvalid AND i.indimmediate AND (i.indisprimary OR i.indisreplident)
"""


_FOREIGN_KEYS: Final = """
SELECT c.conrelid::bigint, c.confrelid::bigint,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(c.conkey) WITH ORDINALITY AS k (attnum, place)
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.attnum ORDER BY k.place),
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(c.confkey) WITH ORDINALITY AS k (attnum, place)
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.confrelid AND a.attnum = k.attnum ORDER BY k.place)
FROM pg_catalog.pg_constraint AS c
WHERE c.contype = 'f' AND c.conrelid = ANY(%(relids)s::oid[]) ORDER BY c.conname
"""


@dataclass
class Catalogue:
    """What was found: the tables to publish, and a problem for each name that cannot be one."""

    tables: list[Table] = field(default_factory=list)
    problems: list[SourceRefused] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Relation:
    relid: int
    schema: str
    name: str
    kind: str
    persistence: str
    replica_identity: str
    ancestors: list[int]
    leaves: list[int]


def load(session: Connection, wanted: Sequence[TableSettings]) -> Catalogue:
    """Find the wanted tables; ``schema.*`` stands for every table of the schema that could be published."""
    schemas = sorted({one.schema_name for one in wanted})
    relations = {
        (r.schema, r.name): r for r in (_Relation(*row) for row in _query(session, _RELATIONS, schemas=schemas))
    }
    catalogue = Catalogue()
    chosen: dict[tuple[str, str], TableSettings] = {}
    for one in wanted:
        if one.table_name is not None:
            chosen[one.schema_name, one.table_name] = one
    for one in wanted:
        if one.table_name is None:
            for relation in relations.values():
                if relation.schema == one.schema_name and _publishable(relation):
                    chosen.setdefault((relation.schema, relation.name), one)
    wanted_relids = {relations[name].relid for name in chosen if name in relations}
    found: list[tuple[_Relation, TableSettings]] = []
    for name, settings in chosen.items():
        named = relations.get(name)
        under_root = named is not None and not wanted_relids.isdisjoint(named.ancestors)
        if under_root and settings.table_name is None:
            continue  # its changes arrive under its root
        problem = _under_root(name) if under_root else _problem(name, named)
        if problem is not None:
            catalogue.problems.append(problem)
        else:
            found.append((relations[name], settings))
    catalogue.tables = _describe(session, found)
    return catalogue


def _publishable(relation: _Relation) -> bool:
    return relation.kind in "rp" and relation.persistence == "p"


def _problem(name: tuple[str, str], relation: _Relation | None) -> SourceRefused | None:
    qualified = ".".join(name)
    if relation is None:
        return SourceRefused(
            "WS2201",
            f"table {qualified} does not exist",
            hint="correct source.tables; names are case-sensitive, unquoted",
        )
    if relation.kind in "rp" and relation.persistence == "p":
        return None
    kind = _KINDS.get(relation.kind) or ("an unlogged table" if relation.persistence == "u" else "a temporary table")
    return SourceRefused(
        "WS2202", f"{qualified} is {kind}: its changes are not in the WAL", hint="remove it from source.tables"
    )


def _under_root(name: tuple[str, str]) -> SourceRefused:
    return SourceRefused(
        "WS2208",
        f"{'.'.join(name)} is a partition of another table of source.tables: its changes arrive under that one only",
        hint="remove one of the two from source.tables",
    )


def _describe(session: Connection, found: Iterable[tuple[_Relation, TableSettings]]) -> list[Table]:
    found = list(found)
    relids = [relation.relid for relation, _ in found]
    leaves = _load_leaves(session, [leaf for relation, _ in found for leaf in relation.leaves])
    columns: defaultdict[int, list[TableColumn]] = defaultdict(list)
    described = _query(session, _COLUMNS, relids=relids)
    types = pgtype.load(session, {row[3] for row in described})
    for relid, *rest in described:
        columns[relid].append(_column(rest, types))
    primary: dict[int, tuple[str, ...]] = {}
    index: dict[int, tuple[str, ...]] = {}
    for relid, is_primary, is_identity, names in _query(session, _KEYS, relids=[*relids, *leaves]):
        if is_primary:
            primary[relid] = tuple(names)
        if is_identity:
            index[relid] = tuple(names)
    foreign: defaultdict[int, list[ForeignKey]] = defaultdict(list)
    for relid, referenced, names, referenced_names in _query(session, _FOREIGN_KEYS, relids=relids):
        foreign[relid].append(ForeignKey(tuple(names), referenced, tuple(referenced_names)))
    tables = []
    for relation, settings in found:
        live = tuple(columns[relation.relid])
        plain = tuple(column.name for column in live if not column.generated)
        identity = _identity(relation.relid, relation.replica_identity, plain, primary, index)
        weak = [
            name
            for name, leaf, letter in (leaves[leaf] for leaf in relation.leaves)
            if not set(identity) <= set(_identity(leaf, letter, plain, primary, index))
        ]
        table = _table(relation, settings, live, primary.get(relation.relid, ()), identity)
        tables.append(replace(table, weak_leaves=tuple(weak), foreign_keys=tuple(foreign[relation.relid])))
    return tables


def _load_leaves(session: Connection, relids: list[int]) -> dict[int, tuple[str, int, str]]:
    rows = _query(
        session,
        """
        SELECT n.nspname || '.' || c.relname, c.oid::bigint, c.relreplident
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.oid = ANY(%(relids)s::oid[])
        """,
        relids=relids,
    )
    return {relid: (name, relid, letter) for name, relid, letter in rows}


def _identity(
    relid: int,
    letter: str,
    plain: tuple[str, ...],
    primary: Mapping[int, tuple[str, ...]],
    index: Mapping[int, tuple[str, ...]],
) -> tuple[str, ...]:
    """Return the columns of a replica identity; `plain` are the table's columns that are not generated."""
    match ReplicaIdentity(letter):
        case ReplicaIdentity.DEFAULT:
            return primary.get(relid, ())
        case ReplicaIdentity.INDEX:
            return index.get(relid, ())
        case ReplicaIdentity.FULL:
            return plain
        case ReplicaIdentity.NOTHING:
            return ()


def _column(row: Sequence[Any], types: Mapping[int, PgType]) -> TableColumn:
    name, position, oid, typmod, type_name, base_type_name, kind, labels, not_null, default, generated = row
    return TableColumn(
        name=name,
        position=position,
        type_oid=oid,
        typmod=typmod,
        type_name=type_name,
        base_type_name=base_type_name,
        type_kind=kind,
        enum_labels=tuple(labels),
        not_null=not_null,
        default=default,
        generated=generated,
        type=types[oid],
    )


def _table(
    relation: _Relation,
    settings: TableSettings,
    columns: tuple[TableColumn, ...],
    primary_key: tuple[str, ...],
    identity: tuple[str, ...],
) -> Table:
    listed = settings.columns
    return Table(
        relid=relation.relid,
        schema=relation.schema,
        name=relation.name,
        replica_identity=ReplicaIdentity(relation.replica_identity),
        columns=columns,
        published=tuple(c.name for c in columns if not c.generated and (listed is None or c.name in listed)),
        primary_key=primary_key,
        identity=identity,
        row_filter=settings.where,
        is_partitioned=relation.kind == "p",
        leaves=tuple(relation.leaves),
    )


def _query(session: Connection, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
    with session.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()
