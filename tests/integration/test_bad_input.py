"""What `walsync run` says to a source that cannot work: a code, a hint, an exit code, no traceback, no secret."""

from collections.abc import Callable

import pytest
import yaml
from fix_postgres import Database, Server
from fix_replication import Replication
from fix_walsync import Walsync, free_port

from walsync.demo.engines import PostgresServer
from walsync.errors import SourceRefused


@pytest.fixture
def replication(source: Database, target: Database) -> Replication:
    source.execute("CREATE TABLE t (id int PRIMARY KEY, name text); CREATE TABLE keyless (id int)")
    source.execute("CREATE VIEW v AS SELECT 1 AS id")
    return Replication(source, {"replica": target}, ["public.t"])


async def refused(replication: Replication) -> SourceRefused:
    with pytest.raises(SourceRefused) as caught:
        await replication.catch_up()
    assert caught.value.exit_code == 1
    return caught.value


@pytest.mark.parametrize(
    ("table", "code", "hint"),
    [
        ("public.absent", "WS2201", "source.tables"),
        ("public.v", "WS2202", "remove it"),
        ("public.keyless", "WS2203", "REPLICA IDENTITY FULL"),
        ({"table": "public.t", "where": "name = 'x'"}, "WS2204", "key columns"),
        ({"table": "public.t", "columns": ["name"]}, "WS2205", "columns"),
    ],
    ids=["absent", "view", "keyless", "filter", "columns"],
)
async def test_a_table_that_cannot_be_published_is_refused_before_anything_is_touched(
    replication: Replication, table: object, code: str, hint: str
) -> None:
    error = await refused(Replication(replication.source, replication.targets, [table]))
    assert error.code == code
    assert hint in error.hint
    assert replication.source.execute("SELECT 1 FROM pg_publication") == []
    assert replication.source.execute("SELECT to_regclass('walsync.target') IS NULL") == [(True,)]


async def test_a_publication_of_somebody_else_is_refused(replication: Replication) -> None:
    replication.source.execute("CREATE PUBLICATION walsync FOR TABLE keyless")
    assert (await refused(replication)).code == "WS2301"


async def test_a_source_without_logical_wal_is_refused(
    target: Database, start_server: Callable[..., PostgresServer], new_database: Callable[[Server], Database]
) -> None:
    source = new_database(start_server(wal_level="replica"))
    source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    error = await refused(Replication(source, {"replica": target}, ["public.t"]))
    assert error.code == "WS2101"
    assert "ALTER SYSTEM SET wal_level = logical" in error.hint


async def test_a_role_that_may_not_replicate_is_refused(
    replication: Replication, role_on_source: Callable[[str], str]
) -> None:
    dsn = role_on_source("NOREPLICATION")
    error = await refused(Replication(replication.source, replication.targets, ["public.t"], {"source": {"dsn": dsn}}))
    assert error.code == "WS2103"
    assert "REPLICATION" in error.hint
    assert "throw-away" not in str(error)


async def test_a_database_that_is_not_there_is_refused(replication: Replication) -> None:
    dsn = replication.source.server.dsn("nowhere")
    error = await refused(Replication(replication.source, replication.targets, ["public.t"], {"source": {"dsn": dsn}}))
    assert error.code == "WS2001"
    assert "nowhere" in error.message


def test_a_source_that_does_not_answer_is_waited_for_until_the_timeout(
    replication: Replication, walsync_command: Callable[..., Walsync]
) -> None:
    port = free_port()
    dsn = f"postgresql://nobody:hidden-word@127.0.0.1:{port}/nowhere"
    away = Replication(replication.source, replication.targets, ["public.t"], {"source": {"dsn": dsn}})
    walsync = walsync_command(yaml.safe_dump(away.content))
    assert walsync.run("run", "--until-caught-up", "--timeout", "5s") == 3
    said = walsync.stderr.read_text()
    assert "WS2002" in said
    assert str(port) in said
    assert "hidden-word" not in said


def test_a_slot_that_cannot_be_made_yet_does_not_outlast_the_timeout(
    replication: Replication, walsync_command: Callable[..., Walsync]
) -> None:
    other = replication.source.connect()
    other.autocommit = False
    with other.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")
    walsync = walsync_command(yaml.safe_dump(replication.content))
    assert walsync.run("run", "--until-caught-up", "--timeout", "15s") == 3
    assert "slot_waits_for_transaction" in walsync.stderr.read_text()


def test_a_target_that_lacks_a_column_is_stopped_with_the_statement_that_mends_it(
    replication: Replication, walsync_command: Callable[..., Walsync]
) -> None:
    replication.targets["replica"].execute("CREATE TABLE t (id int PRIMARY KEY)")
    walsync = walsync_command(yaml.safe_dump(replication.content))
    assert walsync.run("run", "--until-caught-up", "--timeout", "20s") == 1
    said = walsync.stderr.read_text()
    assert "WS4203" in said
    assert "ADD COLUMN" in said
    assert replication.source.execute("SELECT durable > '0/0' FROM walsync.target") == [(True,)]
