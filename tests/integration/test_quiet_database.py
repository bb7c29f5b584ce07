"""A database in which nothing happens, on a server where much does: its slots move on, and keep what is lacking."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from fix_isolation import ROWS, hold, insert, on_own_server, park, rows, until_dropped, until_near_has, until_passed
from fix_postgres import Database, Server
from fix_proxy import Proxy
from fix_replication import Replication, Running, checkpoint, locked, slot_row

from walsync.demo.engines import PostgresServer
from walsync.lsn import LSN
from walsync.status import TargetState

SEGMENT = 16 * 1024**2
PEEK = """
SELECT data FROM pg_logical_slot_peek_binary_changes('heard', NULL, NULL,
    'proto_version', '1', 'publication_names', %s, 'messages', 'true')
"""


@pytest.fixture(params=[pytest.param(14, marks=pytest.mark.long), 18])
def quiet(
    request: pytest.FixtureRequest,
    apart: Replication,
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
) -> Replication:
    """Return two targets, of which one can go away, that store their checkpoints each second."""
    apart = replace(apart, changes={**apart.changes, "batch": {"idle_checkpoint_seconds": "0.1s"}})
    return on_own_server(apart, start_server(request.param), new_database)


@pytest.fixture
def busy(quiet: Replication, new_database: Callable[[Server], Database]) -> Database:
    """Return another database of the same server."""
    database = new_database(quiet.source.server)
    database.execute("CREATE TABLE busy (id int, filling text)")
    return database


def write(busy: Database) -> LSN:
    """Write a few megabytes of WAL, of no interest to the quiet database; return where it ends."""
    busy.execute("INSERT INTO busy SELECT i, repeat('x', 1000) FROM generate_series(1, 3000) AS i; CHECKPOINT")
    [(end,)] = busy.execute("SELECT pg_current_wal_flush_lsn()")
    return LSN.parse(end)


def confirmed(replication: Replication) -> LSN:
    return LSN.parse(slot_row(replication, "confirmed_flush_lsn"))


def restart(replication: Replication) -> LSN:
    return LSN.parse(slot_row(replication, "restart_lsn"))


@pytest.fixture(params=["another database", "a table that is not published"])
def elsewhere(request: pytest.FixtureRequest, quiet: Replication, busy: Database) -> Database:
    """Return where something is written that is of no interest to anybody: the table `busy`."""
    if request.param == "another database":
        return busy
    quiet.source.execute("CREATE TABLE busy (id int, filling text)")
    return quiet.source


def write_segments(busy: Database, segments: int) -> LSN:
    """Use up segments of WAL, of 16 MB each, with hardly anything in them; return where the WAL ends."""
    for _ in range(segments):
        busy.execute("INSERT INTO busy VALUES (0)")
        busy.execute("SELECT pg_switch_wal()")
    [(end,)] = busy.execute("INSERT INTO busy VALUES (0) RETURNING pg_current_wal_flush_lsn()")
    return LSN.parse(end)


async def until_it_moves_past(quiet: Replication, running: Running, busy: Database, end: LSN) -> None:
    """Wait until the main slot keeps nothing from below `end`, which takes lists of open transactions in the WAL."""
    await running.until(lambda: confirmed(quiet) >= end, "the main slot to move")

    def restarted() -> bool:
        busy.execute("INSERT INTO busy VALUES (0)")
        busy.execute("CHECKPOINT")
        return restart(quiet) >= end

    await running.until(restarted, "restart_lsn to move, so that the server can remove WAL")


async def test_what_is_written_elsewhere_moves_the_slot_of_a_quiet_database(quiet: Replication, busy: Database) -> None:
    async with quiet.running() as running:
        await running.until_streaming()
        for _ in range(2):
            end = write(busy)
            await running.until(lambda end=end: confirmed(quiet) >= end, "the slot to move")  # type: ignore[misc]
            assert all(LSN.parse(checkpoint(target)) >= end for target in quiet.targets.values())
        assert running.pipeline.session is not None
        backlog = running.pipeline.session.main.backlog
        await running.until(lambda: len(backlog) <= 2, "the backlog to hold no more than the last keepalives")

        def restarted() -> bool:
            write(busy)
            return restart(quiet) > end

        await running.until(restarted, "restart_lsn to move, so that the server can remove WAL")
    quiet.assert_equal(ROWS)


async def test_for_a_parked_target_a_quiet_database_keeps_what_it_lacks_in_the_hold_slot_alone(
    quiet: Replication, busy: Database, away: Proxy
) -> None:
    async with quiet.running() as running:
        await running.until_streaming()
        await park(quiet, running, away, last=300)
        await until_passed(quiet, running)
        held = hold(quiet)
        for _ in range(3):
            end = write(busy)
            await running.until(lambda end=end: confirmed(quiet) >= end, "the main slot to move")  # type: ignore[misc]
        assert hold(quiet) == held
        assert running.pipeline.session is not None
        backlog = running.pipeline.session.main.backlog
        await running.until(lambda: len(backlog) <= 2, "the backlog to hold no more than the last keepalives")
        away.accept()
        await running.until_streaming()
        await until_dropped(quiet, running)
        end = write(busy)
        await running.until(lambda: confirmed(quiet) >= end, "the main slot to move on")
        assert running.state("far") is TargetState.STREAMING
    quiet.assert_equal(ROWS)


async def test_a_target_that_is_away_does_not_hold_the_slot_while_nothing_is_published(
    quiet: Replication, elsewhere: Database, away: Proxy
) -> None:
    async with quiet.running() as running:
        await running.until_streaming()
        copied = running.progress("far").copied_rows
        away.go_away()
        insert(quiet, 1, 3)  # much less than the backlog holds
        await until_near_has(quiet, running, 4)
        await running.until(lambda: running.state("far") is TargetState.RETRYING, "the target to be away")
        lacks = running.progress("far").checkpoint
        await until_it_moves_past(quiet, running, elsewhere, write_segments(elsewhere, 6))
        assert LSN.parse(str(hold(quiet))) <= lacks
        await running.until(lambda: running.state("far") is TargetState.PARKED, "the target to be parked")
        assert running.state("near") is TargetState.STREAMING
        assert rows(quiet, "far") == 1
        away.accept()
        await running.until_streaming()
        await until_dropped(quiet, running)
        assert running.progress("far").copied_rows == copied
        await until_it_moves_past(quiet, running, elsewhere, write_segments(elsewhere, 1))
    quiet.assert_equal(ROWS)


async def test_a_target_that_hangs_in_a_write_does_not_hold_the_slot_while_nothing_is_published(
    quiet: Replication, busy: Database
) -> None:
    async with quiet.running() as running:
        await running.until_streaming()
        copied = running.progress("far").copied_rows
        with locked(quiet.targets["far"], "t"):
            insert(quiet, 1, 3)
            await until_near_has(quiet, running, 4)
            await until_it_moves_past(quiet, running, busy, write_segments(busy, 6))
            assert rows(quiet, "near") == 4
            assert running.state("far") is TargetState.PARKED
        await running.until(lambda: rows(quiet, "far") == 4, "the write to end")
        await running.until_streaming()
        await until_dropped(quiet, running)
        assert running.progress("far").copied_rows == copied
    quiet.assert_equal(ROWS)


async def test_an_only_target_that_is_away_needs_no_second_slot(
    quiet: Replication, busy: Database, away: Proxy
) -> None:
    alone = replace(quiet, targets={"far": quiet.targets["far"]})
    async with alone.running() as running:
        await running.until_streaming()
        away.go_away()
        insert(alone, 1, 3)
        await running.until(lambda: running.state("far") is TargetState.RETRYING, "the target to be away")
        end = write_segments(busy, 6)
        assert running.pipeline.session is not None
        main = running.pipeline.session.main
        await running.until(lambda: main.backlog.end >= end, "all of it to be read")
        for _ in range(3):
            await looked(running)
        assert main.backlog.follows("far")
        assert hold(alone) is None
        away.accept()
        await running.until_streaming()
        await running.caught_up()
    alone.assert_equal(ROWS)


async def test_a_heartbeat_is_a_transaction_of_the_quiet_database_that_reaches_no_target(quiet: Replication) -> None:
    quiet = replace(quiet, changes={**quiet.changes, "source": {"heartbeat_seconds": "0.2s"}})
    async with quiet.running() as running:
        await running.until_streaming()
        quiet.source.execute("SELECT pg_create_logical_replication_slot('heard', 'pgoutput')")
        await running.until(lambda: len(heartbeats(quiet)) >= 2, "two heartbeats")
        [(end,)] = quiet.source.execute("SELECT pg_current_wal_flush_lsn()")
        await running.until(lambda: confirmed(quiet) >= LSN.parse(end), "the slot to move past them")
        insert(quiet, 1, 1)
        await running.caught_up()
    quiet.source.execute("SELECT pg_drop_replication_slot('heard')")
    quiet.assert_equal(ROWS)


async def test_without_a_heartbeat_nothing_is_written_to_the_source(quiet: Replication, busy: Database) -> None:
    async with quiet.running() as running:
        await running.until_streaming()
        quiet.source.execute("SELECT pg_create_logical_replication_slot('heard', 'pgoutput')")
        end = write(busy)
        await running.until(lambda: confirmed(quiet) >= end, "the slot to move")
        assert heartbeats(quiet) == []
    quiet.source.execute("SELECT pg_drop_replication_slot('heard')")


def heartbeats(replication: Replication) -> list[bytes]:
    """Return the logical messages that a subscriber to them would have got by now."""
    found = [bytes(data) for (data,) in replication.source.execute(PEEK, replication.config.source.publication)]
    return [data for data in found if data.startswith(b"M") and b"walsync\0" in data]


async def looked(running: Running) -> None:
    """Wait for another look at the source's WAL."""
    retaining = running.pipeline.retaining
    assert retaining is not None
    looks = retaining.looks
    await running.until(lambda: retaining.looks > looks, "another look")


