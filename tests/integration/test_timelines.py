"""The gap guard and failovers that happen while walsync is stopped: what a promoted standby has, by its own history."""

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from fix_check import problems
from fix_postgres import Database, Server
from fix_replication import SECONDS, Replication, checkpoint, slot_row
from fix_standby import Standby, mark_failover, move

from walsync import service
from walsync.config import Config
from walsync.demo.engines import PostgresServer
from walsync.errors import SourceRefused, TargetRefused

ROWS = "SELECT id, name FROM t ORDER BY id"


@pytest.fixture
def primary(start_server: Callable[..., PostgresServer]) -> PostgresServer:
    return start_server()


@pytest.fixture
def source(primary: PostgresServer, new_database: Callable[[Server], Database]) -> Database:
    """A database on the primary, with a row."""
    database = new_database(primary)
    database.execute("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (0, 'copied')")
    return database


@pytest.fixture
def replication(source: Database, target: Database) -> Replication:
    changes = {"batch": {"idle_checkpoint_seconds": 0.2}}
    return Replication(source, {"replica": target}, ["public.t"], changes)


@pytest.fixture
async def standby(
    replication: Replication, primary: PostgresServer, start_standby: Callable[[PostgresServer], Standby]
) -> Standby:
    """A standby that has the slot and all rows of a replication that is in step, and stopped."""
    made = start_standby(primary)
    async with replication.running() as running:
        await running.until_streaming()
        await made.until_synchronised(replication.slot)
        await running.caught_up()
    await made.until_replayed()
    return made


async def refused(replication: Replication, code: str) -> TargetRefused:
    """Run until the target stops, as `check` has said it would."""
    assert [finding.code for finding in await problems(replication.config)] == [code]
    with pytest.raises(TargetRefused) as caught:
        await replication.catch_up()
    assert caught.value.code == code
    assert "walsync drop --target replica" in caught.value.hint
    return caught.value


def row(replication: Replication, id_: int) -> None:
    replication.source.execute("INSERT INTO t VALUES (%s, 'streamed')", id_)


async def test_a_checkpoint_below_the_switch_goes_on_with_the_slot(replication: Replication, standby: Standby) -> None:
    row(replication, 1)
    await standby.until_replayed()
    standby.fail_over(replication.source)
    row(replication, 2)
    assert await problems(replication.config) == []
    await replication.catch_up()
    replication.assert_equal(ROWS)
    standby.server.restart()
    replication.source._own = None
    row(replication, 3)
    await replication.catch_up()
    replication.assert_equal(ROWS)


async def test_a_checkpoint_below_the_second_switch_goes_on_too(
    replication: Replication, standby: Standby, start_standby: Callable[[PostgresServer], Standby]
) -> None:
    standby.fail_over(replication.source)
    second = start_standby(standby.server)
    await replication.catch_up()
    async with replication.running() as running:
        await running.until_streaming()
        await second.until_synchronised(replication.slot)
    replication.targets["replica"].execute("UPDATE walsync.checkpoint SET timeline = 1")  # as if it had missed one
    row(replication, 1)
    await second.until_replayed()
    stands = checkpoint(replication.targets["replica"])
    second.fail_over(replication.source)
    error = await refused(replication, "WS5006")
    assert stands in error.message
    replication.targets["replica"].execute("UPDATE walsync.checkpoint SET timeline = 2")
    await replication.catch_up()
    replication.assert_equal(ROWS)
    assert replication.targets["replica"].execute("SELECT timeline FROM walsync.checkpoint") == [(3,)]


async def test_a_checkpoint_beyond_the_switch_is_a_gap(replication: Replication, standby: Standby) -> None:
    await standby.detach()
    row(replication, 1)
    await replication.catch_up()
    standby.fail_over(replication.source)
    row(replication, 2)
    error = await refused(replication, "WS5006")
    assert "a failover lost" in error.message
    assert replication.targets["replica"].execute(ROWS) == [(0, "copied"), (1, "streamed")]


async def test_a_table_that_was_copied_beyond_the_switch_is_a_gap(replication: Replication, standby: Standby) -> None:
    target = replication.targets["replica"]
    await standby.detach()
    before = checkpoint(target)
    replication.source.execute("CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1)")
    both = replace(replication, tables=["public.t", "public.late"])
    await both.catch_up()
    # As a crash leaves it right after the copy: the stream had not come that far.
    target.execute("UPDATE walsync.checkpoint SET lsn = %s", before)
    standby.fail_over(replication.source)
    assert checkpoint(target) == before
    error = await refused(replication, "WS5006")
    assert "a failover lost" in error.message
    assert before not in error.message


