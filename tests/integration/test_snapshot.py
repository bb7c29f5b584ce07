"""The first copy: all tables as of one position, all of their rows, and no table twice."""

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from fix_postgres import Connection, Database
from fix_replication import SECONDS, Replication, locked
from fix_walsync import eventually

from walsync.errors import SourceRefused, SourceUnavailable
from walsync.lsn import LSN
from walsync.snapshot.export import ExportedSnapshot
from walsync.snapshot.session import SnapshotSession
from walsync.source.session import open_replication

ACCOUNTS = 50
WRITERS = 3


def synced(target: Database) -> dict[str, LSN]:
    rows = target.execute("SELECT table_name, synced_lsn::text FROM walsync.table_state ORDER BY 1")
    return {name: LSN.parse(lsn) for name, lsn in rows}


def replicate(source: Database, target: Database, *tables: object) -> Replication:
    return Replication(source, {"replica": target}, tables)


async def test_tables_are_copied_as_of_one_moment_while_others_write(source: Database, target: Database) -> None:
    source.execute(
        """
        CREATE TABLE debit (id int PRIMARY KEY, amount int NOT NULL);
        CREATE TABLE credit (id int PRIMARY KEY, amount int NOT NULL);
        """
    )
    for table in ("debit", "credit"):
        source.execute(f"INSERT INTO {table} SELECT i, 0 FROM generate_series(1, %s) AS i", ACCOUNTS)
    stop = threading.Event()
    replication = replicate(source, target, "public.*")
    with ThreadPoolExecutor(WRITERS) as pool:
        writing = [pool.submit(_transfer, source.connect(), random.Random(i), stop) for i in range(WRITERS)]
        try:
            async with replication.running() as running:
                await running.until_streaming()
                balance = "SELECT (SELECT sum(amount) FROM debit) - (SELECT sum(amount) FROM credit)"
                assert target.execute(balance) == [(0,)]
                stop.set()
                await running.until(lambda: all(done.done() for done in writing), "the writers to end")
                await running.caught_up()
        finally:
            stop.set()
    assert all(done.result() for done in writing)
    replication.assert_equal("SELECT * FROM debit ORDER BY id", "SELECT * FROM credit ORDER BY id")
    assert len(set(synced(target).values())) == 1


def _transfer(connection: Connection, chance: random.Random, stop: threading.Event) -> int:
    connection.autocommit = False
    transfers = 0
    while not stop.is_set():
        amount, one, other = chance.randrange(100), chance.randint(1, ACCOUNTS), chance.randint(1, ACCOUNTS)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE debit SET amount = amount + %s WHERE id = %s", (amount, one))
            cursor.execute("UPDATE credit SET amount = amount + %s WHERE id = %s", (amount, other))
        connection.commit()
        transfers += 1
    return transfers


async def test_rows_that_a_policy_would_hide_are_an_error_and_not_missing(
    source: Database, target: Database, role_on_source: Callable[[str], str]
) -> None:
    source.execute(
        """
        CREATE TABLE t (id int PRIMARY KEY);
        INSERT INTO t SELECT generate_series(1, 10);
        CREATE PUBLICATION walsync FOR TABLE t;
        ALTER TABLE t ENABLE ROW LEVEL SECURITY;
        CREATE POLICY small ON t USING (id < 5);
        """
    )
    dsn = role_on_source("REPLICATION")
    source.execute("GRANT SELECT ON t TO PUBLIC")
    source.execute("DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO PUBLIC', current_database()); END $$")
    replication = Replication(source, {"replica": target}, ["public.t"], {"source": {"dsn": dsn}})
    with pytest.raises(SourceRefused, match="row-level security"):
        await replication.catch_up()
    assert target.execute("TABLE t") == []
    assert synced(target) == {}


async def test_filters_columns_and_names_hold_for_copy_and_stream_alike(source: Database, target: Database) -> None:
    source.execute(
        """
        CREATE SCHEMA "My App";
        CREATE TABLE "My App"."Odd "".t" ("the id" int PRIMARY KEY, "A,b" text, secret text);
        INSERT INTO "My App"."Odd "".t" SELECT i, 'x' || i, 'secret' FROM generate_series(-5, 5) AS i;
        """
    )
    table = {"table": '"My App"."Odd "".t"', "columns": ["the id", "A,b"], "where": '"the id" > 0'}
    replication = replicate(source, target, table)
    await replication.catch_up()
    source.execute("""INSERT INTO "My App"."Odd "".t" VALUES (6, 'y', 'secret'), (-6, 'n', 'secret')""")
    await replication.catch_up()
    wanted = """SELECT "the id", "A,b" FROM "My App"."Odd "".t" WHERE "the id" > 0 ORDER BY 1"""
    replication.assert_equal(wanted)
    assert target.execute('SELECT count(*) FROM "My App"."Odd "".t"') == [(6,)]
    with pytest.raises(Exception, match="secret"):
        target.execute('SELECT secret FROM "My App"."Odd "".t"')


