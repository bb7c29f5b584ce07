"""The hold slot beside the main one: what moves it, what may take it away, and who pays for that."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from fix_isolation import ROWS, hold, insert, on_own_server, park, until_dropped, until_near_has
from fix_postgres import Database, Server
from fix_proxy import NewLine, Proxy
from fix_replication import SECONDS, Command, Replication, Running, slot_row
from fix_walsync import eventually

from walsync.demo.engines import PostgresServer
from walsync.lsn import LSN
from walsync.status import TargetState

SEGMENT = 16 * 1024**2
REFUSED = 'walsync_source_errors_total{code="WS2404"}'


@pytest.fixture
def promptly(apart: Replication) -> Replication:
    """Return two targets that say at once how far they are, also where nothing is published."""
    return replace(apart, changes={**apart.changes, "batch": {"idle_checkpoint_seconds": "0.1s"}})


def write_wal(replication: Replication, segments: int = 0) -> None:
    """Use up segments of WAL, and write the list of open transactions that lets restart_lsn move."""
    replication.source.execute("CREATE TABLE IF NOT EXISTS other (id int)")
    for _ in range(segments):
        replication.source.execute("INSERT INTO other VALUES (1)")
        replication.source.execute("SELECT pg_switch_wal()")
    replication.source.execute("INSERT INTO other VALUES (1)")
    replication.source.execute("CHECKPOINT")


def restart(replication: Replication, suffix: str = "") -> LSN:
    return LSN.parse(slot_row(replication, "restart_lsn", suffix))


def end_stream(replication: Replication) -> None:
    """End the main stream's sender on the server."""
    replication.source.execute(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", replication.slot
    )


async def test_a_slot_that_was_idle_for_too_long_costs_its_targets_a_snapshot_and_nobody_else(
    apart: Replication,
    away: Proxy,
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
) -> None:
    apart = on_own_server(apart, start_server(18, idle_replication_slot_timeout="1s"), new_database)
    async with apart.running() as running:
        await running.until_streaming()
        copied = dict(running.progress("near").copied_rows)
        await park(apart, running, away, last=300)

        def lost() -> bool:
            apart.source.execute("CHECKPOINT")  # by which the server looks at idle slots
            return hold(apart) is None

        await running.until(lost, "the hold slot to be invalidated, and dropped")
        assert running.state("far") is TargetState.PARKED
        insert(apart, 301, 310)
        await until_near_has(apart, running, 311)
        assert slot_row(apart, "wal_status") == "reserved"
        assert running.state("near") is TargetState.STREAMING
        away.accept()
        await running.until_streaming()
        await running.caught_up()
        assert running.progress("far").copied_rows == {"public.t": 311}
        assert running.progress("near").copied_rows == copied
        await until_dropped(apart, running)
    apart.assert_equal(ROWS)


@pytest.mark.parametrize("version", [14, 18])
async def test_while_a_target_is_parked_the_main_slot_begins_behind_what_that_lacks(
    promptly: Replication,
    away: Proxy,
    version: int,
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
) -> None:
    parked = on_own_server(promptly, start_server(version), new_database)
    async with parked.running() as running:
        await running.until_streaming()
        await park(parked, running, away, last=300)
        lacks = running.progress("far").checkpoint
        [(written,)] = parked.source.execute("SELECT pg_current_wal_lsn()")

        def moved() -> bool:
            write_wal(parked)
            return restart(parked) >= LSN.parse(written)

        await running.until(moved, "restart_lsn of the main slot to pass what the target lacks")
        assert restart(parked, "_hold") <= lacks
        # So a stream that is opened again decodes nothing of it.
        end_stream(parked)
        insert(parked, 301, 310)
        await until_near_has(parked, running, 311)
        assert restart(parked) >= LSN.parse(written)
        assert LSN.parse(str(hold(parked))) <= lacks
        away.accept()
        await running.until_streaming()
        await running.caught_up()
    parked.assert_equal(ROWS)


async def test_the_hold_slot_moves_on_when_the_one_furthest_behind_is_back(
    promptly: Replication,
    away: Proxy,
    line_to: NewLine,
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
    target_server: Server,
) -> None:
    other = new_database(target_server)
    also_away = line_to(other)
    three = on_own_server(
        replace(
            promptly,
            targets={**promptly.targets, "other": other},
            proxied={**promptly.proxied, "other": also_away.dsn(other.name)},
        ),
        start_server(17),
        new_database,
    )
    async with three.running() as running:
        await running.until_streaming()
        copied = {name: dict(running.progress(name).copied_rows) for name in three.targets}
        await park(three, running, away, last=300)
        lacks = running.progress("far").checkpoint
        for _ in range(3):
            write_wal(three, 1)
        await reach(running, "other", lacks + 2 * SEGMENT)
        also_away.go_away()
        insert(three, 301, 600)
        await running.until(lambda: running.state("other") is TargetState.PARKED, "the other to be parked")
        also_lacks = running.progress("other").checkpoint
        assert LSN.parse(str(hold(three))) <= lacks
        away.accept()
        await running.until(lambda: running.state("far") is TargetState.STREAMING, "the first to stream")
        await running.until(lambda: LSN.parse(str(hold(three))) >= lacks + SEGMENT, "the hold slot to move on")
        assert LSN.parse(str(hold(three))) <= also_lacks
        await running.until(lambda: restart(three, "_hold") > lacks, "its restart_lsn to follow")
        assert running.state("other") is TargetState.PARKED
        also_away.accept()
        await running.until_streaming()
        await running.caught_up()
        await until_dropped(three, running)
        assert {name: running.progress(name).copied_rows for name in three.targets} == copied
    three.assert_equal(ROWS)


def test_a_hold_slot_that_finds_no_room_is_counted_as_long_as_there_is_none(
    apart: Replication,
    away: Proxy,
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
    start_command: Callable[[Replication], Command],
) -> None:
    apart = on_own_server(apart, start_server(18, max_replication_slots="3"), new_database)
    command = start_command(apart)
    command.until_streaming(apart.targets)
    slots = "SELECT count(*) FROM pg_replication_slots"
    eventually(lambda: apart.source.execute(slots) == [(1,)], SECONDS, "the slot of the first copy to go")
    for name in ("one", "two"):
        apart.source.execute("SELECT pg_create_physical_replication_slot(%s)", name)
    assert sample(command, "walsync_hold_slot_retained_bytes") == 0
    assert sample(command, REFUSED) is None
    away.go_away()
    insert(apart, 1, 300)
    eventually(lambda: (sample(command, REFUSED) or 0) >= 2, SECONDS, "the hold slot to be refused, and again")
    status = command.status()
    assert status is not None
    assert status.source.last_error is not None
    assert status.source.last_error.code == "WS2404"
    for name in ("one", "two"):
        apart.source.execute("SELECT pg_drop_replication_slot(%s)", name)
    eventually(lambda: sample(command, "walsync_hold_slot_retained_bytes"), SECONDS, "the hold slot")
    counted = sample(command, REFUSED)
    away.accept()
    command.until_state(TargetState.STREAMING, "far")
    eventually(lambda: hold(apart) is None, SECONDS, "the hold slot to be dropped")
    assert sample(command, REFUSED) == counted
    command.walsync.terminate()
    assert command.walsync.wait(SECONDS) == 0
    apart.assert_equal(ROWS)


def sample(command: Command, series: str) -> float | None:
    lines = command.ask("/metrics").decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{series} ")), None)


async def reach(running: Running, name: str, lsn: int) -> None:
    await running.until(lambda: running.progress(name).checkpoint >= lsn, f"{name} to store how far it is")