async def test_a_part_of_a_transaction_that_was_taken_beyond_the_switch_is_a_gap(
    replication: Replication, standby: Standby, tmp_path: Path
) -> None:
    path = tmp_path / "edge.sqlite"
    # What the server says while it reads the transaction would move the checkpoint into it.
    never = {"batch": {"idle_checkpoint_seconds": 3600, "idle_checkpoint_bytes": "1GB"}}

    def config() -> Config:
        content = replace(replication, changes=never).content
        edge = {"name": "edge", "type": "d1", "url": f"sqlite://{path}"}
        return Config.model_validate({**content, "targets": [*content["targets"], edge]})

    async def catch_up() -> None:
        await service.run(config(), until_caught_up=True, timeout=SECONDS)

    def ask(statement: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()

    await catch_up()
    await standby.until_replayed()
    await standby.detach()
    before = ask("SELECT lsn FROM _walsync_checkpoint")
    # One takes the transaction as a whole or not at all, the other in parts, up to the row that it refuses.
    replication.targets["replica"].execute("ALTER TABLE t ADD CHECK (id < 40000)")
    ask("CREATE TRIGGER forbid BEFORE INSERT ON t WHEN new.id = 40000 BEGIN SELECT RAISE(ABORT, 'not here'); END")
    replication.source.execute("INSERT INTO t SELECT i, 'lost' FROM generate_series(1, 40000) AS i")
    with pytest.raises(TargetRefused):
        await catch_up()
    assert ask("SELECT lsn FROM _walsync_checkpoint WHERE open_commit_lsn IS NOT NULL") == before
    assert ask("SELECT count(*) > 1 FROM t") == [(1,)]
    standby.fail_over(replication.source)
    assert [(found.code, found.where) for found in await problems(config())] == [("WS5006", "target edge")]
    with pytest.raises(TargetRefused) as caught:
        await catch_up()
    assert caught.value.code == "WS5006"
    assert "target edge" in caught.value.message
    assert "a failover lost" in caught.value.message
    assert str(before[0][0]) not in caught.value.message


async def test_a_promoted_standby_without_the_slot_ends_the_process(replication: Replication, standby: Standby) -> None:
    mark_failover(standby.primary, replication.slot, failover=False)
    await standby.until_gone(replication.slot)
    standby.fail_over(replication.source)
    assert [finding.code for finding in await problems(replication.config)] == ["WS5009"]
    with pytest.raises(SourceRefused) as caught:
        await replication.catch_up()
    assert caught.value.code == "WS5009"
    assert slot_row(replication, "slot_name") is None


async def test_a_slot_that_was_made_by_hand_on_the_promoted_standby_is_a_gap(
    replication: Replication, standby: Standby
) -> None:
    mark_failover(standby.primary, replication.slot, failover=False)
    await standby.until_gone(replication.slot)
    standby.fail_over(replication.source)
    row(replication, 1)
    replication.source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", replication.slot)
    assert "moved on" in (await refused(replication, "WS5001")).message


async def test_a_history_file_that_was_removed_proves_nothing(replication: Replication, standby: Standby) -> None:
    standby.fail_over(replication.source)
    (standby.server.data / "pg_wal" / "00000002.history").unlink()
    assert "history file" in (await refused(replication, "WS5006")).message


async def test_an_old_primary_that_comes_back_lacks_what_the_new_one_had(
    replication: Replication, standby: Standby
) -> None:
    standby.fail_over(replication.source)
    row(replication, 1)
    await replication.catch_up()
    standby.server.stop()
    standby.primary.start()
    move(replication.source, standby.primary)
    assert "no ancestor" in (await refused(replication, "WS5006")).message


async def test_a_source_that_was_restored_from_a_copy_of_its_disk_is_behind(
    replication: Replication, primary: PostgresServer
) -> None:
    await replication.catch_up()
    primary.stop()
    saved = _copy(primary.data)
    primary.start()
    replication.source._own = None
    row(replication, 1)
    await replication.catch_up()
    primary.stop()
    shutil.rmtree(primary.data)
    saved.rename(primary.data)
    primary.start()
    replication.source._own = None
    await refused(replication, "WS5007")


def _copy(data: Path) -> Path:
    """Copy a folder beside itself, with its owners."""
    saved = data.with_name("saved")
    subprocess.run(["cp", "-a", data, saved], check=True)
    return saved
