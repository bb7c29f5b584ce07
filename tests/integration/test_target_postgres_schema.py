"""The Postgres target's tables: made from a real source's catalogue, and compared with what is there."""

from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import replace

import pytest
from conformance.stream import SLOT, TARGET_ID, make_table, writer
from fix_postgres import Database

from walsync.errors import TargetRefused
from walsync.lsn import LSN
from walsync.postgres import connect
from walsync.relation import ReplicaIdentity
from walsync.settings import Secret
from walsync.source.catalogue import load
from walsync.source.settings import TableSettings
from walsync.source.table import Table
from walsync.target.postgres.settings import PostgresSettings
from walsync.target.postgres.target import PostgresTarget

EVERY_TYPE = """
CREATE TYPE public.mood AS ENUM ('sad', 'it''s ok', 'ha"ppy');
CREATE SCHEMA "Odd S";
CREATE TYPE "Odd S"."Kind %s" AS ENUM ('a');
CREATE DOMAIN public.positive AS integer CHECK (VALUE > 0);
CREATE TABLE public.everything (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n numeric(12, 3) NOT NULL DEFAULT 1.5, b bit, bits bit(7),
    vb bit varying(9), c char(5), vc varchar(20), one "char", p public.positive, m public.mood,
    ms public.mood[], k "Odd S"."Kind %%s", ts timestamp(3), tz timestamptz, i interval day to second, r int4range,
    j jsonb, x xid8,
    sum numeric GENERATED ALWAYS AS (n * 2) STORED
)
"""


@pytest.fixture
async def replica(target: Database) -> AsyncIterator[PostgresTarget]:
    made = PostgresTarget(PostgresSettings(name="replica", type="postgres", dsn=Secret(target.dsn)), SLOT)
    await made.register(TARGET_ID, writer(), LSN(100))
    yield made
    await made.close()


def catalogue(source: Database, *names: str) -> list[Table]:
    with closing(connect(source.dsn, application_name="test")) as session:
        found = load(session, [TableSettings(table=name) for name in names])
    assert found.problems == []
    return found.tables


def described(database: Database, table: str) -> list[tuple[object, ...]]:
    return database.execute(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, attgenerated FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        table,
    )


async def test_a_table_of_many_types_is_made_as_on_the_source(
    source: Database, target: Database, replica: PostgresTarget
) -> None:
    source.execute(EVERY_TYPE.replace("%%", "%"))
    tables = catalogue(source, "public.everything")
    await replica.prepare(tables)
    expected = [
        (name, "integer" if kind == "positive" else kind, *rest)
        for name, kind, *rest in described(source, "public.everything")
    ]
    assert described(target, "public.everything") == expected
    labels = "SELECT enum_range(NULL::public.mood)::text"
    assert target.execute(labels) == source.execute(labels)
    assert target.execute("SELECT count(*) FROM pg_index WHERE indrelid = 'public.everything'::regclass") == [(1,)]
    assert target.execute("SELECT count(*) FROM pg_attrdef WHERE adrelid = 'public.everything'::regclass") == [(1,)]
    await replica.prepare(tables)
    assert await replica.compare(tables) == []


async def test_a_replica_identity_index_becomes_a_unique_index_beside_the_primary_key(
    source: Database, target: Database, replica: PostgresTarget
) -> None:
    source.execute("CREATE TABLE public.t (id integer PRIMARY KEY, code text NOT NULL)")
    source.execute("CREATE UNIQUE INDEX by_code ON public.t (code)")
    source.execute("ALTER TABLE public.t REPLICA IDENTITY USING INDEX by_code")
    await replica.prepare(catalogue(source, "public.t"))
    columns = "SELECT indkey::text, indisprimary FROM pg_index WHERE indrelid = 'public.t'::regclass ORDER BY 1"
    assert target.execute(columns) == [("1", True), ("2", False)]


async def test_virtual_columns_are_virtual_where_the_target_knows_them_and_stored_elsewhere(
    source: Database, target: Database, replica: PostgresTarget
) -> None:
    source.execute("CREATE TABLE public.t (id integer PRIMARY KEY, twice integer GENERATED ALWAYS AS (id * 2))")
    await replica.prepare(catalogue(source, "public.t"))
    [(kind,)] = target.execute("SELECT attgenerated FROM pg_attribute WHERE attname = 'twice'")
    assert kind == ("v" if target.server.version >= 18 else "s")


async def test_a_column_list_leaves_the_other_columns_out(
    source: Database, target: Database, replica: PostgresTarget
) -> None:
    source.execute(
        "CREATE TABLE public.t (id integer PRIMARY KEY, a text, b text, c text GENERATED ALWAYS AS (b) STORED)"
    )
    await replica.prepare([replace(catalogue(source, "public.t")[0], published=("id", "a"))])
    assert [row[0] for row in described(target, "public.t")] == ["id", "a"]


USERS = make_table("users", [("id", "integer"), ("name", "text")])
GENERATED = replace(
    USERS, columns=(*USERS.columns, replace(USERS.columns[1], name="up", default="upper(name)", generated="s"))
)


def with_type(kind: str, *, letter: str = "b", labels: Sequence[str] = ()) -> Table:
    column = replace(USERS.columns[1], type_name=kind, base_type_name=kind, type_kind=letter, enum_labels=tuple(labels))
    return replace(USERS, columns=(USERS.columns[0], column))