async def test_partitioned_and_inherited_tables_are_copied_as_the_stream_sees_them(
    source: Database, target: Database
) -> None:
    source.execute(
        """
        CREATE TABLE root (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF root FOR VALUES FROM (0) TO (10);
        CREATE TABLE high PARTITION OF root FOR VALUES FROM (10) TO (20);
        CREATE TABLE parent (id int PRIMARY KEY);
        CREATE TABLE child () INHERITS (parent);
        INSERT INTO root VALUES (1, 'low'), (11, 'high');
        INSERT INTO parent VALUES (1);
        INSERT INTO child VALUES (2);
        """
    )
    replication = replicate(source, target, "public.root", "public.parent")
    await replication.catch_up()
    source.execute("UPDATE root SET id = 12 WHERE id = 1; INSERT INTO parent VALUES (3); INSERT INTO child VALUES (4)")
    await replication.catch_up()
    replication.assert_equal("SELECT * FROM root ORDER BY id")
    assert target.execute("SELECT id FROM parent ORDER BY id") == source.execute(
        "SELECT id FROM ONLY parent ORDER BY id"
    )


async def test_finished_tables_stay_when_the_copy_is_interrupted(source: Database, target: Database) -> None:
    for name in ("a", "b", "c"):
        source.execute(f"CREATE TABLE {name} (id int PRIMARY KEY); INSERT INTO {name} VALUES (1), (2)")
        target.execute(f"CREATE TABLE {name} (id int PRIMARY KEY)")
    replication = replicate(source, target, "public.a", "public.b", "public.c")
    with locked(target, "b"):
        async with replication.running() as running:
            await running.until(lambda: _synced_so_far(target) == ["a"], "the first table to be copied")
    first = synced(target)["a"]
    source.execute("INSERT INTO a VALUES (3); DELETE FROM b WHERE id = 1; UPDATE a SET id = 4 WHERE id = 1")
    await replication.catch_up()
    replication.assert_equal(*(f"SELECT * FROM {name} ORDER BY id" for name in ("a", "b", "c")))
    done = synced(target)
    assert done["a"] == first
    assert done["b"] == done["c"] > first


def _synced_so_far(target: Database) -> Sequence[str]:
    exists = target.execute("SELECT to_regclass('walsync.table_state') IS NOT NULL")[0][0]
    return list(synced(target)) if exists else []


async def test_a_copy_whose_source_session_is_ended_starts_again(source: Database, target: Database) -> None:
    source.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
    source.execute("INSERT INTO a SELECT generate_series(1, 1000); INSERT INTO b SELECT generate_series(1, 1000)")
    target.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
    replication = replicate(source, target, "public.a", "public.b")
    async with replication.running() as running:
        with locked(target, "b"):
            await running.until(lambda: _synced_so_far(target) == ["a"], "the first table to be copied")
            source.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE 'walsync%% snapshot'"
            )
        await running.until_streaming()
        await running.caught_up()
    replication.assert_equal("SELECT * FROM a ORDER BY id", "SELECT * FROM b ORDER BY id")


async def test_a_snapshot_whose_session_has_ended_is_asked_for_again(source: Database) -> None:
    replication = open_replication(source.dsn, "test")
    taken = ExportedSnapshot.take(replication, source.name)
    pid = replication.get_backend_pid()
    replication.close()
    ended = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)"
    eventually(lambda: source.execute(ended, pid)[0][0], SECONDS, "the session to end")
    with pytest.raises(SourceUnavailable):
        await SnapshotSession.open(source.dsn, taken.name, "test")


async def test_a_table_that_is_added_is_copied_and_the_others_are_not(source: Database, target: Database) -> None:
    source.execute("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
    await replicate(source, target, "public.*").catch_up()
    before = synced(target)
    source.execute("CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1); INSERT INTO a VALUES (2)")
    replication = replicate(source, target, "public.*")
    await replication.catch_up()
    replication.assert_equal("SELECT * FROM a ORDER BY id", "SELECT * FROM b ORDER BY id")
    after = synced(target)
    assert after["a"] == before["a"]
    assert after["b"] > after["a"]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER PUBLICATION walsync DROP TABLE t",
        "ALTER PUBLICATION walsync SET (publish = 'delete')",
        "DROP PUBLICATION walsync",
    ],
)
@pytest.mark.parametrize("pg_version", [14, 18], indirect=True)
async def test_what_was_not_published_for_a_while_is_copied_again(
    any_source: Database, target: Database, statement: str
) -> None:
    any_source.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    replication = replicate(any_source, target, "public.t")
    await replication.catch_up()
    any_source.execute(statement)
    any_source.execute("INSERT INTO t VALUES (2)")
    await replication.catch_up()
    any_source.execute("INSERT INTO t VALUES (3)")
    await replication.catch_up()
    replication.assert_equal("SELECT * FROM t ORDER BY id")


@pytest.mark.parametrize("pg_version", [14, 18], indirect=True)
async def test_a_slot_that_was_there_before_the_publication_is_used(any_source: Database, target: Database) -> None:
    """Up to 17 its first changes cannot be decoded: they are older than the publication."""
    any_source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    replication = replicate(any_source, target, "public.t")
    any_source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", replication.slot)
    any_source.execute("INSERT INTO t VALUES (1)")
    await replication.catch_up()
    any_source.execute("INSERT INTO t VALUES (2)")
    await replication.catch_up()
    replication.assert_equal("SELECT * FROM t ORDER BY id")


async def test_a_table_that_was_dropped_and_made_again_is_copied_again(source: Database, target: Database) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    replication = replicate(source, target, "public.t")
    await replication.catch_up()
    source.execute("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (2)")
    await replication.catch_up()
    replication.assert_equal("SELECT * FROM t ORDER BY id")
