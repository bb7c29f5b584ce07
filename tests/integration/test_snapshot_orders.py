"""Tables are copied once more by order: where others of the target have to wait for that, and two orders in a row."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from fix_postgres import Database
from fix_replication import SECONDS, Command, Content, Replication, Running, uncommitted
from fix_rest_api import RestApi
from fix_walsync import Walsync
from fix_workerd import Workerd
from structlog.testing import capture_logs

from walsync.status import TargetState

SENT = """SELECT count(*)::int FROM pg_replication_slots JOIN pg_stat_replication ON pid = active_pid
WHERE starts_with(slot_name, %s) AND sent_lsn >= %s"""
WAITS = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
COPY = ["", "row 1", "row 2", "row 3"]
TABLES = ["public.t", "public.u"]


@dataclass
class Mixed(Replication):
    """A replication into targets of other kinds as well."""

    others: Sequence[Content] = ()

    @property
    def content(self) -> Content:
        content = super().content
        return {**content, "targets": [*content["targets"], *self.others]}


@pytest.fixture
def two(source: Database) -> Database:
    """A source with two tables of three rows."""
    for table in ("t", "u"):
        source.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, name text)")
        source.execute(f"INSERT INTO {table} SELECT i, 'row ' || i FROM generate_series(1, 3) AS i")
    return source


def told(lines: str, table: str) -> list[str]:
    """Return what the lines of a file say of a table: the names of rows as they come, and "" where it is emptied."""
    found = [change for line in lines.splitlines() for change in json.loads(line)["changes"]]
    return [change.get("new", {}).get("name", "") for change in found if change["table"] == table]


async def copied_again(running: Running, name: str, table: str | None = None) -> None:
    """Order tables, and wait until they are there."""
    before = dict(running.progress(name).synced)
    ordered = running.pipeline.copy_again(name, table)[name]
    await running.until(
        lambda: all(running.progress(name).synced.get(one, before[one]) > before[one] for one in ordered),
        "the tables to be there",
    )


async def test_a_file_gets_its_tables_again_and_goes_on(two: Database, tmp_path: Path) -> None:
    path = tmp_path / "changes.jsonl"
    mixed = Mixed(two, {}, TABLES, others=[{"name": "log", "type": "file", "path": str(path)}])
    async with mixed.running() as running:
        await running.caught_up()
        await copied_again(running, "log")
        two.execute("INSERT INTO t VALUES (4, 'later'); UPDATE u SET name = 'changed' WHERE id = 1")
        await running.caught_up()
        await running.until_streaming()
    lines = path.read_text()
    assert told(lines, "t") == [*COPY, *COPY, "later"]
    assert told(lines, "u") == [*COPY, *COPY, "changed"]


async def test_d1_over_rest_gets_its_tables_again_and_goes_on(
    two: Database, workerd: Workerd, d1_database: str
) -> None:
    plain = workerd.plain(d1_database)
    async with (
        RestApi(workerd, is_atomic=False) as api,
        Mixed(two, {}, TABLES, others=[api.target(d1_database)]).running() as running,
    ):
        await running.caught_up()
        await asyncio.to_thread(plain.execute, "DELETE FROM u WHERE id = 2")
        await copied_again(running, "weur", "public.u")
        two.execute("INSERT INTO t VALUES (4, 'later'); UPDATE u SET name = 'changed' WHERE id = 1")
        await running.caught_up()
        await running.until_streaming()
        for table in ("t", "u"):
            query = f"SELECT id, name FROM {table} ORDER BY id"
            assert await asyncio.to_thread(plain.execute, query) == two.execute(query)


async def test_an_order_that_comes_while_the_only_table_joins_waits_until_the_stream_is_there(
    two: Database, target: Database
) -> None:
    one = Replication(two, {"near": target}, ["public.t"])
    async with one.running() as running:
        await running.caught_up()
        await running.until_streaming()
        assert running.pipeline.session is not None
        delivery = running.pipeline.session.deliveries["near"]
        target.execute("DELETE FROM t WHERE id = 2")
        with capture_logs() as logs:
            with uncommitted(target, "INSERT INTO t VALUES (4)"):
                delivery.copy_again(["public.t"])
                await running.until(lambda: not delivery.ordered, "the order to be under way")
                two.execute("INSERT INTO t VALUES (4, 'whose write waits')")
                await running.until(lambda: target.execute(WAITS), "the write to wait")
                two.execute("INSERT INTO t VALUES (5, 'of which the copy hears first')")
                [(end,)] = two.execute("SELECT pg_current_wal_lsn()::text")
                await running.until(lambda: two.execute(SENT, one.slot, end) == [(2,)], "both streams to have it")
                delivery.copy_again(["public.t"])
            await running.until(lambda: delivery.is_complete, "the second copy to be in its place")
        said = [line["event"] for line in logs]
        assert said.count("tables_joined") == 2
        assert "target_state" not in said
        await running.caught_up()
        one.assert_equal("SELECT * FROM t ORDER BY id")


def test_an_order_without_a_target_is_for_files_and_stdout_too(
    two: Database, target: Database, start_command: Callable[[Replication], Command], tmp_path: Path
) -> None:
    others = [
        {"name": "log", "type": "file", "path": str(tmp_path / "changes.jsonl")},
        {"name": "out", "type": "stdout"},
    ]
    command = start_command(Mixed(two, {"near": target}, TABLES, others=others))
    for name in ("near", "log", "out"):
        command.until_state(TargetState.STREAMING, name)
    ordering = Walsync(command.walsync.config_path, command.walsync.cwd / "ordering")
    ordering.cwd.mkdir()
    assert ordering.run("snapshot", timeout=SECONDS) == 0
    for name in ("near", "log", "out"):
        assert f"{name}: public.t is there, 3 rows" in ordering.output
        command.until_state(TargetState.STREAMING, name)
    assert told((tmp_path / "changes.jsonl").read_text(), "u") == [*COPY, *COPY]
    assert told(command.walsync.stdout.read_text(), "t") == [*COPY, *COPY]
