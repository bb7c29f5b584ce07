"""Errors that an operator meets seldom, each provoked on the real thing, so that its code and its hint are true."""

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from conformance.stream import SLOT, TARGET_ID, Source, batch, make_table, table_column, writer
from fix_postgres import Database
from fix_replication import Replication, Running, locked
from fix_walsync import eventually_async
from psycopg2.extensions import make_dsn

from walsync.config import InvalidConfiguration, load
from walsync.demo.child import Child, ChildFailed
from walsync.demo.engines import PostgresServer, from_wheel
from walsync.demo.engines.installation import WHEEL
from walsync.errors import ConfigurationError, TargetRefused, WalsyncError
from walsync.lsn import LSN
from walsync.relation import ReplicaIdentity
from walsync.source.session import Identity, identify, open_replication
from walsync.source.stream import Stream
from walsync.source.table import Table
from walsync.target.base import Target
from walsync.target.d1.settings import D1Settings
from walsync.target.postgres.settings import PostgresSettings
from walsync.target.registry import open_target
from walsync.target.surrealdb.settings import SurrealDBSettings
from walsync.target.surrealdb.target import SurrealDBTarget
from walsync.transaction.change import Change

USERS = make_table("users", [("id", "integer"), ("name", "text")])
LOG = make_table("log", [("line", "text")], (), relid=16386)
SOURCE = Source([USERS, LOG])
START = 100
SECONDS = 30


async def code_of(work: Any) -> str:  # noqa: ANN401 - whatever is awaited
    with pytest.raises(WalsyncError) as raised:
        await work
    return raised.value.code


# The configuration, and the demo.


