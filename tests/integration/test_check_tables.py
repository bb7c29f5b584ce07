"""`walsync check` and what is on the source: tables, rights, publication, slot; every finding, on real servers."""

from collections.abc import Callable

import pytest
from fix_check import NewRole, configuration, problems, role_of, the_problem
from fix_postgres import Database

from walsync.check.finding import Severity
from walsync.demo.engines import PostgresServer
from walsync.service import run


async def test_filters_and_column_lists_need_15(
    start_server: Callable[..., PostgresServer], new_database: Callable[..., Database], target: Database
) -> None:
    source = new_database(start_server(14))
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY, name text)")
    for part in ({"where": "id > 0"}, {"columns": ["id"]}):
        await the_problem(configuration(source.dsn, target.dsn, tables=[{"table": "public.users", **part}]), "WS2206")


@pytest.mark.parametrize(
    ("statement", "table", "code", "hint"),
    [
        ("", "public.nope", "WS2201", "source.tables"),
        ("", 'public."a.b"', "WS2201", "source.tables"),
        ("", "nowhere.*", "WS2207", "source.tables"),
        ("CREATE MATERIALIZED VIEW public.t AS SELECT 1 AS id", "public.t", "WS2202", "remove"),
        (
            (
                "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
                " CREATE FOREIGN TABLE public.t (id int) SERVER s"
            ),
            "public.t",
            "WS2202",
            "remove",
        ),
        ("CREATE VIEW public.t AS SELECT 1 AS id", "public.t", "WS2202", "remove"),
        ("CREATE UNLOGGED TABLE public.t (id int PRIMARY KEY)", "public.t", "WS2202", "remove"),
        ("CREATE TABLE public.t (id int)", "public.t", "WS2203", 'ALTER TABLE "public"."t" ADD PRIMARY KEY'),
        (
            "CREATE TABLE public.t (id int PRIMARY KEY); ALTER TABLE public.t REPLICA IDENTITY NOTHING",
            "public.t",
            "WS2203",
            "REPLICA IDENTITY FULL",
        ),
        (
            (
                "CREATE TABLE public.t (id int PRIMARY KEY) PARTITION BY RANGE (id);"
                " CREATE TABLE public.t1 PARTITION OF public.t DEFAULT; ALTER TABLE public.t1 REPLICA IDENTITY NOTHING"
            ),
            "public.t",
            "WS2203",
            "ALTER TABLE public.t1 REPLICA IDENTITY",
        ),
        (
            "CREATE TABLE public.t (id int PRIMARY KEY, name text)",
            {"table": "public.t", "where": "name > 'a'"},
            "WS2204",
            "REPLICA IDENTITY FULL",
        ),
        ("CREATE TABLE public.t (id int PRIMARY KEY)", {"table": "public.t", "where": "idd = 1"}, "WS2204", "where"),
        (
            "CREATE TABLE public.t (id int PRIMARY KEY, name text)",
            {"table": "public.t", "columns": ["name"]},
            "WS2205",
            "columns",
        ),
    ],
    ids=str,
)
async def test_each_table_is_looked_at_before_it_is_published(
    source: Database, target: Database, statement: str, table: object, code: str, hint: str
) -> None:
    if statement:
        source.execute(statement)
    found = await the_problem(configuration(source.dsn, target.dsn, tables=[table]), code)
    assert hint in found.hint
    assert source.execute("SELECT pubname FROM pg_publication") == []


async def test_a_role_that_may_not_replicate_is_found(users: Database, target: Database, new_role: NewRole) -> None:
    codes = [one.code for one in await problems(configuration(new_role(users, "NOREPLICATION"), target.dsn))]
    assert "WS2103" in codes


async def test_a_statement_that_the_source_refuses_is_quoted(
    users: Database, target: Database, new_role: NewRole
) -> None:
    dsn = new_role(users)
    users.execute("REVOKE SELECT ON pg_catalog.pg_publication FROM PUBLIC")
    found = {one.code: one for one in await problems(configuration(dsn, target.dsn))}
    assert "pg_publication" in found["WS2003"].message


