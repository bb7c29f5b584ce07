"""Tables join a target that streams: copied beside its others, which go on meanwhile, and exact from then on."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from fix_postgres import Database
from fix_proxy import NewLine
from fix_replication import SECONDS, Command, Replication, Running, locked
from fix_walsync import Walsync, eventually
from fix_watched import Watched

from walsync.status import TargetState

TABLES = ["public.t", "public.u", "public.v"]
ALL = [f"SELECT * FROM {table} ORDER BY id" for table in ("t", "u", "v")]
STAGES = "SELECT 1 FROM pg_tables WHERE schemaname = 'walsync' AND tablename LIKE 'stage%'"
MADE = "SELECT 1 FROM pg_replication_slots WHERE temporary AND starts_with(slot_name, %s)"


@pytest.fixture
def three(source: Database, target: Database) -> Replication:
    """A source with three tables of three rows, and a target."""
    for table in ("t", "u", "v"):
        source.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, name text, amount numeric)")
        source.execute(f"INSERT INTO {table} SELECT i, 'row ' || i, i FROM generate_series(1, 3) AS i")
    # The target's v is there already: what keeps others from it keeps walsync from reading its columns for the copy.
    target.execute("CREATE TABLE v (id int PRIMARY KEY, name text, amount numeric)")
    return Replication(source, {"near": target}, ["public.t"])


async def change_meanwhile(three: Replication, running: Running, target: Database) -> None:
    """Wait for the copy of u, change all tables while that of v waits, and see the change of t arrive."""
    await running.until_streaming()
    await running.until(lambda: running.progress("near").copied_rows.get("public.u"), "the copy of u")
    for table in ("t", "u", "v"):
        three.source.execute(
            f"INSERT INTO {table} VALUES (4, 'meanwhile', 4); DELETE FROM {table} WHERE id = 1;"
            f" UPDATE {table} SET amount = 2.0 WHERE id = 2; UPDATE {table} SET id = 30 WHERE id = 3"
        )
    arrived = "SELECT id FROM t ORDER BY id"
    await running.until(lambda: target.execute(arrived) == [(2,), (4,), (30,)], "the changes of t")
    assert running.state("near") is TargetState.STREAMING


async def test_tables_that_are_new_join_while_the_others_go_on(three: Replication, target: Database) -> None:
    await three.catch_up()
    three = replace(three, tables=TABLES)
    async with three.running() as running:
        with locked(target, "v"):
            await change_meanwhile(three, running, target)
            assert target.execute("SELECT * FROM u") == []
            status = (await running.status()).targets[0]
            assert not status.is_ready
        await running.caught_up()
        three.assert_equal(*ALL)
        assert (await running.status()).targets[0].is_ready
        for table in ("t", "u", "v"):
            three.source.execute(f"INSERT INTO {table} VALUES (5, 'later', 5); DELETE FROM {table} WHERE id = 2")
        await running.caught_up()
        three.assert_equal(*ALL)
        assert target.execute(STAGES) == []
        await running.until(lambda: not three.source.execute(MADE, three.slot), "no slot to be left")


async def test_a_table_that_is_copied_again_goes_on_until_the_new_rows_take_its_place(
    three: Replication, target: Database
) -> None:
    three = replace(three, tables=TABLES)
    async with three.running() as running:
        await running.caught_up()
        # What walsync is to mend: rows that are missing, foreign or different, in a table that it keeps in step.
        target.execute("DELETE FROM u WHERE id = 2; INSERT INTO u VALUES (99); UPDATE u SET amount = 3.00 WHERE id = 3")
        assert running.pipeline.session is not None
        delivery = running.pipeline.session.deliveries["near"]
        del running.progress("near").copied_rows["public.u"]
        with locked(target, "v"):
            delivery.copy_again(["public.u", "public.v"])
            await running.until(lambda: running.progress("near").copied_rows.get("public.u"), "the copy of u")
            three.source.execute("INSERT INTO u VALUES (4, 'meanwhile', 4); DELETE FROM u WHERE id = 1")
            goes_on = "SELECT id FROM u ORDER BY id"
            await running.until(lambda: target.execute(goes_on) == [(3,), (4,), (99,)], "the old u to go on")
        await running.caught_up()
        three.assert_equal(*ALL)
        assert target.execute("SELECT amount::text FROM u WHERE id = 3") == [("3",)]


async def test_a_mistake_of_ours_ends_the_process_where_tables_join_too(
    three: Replication, target: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: object) -> None:
        raise ZeroDivisionError("a mistake")

    await three.catch_up()
    monkeypatch.setattr("walsync.newcomers.Backlog", mistaken)
    with pytest.raises(ExceptionGroup) as caught:
        async with replace(three, tables=TABLES).running() as running:
            await running.until(running.task.done, "the process to end")
    assert caught.group_contains(ZeroDivisionError, match="a mistake")
    monkeypatch.undo()
    await replace(three, tables=TABLES).catch_up()
    three.assert_equal(*ALL)
    assert target.execute(STAGES) == []


async def test_changes_beyond_the_backlog_come_in_parts(three: Replication, target: Database) -> None:
    three = replace(three, tables=TABLES, changes={"backlog": {"max_bytes": "64kB"}})
    async with three.running() as running:
        await running.caught_up()
        assert running.pipeline.session is not None
        with locked(target, "v"):
            running.pipeline.session.deliveries["near"].copy_again(["public.u", "public.v"])
            del running.progress("near").copied_rows["public.u"]
            await running.until(lambda: running.progress("near").copied_rows.get("public.u"), "the copy of u")
            for first in range(100, 1100, 100):
                three.source.execute(
                    "INSERT INTO u SELECT i, repeat('x', 500), i FROM generate_series(%s, %s) AS i", first, first + 99
                )
            three.source.execute("DELETE FROM u WHERE id % 2 = 0")
        await running.caught_up()
        three.assert_equal(*ALL)


def test_a_snapshot_on_demand_is_never_seen_empty_nor_half_and_brings_nothing_back(
    three: Replication, target: Database, start_command: Callable[[Replication], Command]
) -> None:
    three.source.execute("INSERT INTO u SELECT i, repeat('x', 200), i FROM generate_series(10, 20009) AS i")
    command = start_command(replace(three, tables=TABLES))
    eventually(lambda: is_ready(command), SECONDS, "all tables to stream")
    three.source.execute("DELETE FROM u WHERE id % 2 = 0")
    eventually(lambda: counts(target) == (10_001, 0), SECONDS, "the deletion")
    target.execute("DELETE FROM u WHERE id % 7 = 0 AND id > 9")  # what the order is to mend
    lacking = counts(target)[0]
    with Watched(partial(counts, target)) as watched:
        eventually(lambda: watched.seen, SECONDS, "the first look")
        ordering = Walsync(command.walsync.config_path, command.walsync.cwd / "ordering")
        ordering.cwd.mkdir()
        assert ordering.run("snapshot", "--target", "near", "--table", "public.u", timeout=SECONDS) == 0
    assert "near: public.u is there, 10,002 rows" in ordering.output
    assert set(watched.seen) == {(lacking, 0), (10_001, 0)}
    three.assert_equal(*ALL)
    for arguments, code, said in (
        (("--target", "far"), 2, "WS1021"),
        (("--table", "public.nothing"), 2, "WS1034"),
        (("--target", "near", "--no-wait"), 0, "3 tables will be copied"),
    ):
        assert ordering.run("snapshot", *arguments, timeout=SECONDS) == code
        assert said in ordering.output
    command.walsync.terminate()
    assert command.walsync.wait(SECONDS) == 0
    assert ordering.run("snapshot", timeout=SECONDS) == 1
    assert "WS7008" in ordering.output
    assert target.execute(STAGES) == []


def test_an_order_for_a_target_that_is_away_says_what_it_waits_for_and_is_carried_out_later(
    three: Replication,
    target: Database,
    line_to: NewLine,
    start_command: Callable[[Replication], Command],
) -> None:
    away = line_to(target)
    command = start_command(replace(three, tables=TABLES, proxied={"near": away.dsn(target.name)}))
    eventually(lambda: is_ready(command), SECONDS, "all tables to stream")
    away.go_away()
    three.source.execute("INSERT INTO t VALUES (4, 'meanwhile', 4)")
    command.until_state(TargetState.RETRYING, "near")
    target.execute("DELETE FROM u")
    ordering = Walsync(command.walsync.config_path, command.walsync.cwd / "ordering")
    ordering.cwd.mkdir()
    ordering.start("snapshot", "--table", "public.u")
    eventually(lambda: "near is retrying: its tables are copied" in ordering.output, SECONDS, "what it waits for")
    away.accept()
    assert ordering.wait(SECONDS) == 0
    assert "near: public.u is there, 3 rows" in ordering.output
    three.assert_equal(ALL[1])


def counts(target: Database) -> tuple[int, int]:
    """Count the rows of u, and those that were deleted."""
    return target.execute("SELECT count(*)::int, count(*) FILTER (WHERE id % 2 = 0)::int FROM u WHERE id > 2")[0]


def is_ready(command: Command) -> bool:
    found = command.target("near")
    return found is not None and found.is_ready


def test_a_process_that_is_killed_copies_again_and_leaves_nothing(
    three: Replication, target: Database, start_command: Callable[[Replication], Command]
) -> None:
    command = start_command(three)
    command.until_state(TargetState.STREAMING, "near")
    command.walsync.terminate()
    assert command.walsync.wait(SECONDS) == 0
    three = replace(three, tables=TABLES)
    with locked(target, "v"):
        command = start_command(three)
        eventually(lambda: target.execute(STAGES), SECONDS, "u to be staged")
        command.walsync.sigkill()
        three.source.execute("INSERT INTO u VALUES (4, 'meanwhile', 4); DELETE FROM u WHERE id = 1")
    command = start_command(three)
    eventually(lambda: is_ready(command), SECONDS, "all tables to stream")
    three.source.execute("INSERT INTO v VALUES (5, 'later', 5)")
    eventually(lambda: len(target.execute("SELECT 1 FROM v")) == 4, SECONDS, "the last change")
    three.assert_equal(*ALL)
    assert target.execute(STAGES) == []