@pytest.mark.parametrize(
    ("existing", "table", "code", "words"),
    [
        ("CREATE TABLE users (id integer PRIMARY KEY)", USERS, "WS4203", 'ADD COLUMN "name" text'),
        ("CREATE TABLE users (id integer PRIMARY KEY, name varchar(3))", USERS, "WS4204", '"name" TYPE text'),
        ("CREATE TABLE users (id smallint PRIMARY KEY, name text)", USERS, "WS4204", '"id" TYPE integer'),
        (
            "CREATE TABLE users (id integer PRIMARY KEY, name text, x text NOT NULL)",
            USERS, "WS4205", '"x" DROP NOT NULL',
        ),
        ("CREATE TABLE users (id integer, name text)", USERS, "WS4206", 'ADD UNIQUE \\("id"\\)'),
        ("CREATE TABLE users (id integer UNIQUE DEFERRABLE, name text)", USERS, "WS4206", "ADD UNIQUE"),
        ("CREATE TABLE users (id integer, name text, UNIQUE (id, name))", USERS, "WS4206", "ADD UNIQUE"),
        ("SELECT 1", with_type("public.citext"), "WS4210", "CREATE EXTENSION"),
        (
            "CREATE TYPE mood AS ENUM ('a')",
            with_type("public.mood", letter="e", labels=["a", "b'c"]), "WS4211", "'b''c'",
        ),
        ("CREATE VIEW users AS SELECT 1 AS id, 'a'::text AS name", USERS, "WS4212", "rename"),
        (
            "CREATE TABLE users (id integer PRIMARY KEY, name text GENERATED ALWAYS AS ('x') STORED)",
            USERS, "WS4213", "DROP EXPRESSION",
        ),
        (
            "CREATE TABLE users (name text, id integer UNIQUE, PRIMARY KEY (name))",
            GENERATED, "WS4203", "GENERATED ALWAYS AS \\(upper\\(name\\)\\) STORED",
        ),
        ("CREATE TABLE users (id integer PRIMARY KEY, name text, up text)", GENERATED, "WS4214", 'DROP COLUMN "up"'),
    ],
)  # fmt: skip
async def test_a_difference_is_refused_and_the_hint_mends_it(
    target: Database, replica: PostgresTarget, existing: str, table: Table, code: str, words: str
) -> None:
    target.execute(existing)
    with pytest.raises(TargetRefused, match=words) as refused:
        await replica.prepare([table])
    assert refused.value.code == code
    assert (await replica.compare([table]))[0].refusal().hint == refused.value.hint
    statement = refused.value.hint.removeprefix("on the target: ")
    if statement.startswith("ALTER"):
        target.execute(statement)
        assert code not in [finding.code for finding in await replica.compare([table])]


async def test_an_identity_column_outside_the_key_is_refused_and_inside_it_is_fine(
    target: Database, replica: PostgresTarget
) -> None:
    target.execute("CREATE TABLE users (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text)")
    await replica.prepare([USERS])
    target.execute("ALTER TABLE users RENAME id TO old")
    target.execute("ALTER TABLE users ADD id integer UNIQUE, DROP COLUMN name")
    target.execute("ALTER TABLE users RENAME old TO name")
    [finding, *_] = [one for one in await replica.compare([USERS]) if one.code == "WS4213"]
    assert "SET GENERATED BY DEFAULT" in finding.hint


async def test_tables_with_more_columns_and_wider_types_fit(target: Database, replica: PostgresTarget) -> None:
    target.execute("CREATE DOMAIN label AS varchar")
    target.execute("CREATE TABLE users (x text NOT NULL DEFAULT 'd', name label, y text, id bigint PRIMARY KEY)")
    await replica.prepare([USERS])


async def test_comparing_changes_nothing(target: Database, replica: PostgresTarget) -> None:
    mood = with_type("public.mood", letter="e", labels=["a"])
    assert await replica.compare([mood, replace(USERS, name="other", schema="not there")]) == []
    assert target.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'not there'") == [(0,)]
    assert target.execute("SELECT to_regtype('public.mood')") == [(None,)]


async def test_a_role_without_rights_is_refused_with_what_to_grant(target: Database, replica: PostgresTarget) -> None:
    del replica
    target.execute("CREATE ROLE walsync_plain LOGIN")
    dsn = target.dsn.replace("postgres@", "walsync_plain@")
    plain = PostgresTarget(PostgresSettings(name="replica", type="postgres", dsn=Secret(dsn)), SLOT)
    try:
        with pytest.raises(TargetRefused) as refused:
            await plain.register(TARGET_ID, writer(), LSN(1))
        assert (refused.value.code, plain.replica_role) == ("WS4202", None)
    finally:
        await plain.close()
        target.execute("DROP ROLE walsync_plain")


async def test_a_full_identity_without_primary_key_needs_no_index(
    source: Database, target: Database, replica: PostgresTarget
) -> None:
    source.execute("CREATE TABLE public.log (line text)")
    source.execute("ALTER TABLE public.log REPLICA IDENTITY FULL")
    [table] = catalogue(source, "public.log")
    assert (table.replica_identity, table.key) == (ReplicaIdentity.FULL, ())
    await replica.prepare([table])
    assert target.execute("SELECT count(*) FROM pg_index WHERE indrelid = 'public.log'::regclass") == [(0,)]
