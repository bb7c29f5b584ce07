"""`walsync check`: every finding, provoked on real servers."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from fix_postgres import Database
from fix_walsync import eventually_async, free_port
from psycopg2.extensions import make_dsn

from walsync.check.doctor import examine
from walsync.check.finding import Finding, Severity
from walsync.check.reasons import REASONS
from walsync.config import Config
from walsync.demo.engines import PostgresServer
from walsync.service import run

PASSWORD = "hunter2-very-secret"

NewRole = Callable[..., str]


def configuration(
    source: str,
    target: str,
    *,
    tables: Sequence[Any] = ("public.users",),
    http: Mapping[str, str] | None = None,
    **keys: str,
) -> Config:
    return Config.model_validate(
        {
            "source": {"dsn": source, "tables": list(tables), "slot": f"check_{uuid.uuid4().hex[:12]}", **keys},
            "targets": [{"name": "replica", "type": "postgres", "dsn": target}],
            "http": http or {"listen": ""},
        }
    )


async def problems(config: Config) -> list[Finding]:
    report = await examine(config)
    assert PASSWORD not in repr(report)
    return [finding for finding in report.findings if finding.severity is not Severity.OK]


async def the_problem(config: Config, code: str) -> Finding:
    found = await problems(config)
    assert [finding.code for finding in found] == [code], found
    assert found[0].message
    assert found[0].hint
    assert found[0].why == REASONS.get(code, "")
    return found[0]


@pytest.fixture
def users(source: Database) -> Database:
    """Return the source with one table that can be replicated."""
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY, name text)")
    return source


@pytest.fixture
def new_role(source: Database, target: Database) -> Iterator[NewRole]:
    """Make roles: `new_role(source, "REPLICATION")` returns the DSN of one."""
    made: list[tuple[Database, str]] = []

    def make(database: Database, options: str = "REPLICATION") -> str:
        name = f"role_{uuid.uuid4().hex[:12]}"
        database.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' {options}")
        made.append((database, name))
        return make_dsn(database.dsn, user=name, password=PASSWORD)

    assert source.server is not target.server
    yield make
    for database, name in made:
        database.execute(f"DROP OWNED BY {name} CASCADE")
        database.execute(f"DROP ROLE {name}")


def is_idle(database: Database, slot: str) -> bool:
    return database.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", slot) == [(False,)]


def role_of(dsn: str) -> str:
    return dsn.partition("user=")[2].partition(" ")[0]


async def test_nothing_is_wrong_with_a_server_made_for_it(users: Database, target: Database) -> None:
    assert await problems(configuration(users.dsn, target.dsn)) == []


async def test_looking_changes_nothing(users: Database, target: Database) -> None:
    await examine(configuration(users.dsn, target.dsn, tables=[{"table": "public.users", "where": "id > 0"}]))
    assert users.execute("SELECT pubname FROM pg_publication") == []
    assert users.execute("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()") == []
    for database in (users, target):
        assert database.execute("SELECT nspname FROM pg_namespace WHERE nspname = 'walsync'") == []
    assert target.execute("SELECT relname FROM pg_class WHERE relname = 'users'") == []


async def test_nothing_is_wrong_after_a_run_either(users: Database, target: Database) -> None:
    config = configuration(users.dsn, target.dsn)
    assert await run(config, until_caught_up=True, timeout=30) == 0
    report = await examine(config)
    assert not report.has_errors
    assert any("1 registered" in finding.message for finding in report.findings)
    assert any("stands at" in finding.message and "replica" in finding.where for finding in report.findings)


async def test_a_server_that_does_not_answer_is_found(target: Database) -> None:
    found = await the_problem(
        configuration(f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/app", target.dsn), "WS2002"
    )
    assert found.severity is Severity.ERROR
    assert found.where == "source"
    assert "cannot be reached" in found.message


async def test_a_database_that_is_not_there_is_found(users: Database, target: Database) -> None:
    found = await the_problem(configuration(make_dsn(users.dsn, dbname="nowhere"), target.dsn), "WS2001")
    assert "nowhere" in found.message


@pytest.mark.parametrize(
    ("settings", "codes"),
    [
        ({"wal_level": "replica"}, ["WS2101"]),
        ({"max_replication_slots": "1"}, ["WS2404"]),
        ({"max_wal_senders": "1"}, ["WS2901"]),
        ({"max_slot_wal_keep_size": "64MB"}, ["WS2902"]),
        ({"idle_replication_slot_timeout": "1d"}, ["WS2903"]),
    ],
    ids=str,
)
async def test_the_server_s_settings_are_looked_at(
    start_server: Callable[..., PostgresServer],
    new_database: Callable[..., Database],
    target: Database,
    settings: dict[str, str],
    codes: list[str],
) -> None:
    source = new_database(start_server(**settings))
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY)")
    found = await problems(configuration(source.dsn, target.dsn))
    assert [finding.code for finding in found] == codes
    assert all(finding.why and finding.hint for finding in found)


async def test_a_standby_is_no_source_and_no_target(
    start_server: Callable[..., PostgresServer], users: Database, target: Database
) -> None:
    server = start_server()
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
    await the_problem(configuration(server.dsn(), target.dsn), "WS2906")
    await the_problem(configuration(users.dsn, server.dsn()), "WS4902")


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


async def test_a_registered_target_that_is_not_configured_is_found(users: Database, target: Database) -> None:
    config = configuration(users.dsn, target.dsn)
    assert await run(config, until_caught_up=True, timeout=30) == 0
    renamed = config.targets[0].model_copy(update={"name": "other"})
    found = await the_problem(config.model_copy(update={"targets": (renamed,)}), "WS5008")
    assert "walsync drop --target replica" in found.hint


async def test_a_slot_that_is_gone_is_found(users: Database, target: Database) -> None:
    config = configuration(users.dsn, target.dsn)
    assert await run(config, until_caught_up=True, timeout=30) == 0
    await eventually_async(lambda: is_idle(users, config.source.slot), 10, "the slot to be free")
    users.execute("SELECT pg_drop_replication_slot(%s)", config.source.slot)
    found = await the_problem(config, "WS5009")
    assert "walsync drop" in found.hint


async def test_a_target_that_was_wiped_is_found(users: Database, target: Database) -> None:
    config = configuration(users.dsn, target.dsn)
    assert await run(config, until_caught_up=True, timeout=30) == 0
    target.execute("DROP SCHEMA walsync CASCADE")
    found = await the_problem(config, "WS5003")
    assert found.where == "target replica"
    assert "walsync drop --target replica" in found.hint


async def test_a_target_that_cannot_be_reached_is_found(users: Database) -> None:
    found = await the_problem(
        configuration(users.dsn, f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/x"), "WS4101"
    )
    assert found.where == "target replica"


async def test_a_target_that_is_the_source_is_found(users: Database) -> None:
    target = users.dsn.replace("127.0.0.1", "localhost")
    assert target != users.dsn
    found = await the_problem(configuration(users.dsn, target), "WS4904")
    assert "another database" in found.hint


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("CREATE TABLE public.users (id int PRIMARY KEY)", "WS4203"),
        ("CREATE TABLE public.users (id smallint PRIMARY KEY, name text)", "WS4204"),
        ("CREATE TABLE public.users (id int PRIMARY KEY, name text, more int NOT NULL)", "WS4205"),
        ("CREATE TABLE public.users (id int, name text)", "WS4206"),
        ("CREATE VIEW public.users AS SELECT 1 AS id, '' AS name", "WS4212"),
    ],
)
async def test_tables_that_rows_would_not_fit_are_found(
    users: Database, target: Database, statement: str, code: str
) -> None:
    target.execute(statement)
    found = await the_problem(configuration(users.dsn, target.dsn), code)
    assert found.where == "target replica"
    assert "public.users" in found.message


async def test_rights_that_a_target_s_role_lacks_are_named(
    users: Database, target: Database, new_role: NewRole
) -> None:
    dsn = new_role(target, "")
    found = await problems(configuration(users.dsn, dsn))
    assert {one.code for one in found if one.severity is Severity.ERROR} == {"WS4903"}
    assert [one.code for one in found if one.severity is Severity.WARNING] == ["WS4901"]
    target.execute("CREATE TABLE public.users (id int PRIMARY KEY, name text)")
    target.execute(f"GRANT CREATE ON DATABASE {target.name} TO {role_of(dsn)}")
    found = [one for one in await problems(configuration(users.dsn, dsn)) if one.severity is Severity.ERROR]
    assert [one.code for one in found] == ["WS4903"]
    assert f'GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON "public"."users" TO "{role_of(dsn)}"' in found[0].hint


async def test_a_role_that_may_write_is_enough_for_a_target(
    users: Database, target: Database, new_role: NewRole
) -> None:
    dsn = new_role(target, "")
    target.execute(f"GRANT CREATE ON DATABASE {target.name} TO {role_of(dsn)}")
    target.execute(f"GRANT CREATE ON SCHEMA public TO {role_of(dsn)}")
    target.execute(f"GRANT SET ON PARAMETER session_replication_role TO {role_of(dsn)}")
    assert await problems(configuration(users.dsn, dsn)) == []


async def test_an_open_port_without_a_token_is_a_warning(users: Database, target: Database) -> None:
    found = await the_problem(configuration(users.dsn, target.dsn, http={"listen": "0.0.0.0:0"}), "WS7005")
    assert found.severity is Severity.WARNING
    for http in ({"listen": "0.0.0.0:0", "token": "t"}, {"listen": "127.0.0.1:0"}, {"listen": "localhost:0"}):
        assert await problems(configuration(users.dsn, target.dsn, http=http)) == []
