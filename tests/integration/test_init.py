"""`walsync init` on real servers: what it proposes is applied as printed, and then check is green and run copies."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from fix_postgres import Database
from fix_walsync import Walsync
from psycopg2.extensions import make_dsn

from walsync.cli.init import init
from walsync.config import load
from walsync.demo.engines import PostgresServer

PASSWORD = "hunter2-very-secret"
SCHEMA = """
CREATE SCHEMA shop;
CREATE TABLE public.users (id int PRIMARY KEY, name text);
INSERT INTO public.users VALUES (1, 'ann'), (2, 'bob');
CREATE TABLE public.secured (id int PRIMARY KEY);
INSERT INTO public.secured VALUES (1);
ALTER TABLE public.secured ENABLE ROW LEVEL SECURITY;
CREATE TABLE shop."odd ""name"" ${HOME}.x" (id int PRIMARY KEY);
INSERT INTO shop."odd ""name"" ${HOME}.x" VALUES (7);
CREATE TABLE shop.parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE shop.parts_all PARTITION OF shop.parts DEFAULT;
INSERT INTO shop.parts VALUES (5);
CREATE TABLE public.full_identity (n int);
ALTER TABLE public.full_identity REPLICA IDENTITY FULL;
CREATE TABLE public.keyless (n int);
CREATE UNLOGGED TABLE public.unlogged (id int PRIMARY KEY);
ANALYZE
"""
USABLE = ["public.full_identity", "public.secured", "public.users", 'shop."odd ""name"" ${HOME}.x"', "shop.parts"]


def statements(script: str) -> list[str]:
    """Take the statements out of a script that has one on each line."""
    return [line for line in script.splitlines() if line and not line.startswith("--")]


def written_by(command: Walsync, *args: str, code: int = 0) -> str:
    command.config_path.unlink(missing_ok=True)
    command.stdout.unlink(missing_ok=True)
    assert command.run("init", "-c", str(command.config_path), *args) == code, command.output
    assert PASSWORD not in command.output
    return command.stdout.read_text()


@pytest.fixture
def unprepared(
    start_server: Callable[..., PostgresServer], new_database: Callable[[PostgresServer], Database]
) -> tuple[PostgresServer, Database]:
    """Start a server that nobody has made for replication, with tables of all kinds."""
    server = start_server(
        wal_level="replica",
        max_replication_slots="1",
        max_wal_senders="1",
        max_slot_wal_keep_size="64MB",
        idle_replication_slot_timeout="1d",
    )
    database = new_database(server)
    database.execute(SCHEMA)
    return server, database


def test_what_is_proposed_works_once_it_is_applied(
    unprepared: tuple[PostgresServer, Database], target: Database, walsync_command: Callable[..., Walsync]
) -> None:
    server, source = unprepared
    command = walsync_command("", WALSYNC_SOURCE_PASSWORD="change me", WALSYNC_REPLICA_PASSWORD=PASSWORD)
    script = written_by(
        command,
        *("--dsn", make_dsn(source.dsn, password=PASSWORD)),
        *("--target", f"{target.dsn}?password={PASSWORD}", "--target", f"sqlite://{command.cwd}/local.sqlite"),
    )
    assert_untouched(source)

    for statement in statements(script):
        source.execute(statement)
    server.restart()
    assert source.connect().info.server_version
    assert command.run("check") == 0, command.output
    assert "\n0 errors, 0 warnings, " in command.stdout.read_text()
    assert command.run("run", "--until-caught-up", "--timeout", "60s") == 0, command.output
    assert target.execute("SELECT * FROM public.users ORDER BY id") == [(1, "ann"), (2, "bob")]
    assert target.execute("SELECT * FROM public.secured") == [(1,)]
    assert target.execute('SELECT * FROM shop."odd ""name"" ${HOME}.x"') == [(7,)]
    assert target.execute("SELECT * FROM shop.parts") == [(5,)]
    assert (command.cwd / "local.sqlite").exists()


def assert_untouched(source: Database) -> None:
    assert source.execute("SELECT rolname FROM pg_roles WHERE rolname = 'walsync'") == []
    assert source.execute("SELECT pubname FROM pg_publication") == []
    assert source.execute("SELECT slot_name FROM pg_replication_slots") == []
    assert source.execute("SELECT nspname FROM pg_namespace WHERE nspname = 'walsync'") == []
    assert source.execute("SHOW wal_level") == [("replica",)]
    assert source.execute("SELECT count(*) FROM pg_file_settings WHERE sourcefile LIKE '%%auto.conf'") == [(0,)]


def test_every_setting_that_is_in_the_way_is_named_with_its_statement(
    unprepared: tuple[PostgresServer, Database], walsync_command: Callable[..., Walsync]
) -> None:
    _, source = unprepared
    script = written_by(walsync_command(""), "--dsn", source.dsn)
    assert [line for line in statements(script) if "ALTER SYSTEM" in line or "reload" in line] == [
        "ALTER SYSTEM SET wal_level = 'logical';",
        "ALTER SYSTEM SET max_replication_slots = 3;",
        "ALTER SYSTEM SET max_wal_senders = 3;",
        "ALTER SYSTEM SET max_slot_wal_keep_size = -1;",
        "ALTER SYSTEM SET idle_replication_slot_timeout = 0;",
        "SELECT pg_reload_conf();",
    ]
    assert "restart the server, for wal_level, max_replication_slots, max_wal_senders." in script


def test_the_file_lists_what_can_be_replicated_and_says_why_the_rest_cannot(
    source: Database, walsync_command: Callable[..., Walsync]
) -> None:
    source.execute(SCHEMA)
    command = walsync_command("")
    script = written_by(command, "--dsn", source.dsn)
    text = command.config_path.read_text()
    config = load(command.config_path, {"WALSYNC_SOURCE_PASSWORD": "x"})
    assert [table.table for table in config.source.tables] == USABLE
    assert "- public.users  # about 2 rows" in text
    assert "- public.full_identity  # no key: each change looks for its row by all columns" in text
    assert '#   ALTER TABLE "public"."keyless" ADD PRIMARY KEY (...), or REPLICA IDENTITY FULL' in text
    assert "# public.unlogged cannot be replicated: an unlogged table" in text
    assert "BYPASSRLS" in script
    assert "keyless" not in script
    told = command.stderr.read_text()
    assert "5 of 6 tables can be replicated as they are" in told
    assert "WS2203 table public.keyless has no replica identity" in told
    assert "export WALSYNC_SOURCE_PASSWORD=" in told


def test_a_file_that_is_there_is_replaced_only_by_force(
    source: Database, walsync_command: Callable[..., Walsync]
) -> None:
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY)")
    command = walsync_command("mine")
    args = ("init", "-c", str(command.config_path), "--dsn", source.dsn)
    assert command.run(*args) == 2
    assert command.stderr.read_text().startswith("error WS1040: ")
    assert command.config_path.read_text() == "mine"
    assert command.run(*args, "--force") == 0
    assert yaml.safe_load(command.config_path.read_text())["source"]["tables"] == ["public.users"]
    assert sorted(path.name for path in command.cwd.iterdir()) == ["stderr", "stdout", "walsync.yaml"]


def test_what_comes_next_names_the_file_where_another_one_would_be_taken(
    source: Database, walsync_command: Callable[..., Walsync]
) -> None:
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY)")
    command = walsync_command("", WALSYNC_CONFIG="")
    args = ("init", "--dsn", source.dsn, "--force")
    assert command.run(*args) == 0
    assert command.stderr.read_text().endswith("\n  walsync check\n  walsync run\n")
    (command.cwd / "conf").mkdir()
    (command.cwd / "conf" / "walsync.yaml").write_text("another one")
    assert command.run(*args) == 0
    assert command.stderr.read_text().endswith("\n  walsync check -c walsync.yaml\n  walsync run -c walsync.yaml\n")


def test_names_that_are_taken_are_not_proposed_again(source: Database, walsync_command: Callable[..., Walsync]) -> None:
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY); CREATE SCHEMA walsync")
    source.execute("CREATE PUBLICATION walsync FOR ALL TABLES")
    source.execute("SELECT pg_create_physical_replication_slot('walsync')")
    try:
        command = walsync_command("")
        script = written_by(command, "--dsn", source.dsn, "--role", "postgres")
    finally:
        source.execute("SELECT pg_drop_replication_slot('walsync')")
    content = yaml.safe_load(command.config_path.read_text())["source"]
    assert (content["slot"], content["publication"]) == (f"walsync_{source.name}", "walsync_2")
    assert "CREATE ROLE" not in script
    assert 'GRANT USAGE, CREATE ON SCHEMA walsync TO "postgres";' in script
    assert 'CREATE PUBLICATION "walsync_2" FOR TABLE' in script


def test_somebody_who_may_only_connect_can_look(
    source: Database, walsync_command: Callable[..., Walsync], role_on_source: Callable[[str], str]
) -> None:
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY)")
    script = written_by(walsync_command(""), "--dsn", role_on_source("NOREPLICATION"))
    assert 'GRANT "walsync" TO CURRENT_USER;' in statements(script)
    assert not any("pg_monitor" in statement for statement in statements(script))


def test_a_service_that_grants_replication_by_a_role_of_its_own_is_served_like_that(
    source: Database, walsync_command: Callable[..., Walsync]
) -> None:
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY); CREATE ROLE rds_replication")
    try:
        script = written_by(walsync_command(""), "--dsn", source.dsn)
    finally:
        source.execute("DROP ROLE rds_replication")
    assert statements(script)[:2] == [
        "CREATE ROLE \"walsync\" LOGIN PASSWORD 'change me';",
        'GRANT rds_replication TO "walsync";',
    ]


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--dsn", "postgresql://u:p@w@h/x?nonsense=1"), 2, "WS1012"),
        (("--dsn", f"postgresql://u:{PASSWORD}@127.0.0.1:1/x"), 1, "WS2002"),
        (("--table", "public.nope"), 1, "WS2201"),
        (("--target", "mysql://x"), 2, "--target: write postgresql://..."),
        (("--target", "sqlite://relative"), 2, "WS1026"),
        (("--target", "postgresql://h:port"), 2, "libpq"),
    ],
    ids=str,
)
def test_what_cannot_be_proposed_leaves_no_file(
    source: Database, walsync_command: Callable[..., Walsync], args: tuple[str, ...], code: int, words: str
) -> None:
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY)")
    command = walsync_command("")
    written_by(command, *(("--dsn", source.dsn) if "--dsn" not in args else ()), *args, code=code)
    assert words in command.stderr.read_text()
    assert sorted(path.name for path in command.cwd.iterdir()) == ["stderr", "stdout"]


def test_a_database_without_tables_has_nothing_to_propose(
    source: Database, walsync_command: Callable[..., Walsync]
) -> None:
    command = walsync_command("")
    written_by(command, "--dsn", source.dsn, code=1)
    assert "error WS2207: no table of" in command.stderr.read_text()


def test_a_person_is_asked_for_what_was_not_given(source: Database, target: Database, tmp_path: Path) -> None:
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY); CREATE TABLE public.posts (id int PRIMARY KEY)")
    path = tmp_path / "walsync.yaml"
    answers = [source.dsn, PASSWORD, "public.posts", target.dsn]
    result = CliRunner().invoke(init, ["-c", str(path)], input="\n".join([*answers, ""]), catch_exceptions=False)
    assert result.exit_code == 0
    assert "Tables, separated by spaces [all]: " in result.stderr
    assert PASSWORD not in result.output
    config = load(path, {"WALSYNC_SOURCE_PASSWORD": "x", "WALSYNC_REPLICA_PASSWORD": "y"})
    assert [table.table for table in config.source.tables] == ["public.posts"]
    assert [one.type for one in config.targets] == ["postgres"]
    assert PASSWORD not in path.read_text()
