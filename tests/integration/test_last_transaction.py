"""The transaction that stands exactly where one step hands over to the next: never lost, never applied twice."""

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from fix_postgres import Connection, Database
from fix_replication import Replication, Running, checkpoint, locked, slot_row

from walsync.lsn import LSN
from walsync.pgoutput.decoder import Decoder
from walsync.pgoutput.message import Begin, Insert
from walsync.row import read_tuple
from walsync.snapshot.export import ExportedSnapshot
from walsync.source.session import open_replication
from walsync.source.slot import Blocker

VERSIONS = (14, 18)
WRITERS = 4
SNAPSHOTS = 8
ROWS = "SELECT id, name FROM t ORDER BY id"

pytestmark = pytest.mark.parametrize("pg_version", VERSIONS, indirect=True)


@pytest.fixture
def replication(any_source: Database, target: Database) -> Replication:
    """Without a key on the target's copy, a row that comes twice is seen."""
    any_source.execute("CREATE TABLE t (id int, name text); ALTER TABLE t REPLICA IDENTITY FULL")
    return Replication(any_source, {"replica": target}, ["public.t"])


def _waits_for_another(running: Running, first: Blocker) -> bool:
    blocker = running.pipeline.upstream.blocker
    return blocker is not None and blocker.pid != first.pid


class OpenTransaction:
    """A transaction that has written and not committed."""

    def __init__(self, source: Database, row: int) -> None:
        self._connection = source.connect()
        self._connection.autocommit = False
        with self._connection.cursor() as cursor:
            cursor.execute("INSERT INTO t VALUES (%s, 'open')", (row,))

    def commit(self) -> None:
        self._connection.commit()


async def test_a_transaction_that_is_open_while_the_slots_are_made_is_there_once(replication: Replication) -> None:
    first = OpenTransaction(replication.source, 1)
    async with replication.running() as running:
        blocker = await running.until(lambda: running.pipeline.upstream.blocker, "the slot to wait for a transaction")
        status = await running.status()
        assert status.source.state.value == "waiting_for_transactions"
        assert status.source.blocked_by is not None
        assert status.source.blocked_by.pid == blocker.pid
        second = OpenTransaction(replication.source, 2)
        first.commit()
        await running.until(lambda: _waits_for_another(running, blocker), "the slot to wait for the second one")
        second.commit()  # the last that the slot waits for: it commits where the slot begins
        replication.source.execute("INSERT INTO t VALUES (3, 'after')")
        await running.until_streaming()
        await running.caught_up()
        replication.assert_equal(ROWS)
    await replication.catch_up()
    replication.assert_equal(ROWS)


async def test_stopping_does_not_wait_for_the_transaction_that_a_slot_waits_for(replication: Replication) -> None:
    transaction = OpenTransaction(replication.source, 1)
    async with replication.running() as running:
        await running.until(lambda: running.pipeline.upstream.blocker, "the slot to wait for a transaction")
    assert slot_row(replication, "slot_name") is None
    transaction.commit()
    await replication.catch_up()
    replication.assert_equal(ROWS)


def test_a_snapshot_holds_what_committed_below_its_position_and_nothing_else(replication: Replication) -> None:
    source, slot = replication.source, replication.slot
    source.execute("CREATE PUBLICATION walsync FOR TABLE t")
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", slot)
    stop = threading.Event()
    with ThreadPoolExecutor(WRITERS) as pool:
        writing = [pool.submit(_write, source.connect(), range(i, 10**9, WRITERS), stop) for i in range(WRITERS)]
        try:
            taken = [_take(source, slot) for _ in range(SNAPSHOTS)]
        finally:
            stop.set()
    assert all(done.result() for done in writing)
    commits = _commits(source, slot)
    for lsn, inside in taken:
        assert inside == {row for commit_lsn, row in commits if commit_lsn < lsn}


def _write(connection: Connection, rows: Iterable[int], stop: threading.Event) -> int:
    connection.autocommit = False
    written = 0
    for row in rows:
        if stop.is_set():
            break
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO t VALUES (%s)", (row,))
        connection.commit()
        written += 1
    return written