async def test_what_slots_keep_and_how_fast_it_grows_is_in_the_status(
    apart: Replication,
    away: Proxy,
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
) -> None:
    server = start_server(18, max_slot_wal_keep_size="256MB")
    apart = on_own_server(apart, server, new_database)
    busy = new_database(server)
    busy.execute("CREATE TABLE busy (id int, filling text)")
    async with apart.running() as running:
        await running.until_streaming()
        await park(apart, running, away, last=300)
        for _ in range(3):
            write(busy)
            await looked(running)
        status = await running.status()
        held = status.source.hold
        assert held is not None
        assert held.room is not None
        assert held.room.safe_bytes is not None
        assert 0 < held.room.safe_bytes <= 288 * 1024**2
        assert held.room.growth_bytes_per_second is not None
        assert held.room.growth_bytes_per_second > 0
        assert held.room.seconds_until_limit == held.room.safe_bytes / held.room.growth_bytes_per_second
        assert status.source.room is not None
        assert status.source.room.safe_bytes is not None
        far = next(target for target in status.targets if target.name == "far")
        assert far.retained_bytes is not None
        assert far.retained_bytes > 6 * 1024**2
        assert far.retained_growth_bytes_per_second is not None
        assert far.retained_growth_bytes_per_second > 0
        away.accept()
        await running.until_streaming()


