"""Names of types and descriptions of tables, beside what real servers say of them."""

from collections.abc import Iterator

import pytest
from fix_postgres import Database

from walsync.relation import Column, Relation, ReplicaIdentity
from walsync.source.describe import Describer
from walsync.source.description import from_stream
from walsync.source.type_names import format_builtin, format_named, plain_builtin

BUILT_IN = """
SELECT t.oid::bigint, t.typname::text FROM pg_type AS t
WHERE t.oid < 10000 AND t.typtype IN ('b', 'r', 'm') AND NOT t.typname LIKE ANY (
    ARRAY['pg_node_tree', 'pg_ndistinct', 'pg_dependencies', 'pg_mcv_list', 'pg_brin%'])
AND NOT EXISTS (
    SELECT FROM pg_type AS e WHERE e.oid = t.typelem AND t.typcategory = 'A' AND e.typtype NOT IN ('b', 'r', 'm'))
"""
TYPMODS = {
    "numeric": ("(10,2)", "(4,-2)", "(3,5)", "(1000,0)", ""),
    "varchar": ("(1)", "(10485760)", "(7)[]", ""),
    "char": ("(3)", "", "(3)[]"),
    "bit": ("(8)", "", "(2)[]"),
    "bit varying": ("(9)", ""),
    "timestamp": ("(0)", "(6)", "", "(3)[]"),
    "timestamptz": ("(2)", ""),
    "time": ("(3)", ""),
    "timetz": ("(0)", ""),
    "interval": (
        " year",
        " year to month",
        " day to second(3)",
        " hour",
        "(0)",
        " minute to second",
        " day to hour",
        "",
    ),
    '"char"': ("", "[]"),
    "name": ("", "[]"),
}


@pytest.fixture
def described(any_source: Database) -> Iterator[tuple[Database, Describer]]:
    describer = Describer(any_source.dsn, "test")
    yield any_source, describer
    describer.close()


def relation_of(database: Database, name: str) -> Relation:
    """Return what the stream would announce of a table."""
    rows = database.execute(
        "SELECT attname, atttypid::bigint, atttypmod FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        name,
    )
    columns = tuple(
        Column(column, oid, typmod, in_identity=place == 0) for place, (column, oid, typmod) in enumerate(rows)
    )
    ((relid,),) = database.execute("SELECT %s::regclass::oid::bigint", name)
    return Relation(relid, "public", name, ReplicaIdentity.DEFAULT, columns)


def test_every_built_in_type_has_the_name_that_the_server_gives_it(any_source: Database) -> None:
    for oid, plain in any_source.execute(BUILT_IN):
        ((name,),) = any_source.execute("SELECT format_type(%s, -1)", oid)
        assert (format_builtin(oid, -1), plain_builtin(oid)) == (name, plain)


def test_a_typmod_reads_as_the_server_reads_it(any_source: Database) -> None:
    types = [f"{name}{typmod}" for name, typmods in TYPMODS.items() for typmod in typmods]
    if any_source.server.version < 15:
        types = [name for name in types if name not in ("numeric(4,-2)", "numeric(3,5)")]  # new in 15
    definitions = ", ".join(f"c{place} {name}" for place, name in enumerate(types))
    any_source.execute(f"CREATE TABLE t ({definitions})")
    rows = any_source.execute(
        "SELECT atttypid::bigint, atttypmod, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert [format_builtin(oid, typmod) for oid, typmod, _ in rows] == [name for _, _, name in rows]


def test_a_users_type_is_named_as_if_public_were_in_the_path(any_source: Database) -> None:
    any_source.execute("CREATE SCHEMA other")
    for schema, name in (("public", "plain"), ("public", "Camel Case"), ("other", "plain"), ("other", 'qu"ote')):
        quoted = name.replace('"', '""')
        any_source.execute(f'CREATE TYPE {schema}."{quoted}" AS ENUM ()')
        rows = any_source.execute(
            "SELECT t.typname, format_type(t.oid, -1) FROM pg_type AS t"
            " JOIN pg_namespace AS n ON n.oid = t.typnamespace"
            " WHERE n.nspname = %s AND t.typname IN (%s, '_' || %s) ORDER BY t.oid DESC",
            schema,
            name,
            name,
        )
        assert [format_named(schema, plain) for plain, _ in rows] == [formatted for _, formatted in rows]


def test_a_description_holds_what_the_stream_does_not_say(described: tuple[Database, Describer]) -> None:
    database, describer = described
    database.execute("CREATE DOMAIN d AS numeric(8,3)")
    database.execute("CREATE TABLE t (v d NOT NULL, gone int, id serial, n text DEFAULT 'x', PRIMARY KEY (id, v))")
    database.execute("ALTER TABLE t DROP gone")
    table = describer.describe(relation_of(database, "t"), lambda _oid: None)
    assert [(column.name, column.position, column.not_null, column.default) for column in table.columns] == [
        ("v", 1, True, None),
        ("id", 3, True, "nextval('t_id_seq'::regclass)"),
        ("n", 4, False, "'x'::text"),
    ]
    assert table.primary_key == table.columns[:2]
    base = table.columns[0].type.base
    assert base is not None
    assert (table.columns[0].type.name, base.oid, base.name, base.plain_name) == ("d", 1700, "numeric(8,3)", "numeric")


def test_a_table_that_is_gone_is_described_by_the_stream_alone(described: tuple[Database, Describer]) -> None:
    database, describer = described
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(7)[] NOT NULL)")
    relation = relation_of(database, "t")
    database.execute("DROP TABLE t")
    table = describer.describe(relation, lambda _oid: None)
    assert table == from_stream(relation, lambda _oid: None)
    assert [column.type.name for column in table.columns] == ["integer", "character varying(7)[]"]
    assert table.primary_key == table.columns[:1]


def test_a_type_that_is_gone_has_the_name_that_the_stream_gave_it(described: tuple[Database, Describer]) -> None:
    database, describer = described
    database.execute("CREATE TYPE mood AS ENUM ()")
    database.execute("CREATE TABLE t (id int PRIMARY KEY, m mood)")
    relation = relation_of(database, "t")
    database.execute("DROP TYPE mood CASCADE")
    table = describer.describe(relation, lambda _oid: ("public", "mood"))
    assert [column.type.name for column in table.columns] == ["integer", "mood"]


def test_the_number_of_an_origin_that_is_gone_is_that_of_none(described: tuple[Database, Describer]) -> None:
    database, describer = described
    name = f"origin of {database.name}"
    database.execute("SELECT pg_replication_origin_create(%s)", name)
    assert describer.origin_id(name) > 0
    database.execute("SELECT pg_replication_origin_drop(%s)", name)
    assert describer.origin_id(name) == 0