async def test_every_right_that_a_role_lacks_is_named(users: Database, target: Database, new_role: NewRole) -> None:
    dsn = new_role(users)
    found = {one.code: one for one in await problems(configuration(dsn, target.dsn))}
    assert found.keys() == {"WS2302", "WS2904", "WS5101"}
    assert found["WS2904"].hint == f'GRANT SELECT ON "public"."users" TO "{role_of(dsn)}"'
    assert "CREATE PUBLICATION" in found["WS2302"].hint
    assert "role.sql" in found["WS5101"].hint


async def test_a_publication_made_by_the_tables_owner_is_enough(
    users: Database, target: Database, new_role: NewRole
) -> None:
    dsn = new_role(users)
    role = role_of(dsn)
    users.execute(f"CREATE SCHEMA walsync AUTHORIZATION {role}")
    users.execute(f"GRANT SELECT ON public.users TO {role}")
    users.execute("CREATE PUBLICATION walsync FOR TABLE public.users")
    assert await problems(configuration(dsn, target.dsn)) == []


async def test_a_role_that_owns_everything_needs_no_superuser(
    users: Database, target: Database, new_role: NewRole
) -> None:
    dsn = new_role(users)
    users.execute(f"ALTER TABLE public.users OWNER TO {role_of(dsn)}")
    users.execute(f"GRANT CREATE ON DATABASE {users.name} TO {role_of(dsn)}")
    assert await problems(configuration(dsn, target.dsn)) == []


async def test_a_registry_of_another_role_is_found(users: Database, target: Database, new_role: NewRole) -> None:
    config = configuration(users.dsn, target.dsn)
    assert await run(config, until_caught_up=True, timeout=30) == 0
    dsn = new_role(users)
    users.execute(f"GRANT SELECT ON public.users TO {role_of(dsn)}")
    found = await the_problem(configuration(dsn, target.dsn), "WS5101")
    assert "walsync.target" in found.message


async def test_a_policy_that_hides_rows_is_found(users: Database, target: Database, new_role: NewRole) -> None:
    dsn = new_role(users)
    role = role_of(dsn)
    users.execute(f"CREATE SCHEMA walsync AUTHORIZATION {role}; GRANT SELECT ON public.users TO {role}")
    users.execute("CREATE PUBLICATION walsync FOR TABLE public.users")
    users.execute("ALTER TABLE public.users ENABLE ROW LEVEL SECURITY")
    found = await the_problem(configuration(dsn, target.dsn), "WS2905")
    assert "BYPASSRLS" in found.hint


async def test_a_partition_beside_its_own_table_is_found(source: Database, target: Database) -> None:
    source.execute("CREATE TABLE public.t (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    source.execute("CREATE TABLE public.t1 PARTITION OF public.t DEFAULT")
    found = await the_problem(configuration(source.dsn, target.dsn, tables=["public.t", "public.t1"]), "WS2208")
    assert "public.t1" in found.message


async def test_a_schema_without_tables_is_a_warning(users: Database, target: Database) -> None:
    found = await the_problem(configuration(users.dsn, target.dsn, tables=["public.*", "pubilc.*"]), "WS2209")
    assert found.severity is Severity.WARNING
    assert "pubilc.*" in found.message


@pytest.mark.parametrize("statement", ["CREATE PUBLICATION walsync FOR ALL TABLES", "CREATE PUBLICATION walsync"])
async def test_a_publication_of_somebody_else_is_found(users: Database, target: Database, statement: str) -> None:
    users.execute(statement)
    await the_problem(configuration(users.dsn, target.dsn), "WS2301")


async def test_a_slot_of_something_else_is_found(users: Database, target: Database) -> None:
    config = configuration(users.dsn, target.dsn)
    users.execute("SELECT pg_create_physical_replication_slot(%s)", config.source.slot)
    try:
        found = await the_problem(config, "WS2401")
    finally:
        users.execute("SELECT pg_drop_replication_slot(%s)", config.source.slot)
    assert "source.slot" in found.hint