async def test_what_the_temporary_slot_of_a_copy_keeps_is_in_the_status(
    apart: Replication, start_server: Callable[..., PostgresServer], new_database: Callable[[Server], Database]
) -> None:
    server = start_server(18, max_slot_wal_keep_size="512MB")
    apart = on_own_server(apart, server, new_database)
    busy, far = new_database(server), apart.targets["far"]
    busy.execute("CREATE TABLE busy (id int, filling text)")
    for database in (apart.source, far):
        database.execute("CREATE TABLE later (id int PRIMARY KEY)")
    apart.source.execute("INSERT INTO later VALUES (1)")
    async with apart.running() as running:
        await running.until_streaming()
        retaining = running.pipeline.retaining
        assert retaining is not None
        await running.until(lambda: retaining.temporary is None, "the slot of the first copy to be gone")
        assert (await running.status()).source.temporary is None
        with locked(far, "later"):
            await running.pipeline.reload(replace(apart, tables=["public.t", "public.later"]).config)
            await running.until(lambda: retaining.temporary, "the slot of the copy to be seen")
            for _ in range(3):
                write_segments(busy, 1)
                await looked(running)
            found = (await running.status()).source.temporary
            assert found is not None
            assert "_snap_" in found.slot
            assert found.retained_bytes is not None
            assert found.retained_bytes > 2 * SEGMENT
            assert found.room is not None
            assert found.room.safe_bytes is not None
            assert found.room.growth_bytes_per_second is not None
            assert found.room.seconds_until_limit == found.room.safe_bytes / found.room.growth_bytes_per_second
        await running.caught_up()
        await running.until(lambda: retaining.temporary is None, "the slot to be gone")
    apart.assert_equal(ROWS, "SELECT id FROM later")
