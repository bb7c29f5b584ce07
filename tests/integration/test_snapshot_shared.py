"""One read for all: every target gets every row once, the slow hold nobody up, and parts are all of the table."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, closing

import pytest
from fix_postgres import Database
from fix_replication import Replication, role_on_source

from walsync.snapshot.export import ExportedSnapshot
from walsync.snapshot.progress import CopyProgress
from walsync.snapshot.session import SnapshotSessions
from walsync.snapshot.sharing import SharedRead
from walsync.snapshot.throttle import Throttle
from walsync.source import catalogue
from walsync.source.session import open_replication, open_session
from walsync.source.settings import TableSettings
from walsync.source.table import Table
from walsync.status import TargetState

__all__ = ["role_on_source"]

ROWS = 4000
WIDE = """
CREATE TABLE t (id int PRIMARY KEY, body text);
ALTER TABLE t ALTER COLUMN body SET STORAGE PLAIN;
INSERT INTO t SELECT i, repeat(md5(i::text), 60) FROM generate_series(1, 4000) AS i;
"""
"""Some 2 kB a row, four rows a block: 1,000 blocks, 8 MB."""

PART_BLOCKS = 100
QUEUE_BYTES = 1024**2


def find(source: Database, **settings: object) -> Table:
    with closing(open_session(source.dsn, "test")) as session:
        [table] = catalogue.load(session, [TableSettings.model_validate({"table": "public.t", **settings})]).tables
    return table


@asynccontextmanager
async def snapshot(source: Database, count: int = 2, dsn: str = "") -> AsyncIterator[SnapshotSessions]:
    with closing(open_replication(source.dsn, "test")) as replication:
        taken = ExportedSnapshot.take(replication, source.name)
        async with SnapshotSessions(dsn or source.dsn, taken.name, "test snapshot", count) as sessions:
            yield sessions


def shared(sessions: SnapshotSessions, table: Table) -> SharedRead:
    return SharedRead(sessions, Throttle(0), table, part_blocks=PART_BLOCKS, queue_bytes=QUEUE_BYTES)


async def ids(read: SharedRead) -> list[int]:
    async with aclosing(read.follow(CopyProgress())) as chunks:
        return [int(line.split(b"\t")[0]) async for chunk in chunks for line in chunk.splitlines()]


ALL = list(range(1, ROWS + 1))


@pytest.mark.parametrize("count", [1, 3])
async def test_the_parts_are_all_rows_once_on_every_version(any_source: Database, count: int) -> None:
    any_source.execute(WIDE)
    any_source.execute("DELETE FROM t WHERE id % 7 = 0")
    table = find(any_source)
    async with snapshot(any_source, count) as sessions:
        # What commits later is not in it, wherever it gets its place.
        any_source.execute("INSERT INTO t SELECT -i, 'later' FROM generate_series(1, 1000) AS i")
        any_source.execute("UPDATE t SET body = 'later' WHERE id % 5 = 0")
        any_source.execute("DELETE FROM t WHERE id % 3 = 0")
        assert sorted(await ids(shared(sessions, table))) == [number for number in ALL if number % 7]


async def test_a_part_is_read_without_the_blocks_before_it(any_source: Database) -> None:
    any_source.execute(WIDE)
    async with snapshot(any_source) as sessions, sessions.borrowed() as session:
        await session.lock(find(any_source))
        parts = (await session.plan(find(any_source), PART_BLOCKS)).parts
        await session.unlock()
    assert len(parts) == 10
    condition = f"ctid >= '({parts[4].first},0)' AND ctid < '({parts[4].end},0)'"
    for analyzed in (False, True):
        if analyzed:
            any_source.execute("ANALYZE t")
        plan = any_source.execute(f"EXPLAIN SELECT id FROM ONLY t WHERE {condition}")
        assert "Tid Range Scan" in str(plan)


async def test_rows_are_chosen_by_filter_and_match_in_each_part(source: Database) -> None:
    source.execute(WIDE + "ALTER TABLE t REPLICA IDENTITY FULL")
    table = find(source, where="id % 100 < 10")
    async with snapshot(source) as sessions:
        read = SharedRead(sessions, Throttle(0), table, {"id": frozenset({b"1", b"2", b"11", b"4000"})}, part_blocks=7)
        assert sorted(await ids(read)) == [1, 2, 4000]


async def test_two_that_follow_from_the_start_are_handed_one_read(source: Database) -> None:
    source.execute(WIDE)
    async with snapshot(source) as sessions:
        read = shared(sessions, find(source))
        one, other = await asyncio.gather(*(chunks_of(read) for _ in range(2)))
    assert len(one) > 10
    assert list(map(id, one)) == list(map(id, other))


async def chunks_of(read: SharedRead) -> list[bytes]:
    async with aclosing(read.follow(CopyProgress())) as chunks:
        return [chunk async for chunk in chunks]


async def test_a_slow_one_holds_nobody_up_and_gets_the_rest_by_itself(source: Database) -> None:
    source.execute(WIDE)
    table = find(source)
    async with snapshot(source) as sessions:
        read = shared(sessions, table)
        async with aclosing(read.follow(CopyProgress())) as slow:
            first = await anext(slow)
            # It takes nothing more until the other has everything, which is more than the queue holds.
            assert sorted(await ids(read)) == ALL
            lines = first.splitlines() + [line async for chunk in slow for line in chunk.splitlines()]
        assert sorted(int(line.split(b"\t")[0]) for line in lines) == ALL


async def test_one_that_comes_later_gets_what_it_missed(source: Database) -> None:
    source.execute(WIDE)
    table = find(source)
    async with snapshot(source, 1) as sessions:
        read = shared(sessions, table)
        async with aclosing(read.follow(CopyProgress())) as early:
            first = await anext(early)
            assert read.is_open
            late = asyncio.create_task(ids(read))
            lines = first.splitlines() + [line async for chunk in early for line in chunk.splitlines()]
        assert sorted(await late) == ALL
        assert sorted(int(line.split(b"\t")[0]) for line in lines) == ALL


async def test_one_that_goes_away_leaves_the_read_to_the_others(source: Database) -> None:
    source.execute(WIDE)
    table = find(source)
    async with snapshot(source) as sessions:
        read = shared(sessions, table)
        async with aclosing(read.follow(CopyProgress())) as going:
            await anext(going)
            staying = asyncio.create_task(ids(read))
            await anext(going)
        assert sorted(await staying) == ALL


async def test_a_read_that_all_have_left_ends_and_gives_its_lock_back(source: Database) -> None:
    source.execute(WIDE)
    table = find(source)
    async with snapshot(source) as sessions:
        async with aclosing(shared(sessions, table).follow(CopyProgress())) as chunks:
            await anext(chunks)
        source.execute("SET lock_timeout = '20s'; ALTER TABLE t ADD COLUMN more int")
        assert sorted(await ids(shared(sessions, table))) == ALL


async def test_progress_counts_rows_and_expects_what_the_catalogue_says(source: Database) -> None:
    source.execute(WIDE + "ANALYZE t")
    progress = CopyProgress()
    async with snapshot(source) as sessions:
        async with aclosing(shared(sessions, find(source)).follow(progress)) as chunks:
            async for _ in chunks:
                assert progress.total_rows == ROWS
        assert progress.rows == ROWS
        assert progress.copied_bytes > 60 * 32 * ROWS
        assert progress.total_bytes is not None
        assert progress.total_bytes > 60 * 32 * ROWS
        filtered = CopyProgress()
        async with aclosing(shared(sessions, find(source, where="id > 10")).follow(filtered)) as chunks:
            assert [chunk async for chunk in chunks]
        assert (filtered.rows, filtered.total_rows, filtered.total_bytes) == (ROWS - 10, None, None)


PARTITIONED = """
CREATE TABLE t (id int, body text) PARTITION BY RANGE (id);
CREATE TABLE low (body text, gone int, id int);
ALTER TABLE low DROP COLUMN gone;
ALTER TABLE t ATTACH PARTITION low FOR VALUES FROM (0) TO (10);
CREATE TABLE middle PARTITION OF t FOR VALUES FROM (10) TO (30) PARTITION BY LIST (id);
CREATE TABLE "Odd "".leaf" PARTITION OF middle DEFAULT;
INSERT INTO t SELECT i, 'body' FROM generate_series(1, 29) AS i;
ALTER TABLE t REPLICA IDENTITY FULL; ALTER TABLE low REPLICA IDENTITY FULL;
ALTER TABLE "Odd "".leaf" REPLICA IDENTITY FULL;
"""


async def test_leaves_are_read_each_by_itself_with_the_columns_of_their_root(any_source: Database) -> None:
    any_source.execute(PARTITIONED)
    table = find(any_source)
    async with snapshot(any_source) as sessions:
        async with sessions.borrowed() as session:
            await session.lock(table)
            parts = (await session.plan(table)).parts
            await session.unlock()
        assert {part.relation for part in parts} == {"public.low", 'public."Odd "".leaf"'}
        assert sorted(await ids(shared(sessions, table))) == list(range(1, 30))


async def test_who_may_read_the_root_alone_reads_the_leaves_through_it(
    source: Database, role_on_source: Callable[[str], str]
) -> None:
    source.execute(PARTITIONED)
    dsn = role_on_source("")
    source.execute("GRANT SELECT ON t TO PUBLIC")
    async with snapshot(source, dsn=dsn) as sessions:
        assert sorted(await ids(shared(sessions, find(source)))) == list(range(1, 30))


async def test_a_session_that_breaks_gives_way_to_another(source: Database) -> None:
    source.execute(WIDE)
    table = find(source)
    async with snapshot(source, 1) as sessions:
        async with aclosing(shared(sessions, table).follow(CopyProgress())) as chunks:
            await anext(chunks)
            source.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test snapshot'"
            )
            with pytest.raises(Exception, match="source went away"):
                [chunk async for chunk in chunks]
        assert sorted(await ids(shared(sessions, table))) == ALL


async def test_targets_that_begin_together_share_one_snapshot(
    source: Database, target: Database, new_database: Callable[..., Database]
) -> None:
    source.execute(WIDE)
    other = new_database(target.server)
    replication = Replication(source, {"one": target, "other": other}, ["public.t"])
    blocker = source.connect()
    blocker.autocommit = False
    ours = f"{source.name}\\_snap\\_%"
    temporary = "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE %s"
    # The main slot first: it, too, waits for whoever writes.
    source.execute("CREATE PUBLICATION walsync FOR TABLE t")
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", replication.slot)
    with blocker.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (-1, '')")
    async with replication.running() as running:

        def both_wait() -> bool:
            return all(running.state(name) is TargetState.SNAPSHOT for name in ("one", "other"))

        await running.until(both_wait, "both targets to wait for a snapshot")
        await running.until(lambda: source.execute(temporary, ours), "the snapshot to be asked for")
        assert len(source.execute(temporary, ours)) == 1
        blocker.commit()
        await running.until_streaming()
        await running.caught_up()
        await running.until(lambda: source.execute(temporary, ours) == [], "the snapshot's slot to go")
    synced = {
        database.execute("SELECT synced_lsn::text FROM walsync.table_state")[0][0] for database in (target, other)
    }
    assert len(synced) == 1
    replication.assert_equal("SELECT * FROM t ORDER BY id")
