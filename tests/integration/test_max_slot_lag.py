"""A target that is away for longer than the source has disk: its WAL is held, or it is released, and nobody else is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fix_isolation import ROWS, hold, insert, on_own_server, park, registered, until_dropped, until_near_has
from fix_postgres import Database, Server
from fix_proxy import NewLine, Proxy
from fix_replication import Replication, Running, checkpoint, locked, slot_row

from walsync.demo.engines import PostgresServer
from walsync.lsn import LSN
from walsync.status import LastError, TargetState, TargetStatus

LIMIT = 32 * 1024**2
SEGMENT = 16 * 1024**2


@pytest.fixture
def bounded(
    apart: Replication, start_server: Callable[..., PostgresServer], new_database: Callable[[Server], Database]
) -> Replication:
    """Return two targets, of which one can go away, of a source of their own, which keeps 32 MB for each.

    Where nothing is published they say each second how far they are: restart_lsn follows what a slot was told.
    """
    apart = replace(apart, changes={**apart.changes, "batch": {"idle_checkpoint_seconds": "0.1s"}})
    return limited(on_own_server(apart, start_server(17), new_database), "release")


def limited(replication: Replication, policy: str) -> Replication:
    source = {**replication.changes.get("source", {}), "max_slot_lag": "32MB", "on_max_slot_lag": policy}
    return replace(replication, changes={**replication.changes, "source": source})


def move_restart(replication: Replication) -> None:
    """Write what lets slots move their restart_lsn: a list of open transactions, which a server writes that is busy."""
    replication.source.execute("CREATE TABLE IF NOT EXISTS other (id int); INSERT INTO other VALUES (1)")
    replication.source.execute("CHECKPOINT")


def write_wal(replication: Replication, segments: int) -> None:
    """Write WAL that is published to nobody."""
    for _ in range(segments):
        move_restart(replication)
        replication.source.execute("SELECT pg_switch_wal()")


def restart(replication: Replication) -> LSN:
    """Return how far back the server has to keep WAL for walsync."""
    [(lsn,)] = replication.source.execute(
        "SELECT min(restart_lsn) FROM pg_replication_slots WHERE slot_name LIKE %s", f"{replication.slot}%"
    )
    return LSN.parse(lsn)


async def target(running: Running, name: str = "far") -> TargetStatus:
    return next(one for one in (await running.status()).targets if one.name == name)


def warning(running: Running, name: str = "far") -> LastError | None:
    assert running.pipeline.retaining is not None
    return running.pipeline.retaining.warnings.get(name)


async def until_released(replication: Replication, running: Running, name: str = "far") -> None:
    def released() -> bool:
        move_restart(replication)
        return registered(replication, name) == "released"

    await running.until(released, f"{name} to be released")


async def test_the_wal_of_a_target_is_held_past_the_limit_and_said(bounded: Replication, away: Proxy) -> None:
    bounded = limited(bounded, "hold")
    async with bounded.running() as running:
        await running.until_streaming()
        copied = running.progress("far").copied_rows
        await park(bounded, running, away, last=300)
        write_wal(bounded, 4)
        await running.until(lambda: warning(running), "the warning")
        said = await target(running)
        assert said.warning is not None
        assert said.warning.code == "WS2501"
        assert said.retained_bytes is not None
        assert said.retained_bytes > LIMIT
        assert said.state is TargetState.PARKED
        await running.until(lambda: warning(running, "near") is None, "the other to have stored where it is")
        away.accept()
        await running.until_streaming()
        await running.caught_up()
        assert running.progress("far").copied_rows == copied
        await until_dropped(bounded, running)
        await running.until(lambda: warning(running) is None, "the warning to go")
        await running.until(lambda: registered(bounded) == "registered", "the registry to know")
    assert registered(bounded) == "registered"
    bounded.assert_equal(ROWS)


async def test_a_parked_target_is_released_the_slots_move_and_it_comes_back_by_a_snapshot(
    bounded: Replication, away: Proxy
) -> None:
    async with bounded.running() as running:
        await running.until_streaming()
        copied = running.progress("near").copied_rows
        await park(bounded, running, away, last=300)
        lacks = LSN.parse(checkpoint(bounded.targets["far"]))
        before = restart(bounded)
        assert before <= lacks
        write_wal(bounded, 4)
        await until_released(bounded, running)
        await until_dropped(bounded, running)
        assert restart(bounded) >= lacks + SEGMENT
        assert running.state("near") is TargetState.STREAMING
        said = await target(running)
        assert said.state is TargetState.NEEDS_SNAPSHOT
        assert said.retained_bytes == 0
        assert said.warning is None
        insert(bounded, 301, 310)
        await until_near_has(bounded, running, 311)
        away.accept()
        await running.until_streaming()
        await running.caught_up()
        assert running.progress("far").copied_rows == {"public.t": 311}
        assert running.progress("near").copied_rows == copied
        await running.until(lambda: registered(bounded) == "registered", "the registry to know")
    bounded.assert_equal(ROWS)


async def test_a_target_that_the_main_stream_waits_for_is_released_too(bounded: Replication, away: Proxy) -> None:
    async with bounded.running() as running:
        await running.until_streaming()
        away.go_away()
        insert(bounded, 1, 1)  # much less than a backlog, and the WAL is less than parks it
        await running.until(lambda: running.state("far") is TargetState.RETRYING, "the target to be away")
        lacks = running.progress("far").checkpoint
        write_wal(bounded, 3)
        assert hold(bounded) is None
        await until_released(bounded, running)
        await until_dropped(bounded, running)  # one that was made just when it was released

        def moved() -> bool:
            move_restart(bounded)
            return restart(bounded) >= lacks + SEGMENT

        await running.until(moved, "restart_lsn to move")
        away.accept()
        await running.until_streaming()
        await running.caught_up()
        assert running.progress("far").copied_rows == {"public.t": 2}
    bounded.assert_equal(ROWS)


async def test_an_only_target_is_released_and_the_slot_goes_on_without_it(bounded: Replication, away: Proxy) -> None:
    alone = replace(bounded, targets={"far": bounded.targets["far"]})
    async with alone.running() as running:
        await running.until_streaming()
        away.go_away()
        insert(alone, 1, 300)
        await running.until(lambda: running.state("far") is TargetState.RETRYING, "the target to be away")
        write_wal(alone, 4)
        await until_released(alone, running)
        [(now,)] = alone.source.execute("SELECT pg_current_wal_lsn()")
        await running.until(
            lambda: LSN.parse(slot_row(alone, "confirmed_flush_lsn")) >= LSN.parse(now), "the slot to move"
        )
    async with alone.running() as running:
        await running.until(lambda: running.state("far") is TargetState.NEEDS_SNAPSHOT, "the next run to know")
        [(now,)] = alone.source.execute("SELECT pg_current_wal_lsn()")
        await running.until(
            lambda: LSN.parse(slot_row(alone, "confirmed_flush_lsn")) >= LSN.parse(now), "the slot to move on"
        )
        away.accept()
        await running.until_streaming()
        insert(alone, 301, 310)
        await running.caught_up()
        assert running.progress("far").copied_rows == {"public.t": 301}
    alone.assert_equal(ROWS)


@contextmanager
def open_transaction(database: Database) -> Iterator[None]:
    """Keep a transaction open that has written: what is decoded may begin with it."""
    connection = database.connect()
    connection.autocommit = False
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE unfinished (id int)")
    try:
        yield
    finally:
        connection.rollback()


async def test_nobody_is_released_while_an_open_transaction_of_the_source_needs_the_same_wal(
    bounded: Replication, away: Proxy
) -> None:
    async with bounded.running() as running:
        await running.until_streaming()
        with open_transaction(bounded.source):
            await park(bounded, running, away, last=300)
            write_wal(bounded, 4)
            await running.until(lambda: warning(running), "the warning")
            assert running.pipeline.retaining is not None
            await running.until(lambda: running.pipeline.retaining.is_stuck, "the release to be tried in vain")  # type: ignore[union-attr]
            assert registered(bounded) == "parked"
            assert hold(bounded) is not None
            assert running.state("near") is TargetState.STREAMING
        await until_released(bounded, running)
        away.accept()
        await running.until_streaming()
        await running.caught_up()
    bounded.assert_equal(ROWS)


async def test_nobody_is_released_while_another_target_lacks_the_same_wal(
    bounded: Replication, away: Proxy, new_database: Callable[[Server], Database], target_server: Server
) -> None:
    other = new_database(target_server)
    held = replace(
        bounded,
        targets={**bounded.targets, "other": other},
        proxied={**bounded.proxied, "other": away.dsn(other.name)},
        of_targets={"other": {"on_max_slot_lag": "hold"}},
    )
    async with held.running() as running:
        await running.until_streaming()
        copied = {name: running.progress(name).copied_rows for name in held.targets}
        await park(held, running, away, last=300)
        await running.until(lambda: running.state("other") is TargetState.PARKED, "the other to be parked")
        write_wal(held, 4)
        await running.until(lambda: warning(running) and warning(running, "other"), "both warnings")
        await looks(running, 3)
        assert {registered(held, name) for name in ("far", "other")} == {"parked"}
        away.accept()
        await running.until_streaming()
        await running.caught_up()
        assert {name: running.progress(name).copied_rows for name in held.targets} == copied
    held.assert_equal(ROWS)


async def test_who_needs_less_keeps_what_it_needs_when_another_is_released(
    bounded: Replication,
    away: Proxy,
    line_to: NewLine,
    new_database: Callable[[Server], Database],
    target_server: Server,
) -> None:
    other = new_database(target_server)
    also_away = line_to(other)
    three = replace(
        bounded,
        targets={**bounded.targets, "other": other},
        proxied={**bounded.proxied, "other": also_away.dsn(other.name)},
        of_targets={"other": {"on_max_slot_lag": "hold"}},
    )
    async with three.running() as running:
        await running.until_streaming()
        copied = running.progress("other").copied_rows
        await park(three, running, away, last=300)
        lacks = running.progress("far").checkpoint
        write_wal(three, 3)
        move_restart(three)
        [(end,)] = three.source.execute("SELECT pg_current_wal_flush_lsn()")
        await running.until(
            lambda: running.progress("other").checkpoint >= LSN.parse(end), "the other to store how far it is"
        )
        also_away.go_away()
        insert(three, 301, 600)
        await running.until(lambda: running.state("other") is TargetState.PARKED, "the other to be parked")
        also_lacks = running.progress("other").checkpoint
        write_wal(three, 2)
        await until_released(three, running)
        moved = lambda: (at := hold(three)) is not None and LSN.parse(str(at)) >= lacks + SEGMENT  # noqa: E731
        await running.until(moved, "the hold slot to move")
        assert LSN.parse(str(hold(three))) <= also_lacks
        await running.until(lambda: restart(three) > lacks, "restart_lsn to move")
        also_away.accept()
        away.accept()
        await running.until_streaming()
        await running.caught_up()
        assert running.progress("other").copied_rows == copied
        assert running.progress("far").copied_rows == {"public.t": 601}
    three.assert_equal(ROWS)


async def test_a_write_that_does_not_end_is_cancelled_when_its_target_is_released(bounded: Replication) -> None:
    async with bounded.running() as running:
        await running.until_streaming()
        with locked(bounded.targets["far"], "t"):
            insert(bounded, 1, 300)
            await until_near_has(bounded, running, 301)
            write_wal(bounded, 4)
            await until_released(bounded, running)
            await until_dropped(bounded, running)
            # Its rows wait for the lock; until they are there it says what they are for.
            error = await running.until(lambda: running.progress("far").error, "the reason of its new copy")
            assert error.code == "WS2502"
        await running.until_streaming()
        await running.caught_up()
        assert running.progress("far").copied_rows == {"public.t": 301}
    bounded.assert_equal(ROWS)


async def test_a_target_that_has_stopped_is_released_and_copied_again_after_a_reload(bounded: Replication) -> None:
    far = bounded.targets["far"]
    async with bounded.running() as running:
        await running.until_streaming()
        far.execute("ALTER TABLE t ADD CONSTRAINT small CHECK (id < 5)")
        insert(bounded, 1, 10)
        await running.until_stopped("far")
        write_wal(bounded, 4)
        await until_released(bounded, running)
        assert running.state("far") is TargetState.STOPPED
        insert(bounded, 11, 20)
        await until_near_has(bounded, running, 21)
        far.execute("ALTER TABLE t DROP CONSTRAINT small")
        await running.pipeline.reload(bounded.config)
        await running.until(lambda: registered(bounded) == "registered", "the target to be taken up again")
        await running.until_streaming()
        await running.caught_up()
        assert running.progress("far").copied_rows == {"public.t": 21}
    bounded.assert_equal(ROWS)


async def looks(running: Running, count: int) -> None:
    """Wait for so many more looks at the source's WAL."""
    retaining = running.pipeline.retaining
    assert retaining is not None
    goal = retaining.looks + count
    await running.until(lambda: retaining.looks >= goal, "the source's WAL to be looked at")
