"""A reload touches what it changes and nothing else: nobody waits for a target that hangs, nobody is interrupted."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import pytest
from fix_isolation import ROWS, insert, rows, until_near_has
from fix_postgres import Database, Server
from fix_proxy import NewLine, Proxy
from fix_replication import Replication, Running, checkpoint, locked, slot_row

from walsync.backlog.settings import BacklogSettings
from walsync.catch_up import CatchUp
from walsync.delivery import Delivery
from walsync.demo.engines import PostgresServer
from walsync.lsn import LSN
from walsync.source.stream import Stream
from walsync.status import TargetState
from walsync.upstream import Prepared, Upstream

HANGS = "the write that hangs"
WHERE_SINCE = 15


@pytest.fixture
def two_tables(apart: Replication) -> Replication:
    """Two targets of one table, one of them behind the proxy, and a second table that nobody has."""
    apart.source.execute("CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1), (2)")
    return apart


@asynccontextmanager
async def hanging(replication: Replication, running: Running, away: Proxy) -> AsyncIterator[None]:
    """Let the far target hang in the middle of a write until the end of the block."""
    hangs = threading.Event()

    def hold() -> None:
        away.hold()
        hangs.set()

    away.on_bytes("to_server", HANGS.encode(), hold)
    replication.source.execute("INSERT INTO t VALUES (-1, %s)", HANGS)
    await running.until(hangs.is_set, "the write to hang")
    try:
        yield
    finally:
        away.resume()


async def until_has(running: Running, database: Database, table: str, count: int) -> None:
    there = f"SELECT to_regclass('{table}') IS NOT NULL"
    rows = f"SELECT count(*) FROM {table}"
    await running.until(
        lambda: database.execute(there)[0][0] and database.execute(rows)[0][0] == count, f"{count} rows in {table}"
    )


async def take_a_table_beside(two_tables: Replication, running: Running, away: Proxy) -> None:
    """Take table u by a reload while one target hangs; the other gets its rows, and all new ones, meanwhile."""
    far_before = deliveries(running)["far"]
    async with hanging(two_tables, running, away):
        await running.pipeline.reload(replace(two_tables, tables=["public.t", "public.u"]).config)
        insert(two_tables, 1, 3)
        two_tables.source.execute("INSERT INTO u VALUES (3)")
        await until_near_has(two_tables, running, 5)
        await until_has(running, two_tables.targets["near"], "u", 3)
        assert deliveries(running)["far"] is far_before, "it hangs still"


async def test_the_others_go_on_while_a_target_hangs_that_the_reload_does_not_change(
    two_tables: Replication, away: Proxy
) -> None:
    two_tables = replace(two_tables, of_targets={"far": {"tables": ["public.t"]}})
    async with two_tables.running() as running:
        await running.until_streaming()
        far_before = deliveries(running)["far"]
        await take_a_table_beside(two_tables, running, away)
        await running.caught_up()
        assert deliveries(running)["far"] is far_before
    two_tables.assert_equal(ROWS)


async def test_the_others_go_on_while_a_target_hangs_that_gets_another_table(
    two_tables: Replication, away: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its write is not taken back before the others have everything, however busy the machine is.
    monkeypatch.setattr("walsync.delivery._FINISH_SECONDS", 60.0)
    far = two_tables.targets["far"]
    async with two_tables.running() as running:
        await running.until_streaming()
        await take_a_table_beside(two_tables, running, away)
        await running.caught_up()
        await until_has(running, far, "u", 3)
    two_tables.assert_equal(ROWS)


async def test_a_target_that_is_taken_out_while_it_hangs_delays_nobody(two_tables: Replication, away: Proxy) -> None:
    near = two_tables.targets["near"]
    async with two_tables.running() as running:
        await running.until_streaming()
        async with hanging(two_tables, running, away):
            # As `walsync drop --target far` does for one that the file does not name any more.
            two_tables.source.execute("DELETE FROM walsync.target WHERE name = 'far'")
            alone = replace(two_tables, targets={"near": near}, tables=["public.t", "public.u"])
            await running.pipeline.reload(alone.config)
            insert(two_tables, 1, 3)
            await until_near_has(two_tables, running, 5)
            await until_has(running, near, "u", 2)
            assert set(deliveries(running)) == {"near", "far"}, "it hangs still"
            await running.until(lambda: set(deliveries(running)) == {"near"}, "the other one to leave")
            behind = LSN.parse(checkpoint(two_tables.targets["far"]))
            await running.until(
                lambda: LSN.parse(slot_row(two_tables, "confirmed_flush_lsn")) > behind, "the slot to move past it"
            )
        assert [target.name for target in (await running.status()).targets] == ["near"]
        await running.caught_up()
    alone.assert_equal(ROWS)


async def test_what_a_reload_does_not_change_is_not_touched(two_tables: Replication) -> None:
    async with two_tables.running() as running:
        await running.until_streaming()
        before, reader = dict(deliveries(running)), slot_row(two_tables, "active_pid")
        await running.pipeline.reload(two_tables.config)
        assert dict(deliveries(running)) == before
        changed = replace(two_tables, of_targets={"far": {"match": {"id": ["0", "1"]}}})
        await running.pipeline.reload(changed.config)
        await running.until(lambda: deliveries(running)["far"] is not before["far"], "another delivery")
        await running.until_streaming()
        insert(two_tables, 1, 3)
        await running.caught_up()
        assert deliveries(running)["near"] is before["near"]
        assert slot_row(two_tables, "active_pid") == reader
        assert rows(two_tables, "far") == 2
    assert rows(two_tables, "near") == 4


async def test_the_size_of_the_backlog_is_another_one_at_once(two_tables: Replication) -> None:
    async with two_tables.running() as running:
        await running.until_streaming()
        larger = replace(two_tables, changes={"backlog": {"max_bytes": "10MB"}})
        await running.pipeline.reload(larger.config)
        with locked(two_tables.targets["far"], "t"):
            insert(two_tables, 1, 300)
            await until_near_has(two_tables, running, 301)
            assert running.state("far") is TargetState.STREAMING
        await running.caught_up()
    two_tables.assert_equal(ROWS)


class Asked(Upstream):
    """Counts how often it is asked for a stream to catch up on."""

    times = 0

    async def open_catch_up(self, prepared: Prepared, start: LSN) -> Stream:
        self.times += 1
        return await super().open_catch_up(prepared, start)


async def test_one_more_stream_to_catch_up_on_is_there_at_once(two_tables: Replication) -> None:
    upstream = Asked(two_tables.config.source)
    prepared = await upstream.prepare(two_tables.config.source, ["near", "far"])
    catch_up = CatchUp(upstream, prepared, BacklogSettings(catch_up_streams=1), lambda _: None, pause=lambda _: None)
    try:
        ahead = await catch_up.join("near", LSN(prepared.confirmed_flush + 1), lambda: None)
        behind = asyncio.create_task(catch_up.join("far", prepared.confirmed_flush, lambda: None))
        # One turn of the loop is all it takes to ask for a stream, were there one to be had.
        assert not (await asyncio.wait([behind], timeout=0))[0]
        assert upstream.times == 1, "it waits for its turn"
        catch_up.take(BacklogSettings(catch_up_streams=2))
        assert await behind is not ahead
        assert upstream.times == 2
    finally:
        await catch_up.close()
        await upstream.close()


async def test_a_reload_that_comes_while_it_begins_is_not_forgotten(two_tables: Replication) -> None:
    writer = two_tables.source.connect()
    writer.autocommit = False
    with closing(writer), writer.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1, 'open')")
        async with two_tables.running() as running:
            await running.until(lambda: running.pipeline.upstream.blocker, "the slot to wait for a transaction")
            await running.pipeline.reload(replace(two_tables, tables=["public.t", "public.u"]).config)
            writer.commit()
            await running.until(lambda: both_get(running, "public.u"), "the configuration to be taken")
            # Not before: this thread, which the copy needs, would wait for the lock that the copy has.
            await running.caught_up()
            two_tables.assert_equal(ROWS, "SELECT * FROM u ORDER BY id")


def both_get(running: Running, table: str) -> bool:
    session = running.pipeline.session
    return session is not None and all(table in delivery.tables for delivery in session.deliveries.values())


async def test_a_new_table_is_not_taken_from_a_snapshot_that_is_older_than_its_publication(
    two_tables: Replication,
) -> None:
    two_tables.source.execute("CREATE TABLE v (id int PRIMARY KEY)")
    t, u, v = "public.t", "public.u", "public.v"
    before = replace(two_tables, tables=[t, v], of_targets={"far": {"tables": [t, v]}})
    near, far = before.targets["near"], before.targets["far"]
    async with before.running() as running:
        await running.until_streaming()
        with locked(far, "v"):
            deliveries(running)["far"].copy_again([v])
            await running.until(lambda: running.progress("far").copying, "a snapshot that lasts")
            before.source.execute("INSERT INTO u VALUES (3)")
            await running.pipeline.reload(replace(before, tables=[t, u, v]).config)
            await until_has(running, near, "u", 3)
            assert running.progress("far").copying, "it lasts still"
        await running.caught_up()


@pytest.fixture
def way(source: Database, line_to: NewLine) -> Proxy:
    """Return the way to the source that can be closed."""
    return line_to(source)


@pytest.mark.parametrize("answer", ["lost", "not sent"])
async def test_a_source_that_goes_away_in_the_middle_is_looked_at_again(
    two_tables: Replication, way: Proxy, answer: str
) -> None:
    before = replace(two_tables, changes={"source": {"dsn": way.dsn(two_tables.source.name)}})
    after = replace(before, tables=["public.t", "public.u"])
    published = "SELECT 1 FROM pg_publication_tables WHERE tablename = 'u'"
    async with before.running() as running:
        await running.until_streaming()
        # Without COMMIT the server rolls back; with it, and without its answer, nobody here knows.
        way.on_bytes("to_server", b"COMMIT", partial(way.hold, "to_client") if answer == "lost" else way.cut)
        reloading = asyncio.create_task(running.pipeline.reload(after.config))
        if answer == "lost":
            await running.until(lambda: before.source.execute(published), "the publication to be changed")
            way.cut()
            way.resume()
        await reloading
        insert(before, 1, 3)
        for database in before.targets.values():
            await until_has(running, database, "u", 2)
        await running.caught_up()
    before.assert_equal(ROWS)


async def test_tables_that_come_and_go_under_load_are_complete(any_source: Database, target: Database) -> None:
    any_source.execute("CREATE TABLE t (id int PRIMARY KEY, name text); CREATE TABLE u (id int PRIMARY KEY, name text)")
    t, u = "public.t", "public.u"
    steps: list[list[Any]] = [[t], [t, u], [u], [u, t]]
    wanted = "SELECT * FROM u ORDER BY id"
    if any_source.server.version >= WHERE_SINCE:
        odd, even = ({"table": u, "where": f"id % 2 = {rest}"} for rest in (1, 0))
        steps += [[t, even], [t, odd], [t], [t, odd], [t, even]]
        wanted = "SELECT * FROM u WHERE id % 2 = 0 ORDER BY id"
    replication = Replication(any_source, {"near": target}, [t, u])
    async with replication.running() as running:
        await running.until_streaming()
        async with loading(any_source):
            for tables in steps:
                before = deliveries(running)["near"]
                await running.pipeline.reload(replace(replication, tables=tables).config)
                await running.until(partial(is_another, running, before), "another delivery")
                await running.caught_up()
        await running.caught_up()
    assert target.execute("SELECT * FROM u ORDER BY id") == any_source.execute(wanted)
    replication.assert_equal(ROWS)


@pytest.mark.parametrize("version", [WHERE_SINCE, 18])
async def test_another_list_of_columns_brings_what_no_message_has_brought_and_leaves_the_other_tables(
    postgres_servers: Callable[[int], PostgresServer],
    new_database: Callable[[Server], Database],
    target: Database,
    version: int,
) -> None:
    source = new_database(postgres_servers(version))
    source.execute("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'one')")
    for database in (source, target):
        database.execute("CREATE TABLE u (id int PRIMARY KEY, name text, note text)")
    source.execute("INSERT INTO u SELECT -i, 'name ' || i, 'note ' || i FROM generate_series(1, 100) AS i")
    narrow, wide = ({"table": "public.u", "columns": ["id", "name", *more]} for more in ((), ("note",)))
    replication = Replication(source, {"near": target}, ["public.t", narrow])
    async with replication.running() as running:
        await running.caught_up()
        assert target.execute("SELECT count(*), count(name), count(note) FROM u") == [(100, 100, 0)]
        async with loading(source):
            for number, table in enumerate((wide, narrow, wide)):
                source.execute("UPDATE u SET note = %s WHERE id %% 2 = 0 AND id < 0", f"changed {number}")
                before = deliveries(running)["near"]
                await running.pipeline.reload(replace(replication, tables=["public.t", table]).config)
                await running.until(partial(is_another, running, before), "another delivery")
                await running.caught_up()
                assert running.progress("near").copied_rows.keys() == {"public.u"}
        await running.caught_up()
    replication.assert_equal("SELECT * FROM t ORDER BY id", "SELECT * FROM u ORDER BY id")


def is_another(running: Running, before: Delivery) -> bool:
    return deliveries(running)["near"] is not before


@asynccontextmanager
async def loading(source: Database) -> AsyncIterator[None]:
    ended = threading.Event()
    work = asyncio.create_task(asyncio.to_thread(load, source, ended))
    try:
        yield
    finally:
        ended.set()
        await work


def load(source: Database, ended: threading.Event) -> None:
    """Change both tables in one transaction after the other, two of them at a time."""
    first, second = source.connect(), source.connect()
    first.autocommit = second.autocommit = False
    with closing(first), closing(second):
        for number in count(1):
            for connection in (first, second) if number % 2 else (second, first):
                with connection.cursor() as cursor:
                    for table in ("t", "u"):
                        key = 2 * number + (connection is first)
                        cursor.execute(f"INSERT INTO {table} VALUES (%s, 'new')", (key,))
                        cursor.execute(f"UPDATE {table} SET name = 'changed' WHERE id = %s", (key - 20,))
                        cursor.execute(f"DELETE FROM {table} WHERE id = %s", (key - 70,))
                if connection is (second if number % 2 else first):
                    first.commit()
                    second.commit()
            if ended.is_set():
                return


def deliveries(running: Running) -> Mapping[str, Delivery]:
    assert running.pipeline.session is not None
    return running.pipeline.session.deliveries