@pytest.mark.parametrize("entry", ["{table: public.*, rename: public.x}", "{table: public.a, rename: x}"])
def test_a_new_name_that_cannot_be_given_is_refused(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "walsync.yaml"
    path.write_text(
        "source: {dsn: postgresql://h/a, tables: [public.*]}\n"
        f"targets: [{{name: replica, type: postgres, dsn: postgresql://h/b, tables: [{entry}]}}]\n"
    )
    with pytest.raises(InvalidConfiguration) as raised:
        load(path, {})
    assert [(one.code, "tables[0]" in one.where) for one in raised.value.problems] == [("WS1022", True)]


def test_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as raised:
        from_wheel(12)
    assert raised.value.code == "WS1902"
    monkeypatch.setitem(sys.modules, WHEEL, None)
    with pytest.raises(ConfigurationError) as raised:
        from_wheel(18)
    assert (raised.value.code, raised.value.hint) == ("WS1901", "pip install 'walsync[demo]'")


def test_a_wheel_without_this_platform_s_servers_is_told_from_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / WHEEL).mkdir()
    (tmp_path / WHEEL / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(ConfigurationError, match="for this platform") as raised:
        from_wheel(18)
    assert raised.value.code == "WS1901"


def test_the_demo_quotes_the_log_of_a_walsync_that_ended(tmp_path: Path) -> None:
    child = Child(tmp_path, tmp_path / "absent.yaml", "http://127.0.0.1:1/status")
    child.start()
    assert child.wait() == 2
    with pytest.raises(ChildFailed, match="WS1002") as raised:
        child.require_running()
    assert raised.value.code == "WS1904"


# The source.


@pytest.fixture
def identity(source: Database) -> Identity:
    with closing(open_replication(source.dsn, "walsync test")) as replication:
        return identify(replication)


def open_stream(source: Database, identity: Identity, start: LSN) -> Stream:
    return Stream.open(
        source.dsn,
        identity=identity,
        slot=source.name,
        publication="walsync",
        start=start,
        application_name="walsync test",
    )


def stream_code(source: Database, identity: Identity, start: int) -> str:
    with pytest.raises(WalsyncError) as raised:
        open_stream(source, identity, LSN(start))
    return raised.value.code


def test_a_stream_is_not_opened_where_it_would_not_go_on(source: Database, identity: Identity) -> None:
    assert stream_code(source, replace(identity, timeline=identity.timeline + 1), 1) == "WS2004"
    assert stream_code(source, replace(identity, system_identifier="1"), 1) == "WS2004"
    assert stream_code(source, identity, 1) == "WS2406"
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", source.name)
    assert stream_code(source, identity, 1) == "WS2407"
    with closing(open_stream(source, identity, LSN(2**63))):
        assert stream_code(source, identity, 1) == "WS2405"  # it moves while another has it: not judged before


async def test_a_snapshot_that_a_truncate_overtakes_is_taken_again(source: Database, target: Database) -> None:
    tables = "CREATE TABLE public.a (id int PRIMARY KEY); CREATE TABLE public.b (id int PRIMARY KEY)"
    for database in (source, target):
        database.execute(tables)
    replication = Replication(source, {"replica": target}, ["public.a", "public.b"])
    async with replication.running() as running:
        with locked(target, "b"):
            await running.until(partial(waits_for_b, target), "the copy of b to begin")
            source.execute("TRUNCATE b")
        await running.until_streaming()
        assert retried(running, "WS6001") >= 1


def waits_for_b(target: Database) -> bool:
    return target.execute("SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'b'::regclass") != []


def retried(running: Running, code: str) -> float:
    labels = {"target": "replica", "code": code}
    return running.pipeline._metrics.registry.get_sample_value("walsync_target_errors_total", labels) or 0


# The targets.


@pytest.fixture
async def make(target: Database) -> AsyncIterator[Callable[..., Target]]:
    """Make Postgres targets on the database."""
    made: list[Target] = []

    def make_one(*, collapse: bool = True, **keys: str) -> Target:
        address = make_dsn(target.dsn, **keys)
        settings = PostgresSettings.model_validate({"name": "replica", "type": "postgres", "dsn": address})
        made.append(open_target(settings, slot=SLOT, collapse=collapse))
        return made[-1]

    yield make_one
    for one in made:
        await one.close()


async def opened(target: Target, *tables: Table) -> Target:
    await target.register(TARGET_ID, writer(), LSN(START))
    await target.claim(writer())
    await target.prepare(tables)
    return target


async def write_code(target: Target, *changes: Change) -> str:
    return await code_of(target.write(batch(START, START + 100, *changes)))


@pytest.mark.parametrize("kind", ["postgres", "d1", "surrealdb"])
async def test_a_writer_of_another_timeline_or_slot_is_refused(
    kind: str, make: Callable[..., Target], tmp_path: Path
) -> None:
    # A standby that was promoted without the last transactions draws numbers that the old primary had drawn, too.
    d1 = D1Settings.model_validate({"name": "replica", "type": "d1", "url": f"sqlite://{tmp_path}/replica"})
    names = {"name": "replica", "type": "surrealdb", "namespace": "a", "database": "a"}
    graph = SurrealDBSettings.model_validate({**names, "url": f"surrealkv://{tmp_path}/graph"})
    one = make() if kind == "postgres" else open_target(d1 if kind == "d1" else graph, slot=SLOT)
    await one.register(TARGET_ID, writer(), LSN(START))
    assert await code_of(one.claim(writer(timeline=2))) == "WS4005"
    assert await code_of(one.claim(replace(writer(), slot="other"))) == "WS4006"
    if kind != "postgres":
        await one.close()


async def test_a_target_that_may_only_be_read_is_tried_again(start_server: Callable[..., PostgresServer]) -> None:
    server = start_server()
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
    settings = PostgresSettings.model_validate({"name": "replica", "type": "postgres", "dsn": server.dsn()})
    replica = open_target(settings, slot=SLOT)
    with pytest.raises(WalsyncError) as raised:
        await replica.register(TARGET_ID, writer(), LSN(START))
    assert (raised.value.code, raised.value.transient) == ("WS4104", True)
    await replica.close()


async def test_a_target_without_room_is_tried_again(target: Database, make: Callable[..., Target]) -> None:
    replica = await opened(make(options="-c temp_file_limit=64kB -c work_mem=64kB"), USERS)
    add_trigger(target, "PERFORM count(*) FROM (SELECT n FROM generate_series(1, 100000) AS n ORDER BY random()) AS s")
    with pytest.raises(WalsyncError, match="temp_file_limit") as raised:
        await replica.write(batch(START, START + 100, SOURCE.insert(USERS, "1", "a")))
    assert (raised.value.code, raised.value.transient) == ("WS4105", True)


def add_trigger(target: Database, work: str, when: str = "BEFORE INSERT") -> None:
    """Have the target do something of its own for each row."""
    target.execute(
        f"CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {work}; RETURN NEW; END $$;"
        f" CREATE TRIGGER own {when} ON users FOR EACH ROW EXECUTE FUNCTION own();"
        " ALTER TABLE users ENABLE ALWAYS TRIGGER own"
    )


async def test_a_deadlock_with_another_session_is_tried_again(target: Database, make: Callable[..., Target]) -> None:
    replica = await opened(make(collapse=False, options="-c deadlock_timeout=100ms"), USERS)
    await replica.write(batch(START, START + 100, SOURCE.insert(USERS, "1", "a"), SOURCE.insert(USERS, "2", "b")))
    add_trigger(target, "IF NEW.name = 'c' THEN PERFORM pg_advisory_xact_lock(1); END IF", "AFTER UPDATE")
    with closing(psycopg2.connect(target.dsn)) as other, other.cursor() as cursor:
        cursor.execute("SET deadlock_timeout = '1h'")
        cursor.execute("UPDATE users SET name = 'x' WHERE id = 2")
        # Between its two rows the target stands still, until the other session waits for the first: a server looks for
        # a deadlock once per wait, and the wait that makes one is to be the target's.
        target.execute("SELECT pg_advisory_lock(1)")
        changes = [SOURCE.update(USERS, "1", "c"), SOURCE.update(USERS, "2", "d")]
        writing = asyncio.create_task(replica.write(batch(START + 100, START + 200, *changes)))
        await eventually_async(partial(waits_for_a, "advisory", target), SECONDS, "the target to have the first row")
        waiting = asyncio.create_task(asyncio.to_thread(cursor.execute, "UPDATE users SET name = 'y' WHERE id = 1"))
        await eventually_async(partial(waits_for_a, "transactionid", target), SECONDS, "the other session to wait")
        target.execute("SELECT pg_advisory_unlock(1)")
        code, _ = await asyncio.gather(code_of(writing), waiting)
        other.rollback()
    assert code == "WS4106"


def waits_for_a(lock: str, target: Database) -> bool:
    return target.execute("SELECT pid FROM pg_locks WHERE NOT granted AND locktype = %s", lock) != []


async def test_a_table_that_goes_during_the_run_stops_the_target(target: Database, make: Callable[..., Target]) -> None:
    replica = await opened(make(), USERS)
    target.execute("DROP TABLE users")
    assert await write_code(replica, SOURCE.insert(USERS, "1", "a")) == "WS4201"


async def test_a_key_or_a_type_that_changes_on_the_source_stops_the_target(make: Callable[..., Target]) -> None:
    replica = await opened(make(), USERS)
    other_key = replace(USERS, replica_identity=ReplicaIdentity.INDEX, identity=("name",))
    assert await write_code(replica, Source([other_key]).insert(other_key, "1", "a")) == "WS4208"
    columns = (USERS.columns[0], table_column("name", "bytea", position=2))
    other_type = replace(USERS, columns=columns)
    assert await write_code(replica, Source([other_type]).insert(other_type, "1", "a")) == "WS4209"


async def test_rows_that_the_stream_does_not_bring_whole_stop_the_target(make: Callable[..., Target]) -> None:
    replica = await opened(make(), USERS, LOG)
    assert await write_code(replica, SOURCE.update(LOG, "x")) == "WS4302"
    assert await write_code(replica, SOURCE.insert(USERS, None, "a")) == "WS4306"


async def test_bytes_that_are_no_text_stop_the_target(make: Callable[..., Target]) -> None:
    replica = await opened(make(collapse=False), USERS)
    insert = SOURCE.insert(USERS, "1", "?")
    assert await write_code(replica, insert._replace(new=insert.new.replace(b"?", b"\xff"))) == "WS4305"


async def test_what_a_table_of_the_target_cannot_do_stops_it(target: Database, make: Callable[..., Target]) -> None:
    target.execute("CREATE TABLE users (id int PRIMARY KEY, name text) PARTITION BY RANGE (id)")
    target.execute("CREATE TABLE low PARTITION OF users FOR VALUES FROM (0) TO (100)")
    target.execute("CREATE TABLE high PARTITION OF users FOR VALUES FROM (100) TO (200)")
    replica = await opened(make(), USERS)
    add_trigger(target, "NEW.id := 100 + NEW.id")
    target.execute("ALTER TABLE low ENABLE ALWAYS TRIGGER own")
    assert await write_code(replica, SOURCE.insert(USERS, "1", "a")) == "WS4314"


async def test_an_error_that_nobody_foresaw_names_its_sqlstate(target: Database, make: Callable[..., Target]) -> None:
    replica = await opened(make(), USERS)
    add_trigger(target, "RAISE EXCEPTION 'no' USING ERRCODE = '38001'")
    with pytest.raises(TargetRefused, match=r"SQLSTATE 38001") as raised:
        await replica.write(batch(START, START + 100, SOURCE.insert(USERS, "1", "a")))
    assert raised.value.code == "WS4399"


async def test_an_error_of_surrealdb_that_nobody_foresaw_is_refused(tmp_path: Path) -> None:
    block = {"name": "graph", "type": "surrealdb", "namespace": "a", "database": "a"}
    settings = SurrealDBSettings.model_validate({**block, "url": f"surrealkv://{tmp_path}/graph"})
    table = replace(USERS, renamed=("users",))
    graph = SurrealDBTarget(settings, SLOT)
    await opened(graph, table)
    await graph._client.do("DEFINE EVENT fail ON users THEN { fn::nobody() }", {})
    assert await write_code(graph, SOURCE.insert(USERS, "1", "a")) == "WS4699"
    await graph.close()