def _take(source: Database, slot: str) -> tuple[LSN, set[int]]:
    with closing(open_replication(source.dsn, "test")) as replication:
        taken = ExportedSnapshot.take(replication, slot)
        with source.connect() as reader, reader.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SET TRANSACTION SNAPSHOT %s", (taken.name,))
            cursor.execute("SELECT id FROM t")
            return taken.lsn, {row[0] for row in cursor.fetchall()}


def _commits(source: Database, slot: str) -> list[tuple[LSN, int]]:
    """Return every row with the position of its commit, as the slot tells them."""
    frames = source.execute(
        "SELECT data FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL, 'proto_version', '1',"
        " 'publication_names', 'walsync')",
        slot,
    )
    decoder, commit_lsn, found = Decoder(), LSN(0), []
    for (data,) in frames:
        match decoder.decode(bytes(data)):
            case Begin() as begin:
                commit_lsn = begin.commit_lsn
            case Insert() as insert:
                value = read_tuple(insert.new)[0]
                assert isinstance(value, bytes)
                found.append((commit_lsn, int(value)))
            case _:
                continue
    return found


async def test_a_keepalive_between_two_commits_does_not_confirm_the_second(replication: Replication) -> None:
    """The server is ahead of the target all the time: what it says of itself is not what the target has."""
    await replication.catch_up()
    replica = replication.targets["replica"]
    async with replication.running() as running:
        await running.until_streaming()
        replication.source.execute("INSERT INTO t VALUES (1, 'stored')")
        await running.until(lambda: replica.execute(ROWS), "the first row")
        stored = checkpoint(replica)
        with locked(replica, "t"):
            replication.source.execute("INSERT INTO t VALUES (2, 'waits')")
            replication.source.execute("CREATE TABLE unpublished AS SELECT generate_series(1, 1000)")
            end = LSN.parse(replication.source.execute("SELECT pg_current_wal_flush_lsn()::text")[0][0])
            session = running.pipeline.session
            assert session is not None
            await running.until(lambda: session.main.backlog.end >= end, "a keepalive past both commits")
            await running.until(
                lambda: slot_row(replication, "confirmed_flush_lsn") == stored, "the first to be confirmed"
            )
            assert checkpoint(replica) == stored
        await running.caught_up()
    replication.assert_equal(ROWS)


async def test_a_restart_with_nothing_new_moves_nothing_back_and_doubles_nothing(replication: Replication) -> None:
    replication.source.execute("INSERT INTO t VALUES (1, 'one'), (2, 'two')")
    await replication.catch_up()
    replication.source.execute("INSERT INTO t VALUES (3, 'three')")
    positions = []
    for _ in range(3):
        await replication.catch_up()
        positions.append(
            (
                LSN.parse(checkpoint(replication.targets["replica"])),
                LSN.parse(slot_row(replication, "confirmed_flush_lsn::text")),
            )
        )
        replication.assert_equal(ROWS)
    assert positions == sorted(positions)
    assert all(slot <= stored for stored, slot in positions)


async def test_a_commit_exactly_at_the_position_where_it_stopped_comes_at_the_next_start(
    replication: Replication,
) -> None:
    """The checkpoint is the end of all WAL; the next commit record may start exactly there."""
    await replication.catch_up()
    for row in range(5):
        await replication.catch_up()
        replication.source.execute("INSERT INTO t VALUES (%s, 'next')", row)
        await replication.catch_up()
        replication.assert_equal(ROWS)


async def test_an_idle_source_moves_the_checkpoint_and_the_slot(replication: Replication) -> None:
    """Otherwise the slot would keep the WAL of all other databases of the server for ever."""
    eager = Replication(
        replication.source, replication.targets, replication.tables, {"batch": {"idle_checkpoint_seconds": 0.1}}
    )
    async with eager.running() as running:
        await running.until_streaming()
        replication.source.execute("CREATE TABLE unpublished AS SELECT generate_series(1, 1000)")
        end = LSN.parse(replication.source.execute("SELECT pg_current_wal_flush_lsn()::text")[0][0])
        replica = replication.targets["replica"]
        await running.until(lambda: LSN.parse(checkpoint(replica)) >= end, "the checkpoint to follow")
        await running.until(lambda: LSN.parse(slot_row(eager, "confirmed_flush_lsn::text")) >= end, "the slot too")
