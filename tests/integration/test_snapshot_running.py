"""A first copy as an operator meets it: killed half-way, slowed down, on servers with short patience or no room."""

import hashlib
import time
from collections.abc import Callable

import pytest
import yaml
from fix_postgres import Database, Server
from fix_proxy import NewLine
from fix_replication import SECONDS, Command, Replication, locked
from fix_walsync import eventually

from walsync.demo.engines import PostgresServer
from walsync.metrics import Metrics
from walsync.status import LastError, TableProgress, TableStatus, TargetState

ROW_BYTES = 1920
SMALL = "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 1000)"
LARGE = """
CREATE TABLE b (id int PRIMARY KEY, body text);
ALTER TABLE b ALTER COLUMN body SET STORAGE PLAIN;
INSERT INTO b SELECT i, repeat(md5(i::text), 60) FROM generate_series(1, {rows}) AS i;
ANALYZE b;
"""
THREE_PARTS = 20_000
"""Of rows of 2 kB, four in a block: 5,000 blocks, of which a session takes 2,048 at a time."""

KEY_GONE_BYTES = 6 * 1024**2
KEYS = """
SELECT conrelid::regclass::text, conname::text FROM pg_constraint
WHERE contype = 'p' AND connamespace = 'public'::regnamespace ORDER BY 1
"""

READING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'walsync %% snapshot' AND query LIKE 'COPY %%'
    AND state = 'active'
"""
OURS = """
SELECT (SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'walsync %% snapshot')
     + (SELECT count(*) FROM pg_replication_slots WHERE temporary AND database = current_database())
"""


async def test_after_a_kill_in_the_middle_of_the_second_table_the_first_is_not_read_again(
    source: Database, target: Database, start_command: Callable[[Replication], Command]
) -> None:
    source.execute(SMALL)
    source.execute(LARGE.format(rows=THREE_PARTS))
    slow = {"snapshot": {"workers": 3, "max_bytes_per_second": 4 * 1024**2}}
    command = start_command(Replication(source, {"replica": target}, ["public.a", "public.b"], slow))

    def of_b() -> TableStatus | None:
        status = command.target("replica")
        table = status.tables.get("public.b") if status is not None else None
        copying = table is not None and table.state is TableProgress.COPYING
        return table if copying and table is not None and (table.bytes or 0) > KEY_GONE_BYTES else None

    eventually(of_b, SECONDS, "so many rows of the second table that it has no key for the time being")
    eventually(lambda: source.execute(READING)[0][0] == 3, SECONDS, "three sessions to read it")
    command.walsync.sigkill()
    eventually(lambda: source.execute(OURS)[0][0] == 0, SECONDS, "sessions and slots of the snapshot to go")
    assert target.execute("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)") == [(1000, 0)]
    assert target.execute(KEYS) == [("a", "a_pkey"), ("b", "b_pkey")]

    content = yaml.safe_load(command.walsync.config_path.read_text())
    command.walsync.config_path.write_text(yaml.safe_dump({**content, "snapshot": {"workers": 3}}))
    source.execute("INSERT INTO a VALUES (0); DELETE FROM b WHERE id <= 10")
    command.walsync.start("run")
    command.until_state(TargetState.STREAMING)
    eventually(lambda: target.execute("SELECT count(*) FROM a") == [(1001,)], SECONDS, "the row from the stream")
    copied = [(line["table"], line["rows"]) for line in command.log("table_copied")]
    assert copied == [("public.a", 1000), ("public.b", THREE_PARTS - 10)]
    assert target.execute(KEYS) == [("a", "a_pkey"), ("b", "b_pkey")]
    for query in ("TABLE a ORDER BY id", "SELECT id, md5(body) FROM b ORDER BY id"):
        assert target.execute(query) == source.execute(query)


@pytest.mark.parametrize("pg_version", [14, 18], indirect=True)
async def test_a_server_that_ends_idle_and_long_transactions_does_not_end_a_copy(
    any_source: Database, target: Database
) -> None:
    any_source.execute(SMALL)
    any_source.execute(LARGE.format(rows=1500))
    timeouts = ["statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "lock_timeout"]
    if any_source.server.version >= 17:
        timeouts.append("transaction_timeout")
    for timeout in timeouts:
        any_source.execute(f"ALTER DATABASE {any_source.name} SET {timeout} = '500ms'")
    # One session has nothing to do for all of the copy, and the one that exported the snapshot neither.
    slow = {"snapshot": {"workers": 2, "max_bytes_per_second": 1024**2}}
    replication = Replication(any_source, {"replica": target}, ["public.a", "public.b"], slow)
    async with replication.running() as running:
        await running.until_streaming()
        assert running.progress("replica").error is None
        assert running.progress("replica").copied_rows == {"public.a": 1000, "public.b": 1500}
        await running.caught_up()
    assert target.execute("SELECT count(DISTINCT synced_lsn) FROM walsync.table_state") == [(1,)]


async def test_how_far_a_copy_is_can_be_seen(source: Database, target: Database) -> None:
    source.execute(LARGE.format(rows=3000))
    slow = {"snapshot": {"max_bytes_per_second": 1024**2}}
    replication = Replication(source, {"replica": target}, ["public.b"], slow)
    async with replication.running() as running:
        await running.until(lambda: _rows(running.pipeline.session), "the first rows")
        status = await running.status()
        [one] = status.targets
        table = one.tables["public.b"]
        assert table.state is TableProgress.COPYING
        assert table.rows is not None
        assert table.bytes is not None
        assert 0 < table.rows <= 3000
        assert table.bytes > ROW_BYTES * table.rows
        assert table.total_rows == 3000
        assert table.total_bytes is not None
        assert table.total_bytes > ROW_BYTES * 3000
        assert table.eta_seconds is not None
        rendered = Metrics().render(status).decode()
        for name, value in (("copied", table.rows), ("expected", 3000)):
            assert f'walsync_snapshot_{name}_rows{{table="public.b",target="replica"}} {value:.1f}' in rendered
        assert 'walsync_snapshot_remaining_seconds{table="public.b",target="replica"}' in rendered
        await running.until_streaming()
        [one] = (await running.status()).targets
        assert one.tables["public.b"] == TableStatus(
            TableProgress.SYNCED, running.progress("replica").synced["public.b"], 3000
        )


def _rows(session: object) -> int:
    return _sum(session, "rows")


def _sum(session: object, of: str) -> int:
    deliveries = getattr(session, "deliveries", {})
    return sum(getattr(copy, of) for delivery in deliveries.values() for copy in delivery.progress.copying.values())


async def test_all_sessions_of_a_copy_together_read_no_more_than_the_limit(source: Database, target: Database) -> None:
    rows, limit = 3000, 2 * 1024**2
    source.execute(LARGE.format(rows=rows))
    limited = {"snapshot": {"workers": 3, "max_bytes_per_second": limit}}
    replication = Replication(source, {"replica": target}, ["public.a", "public.b"], limited)
    source.execute(SMALL)
    began = time.monotonic()
    samples: list[tuple[int, float]] = []
    async with replication.running() as running:

        def look() -> bool:
            is_streaming = running.state("replica") is TargetState.STREAMING
            read = rows * ROW_BYTES if is_streaming else _sum(running.pipeline.session, "copied_bytes")
            samples.append((read, (time.monotonic() - began) * limit))
            return is_streaming

        await running.until(look, "the copy to end")
    assert len({read for read, _ in samples}) > rows * ROW_BYTES // limit, "seen on the way"
    # The clock may run ahead of the bytes, on a slow machine by any amount; the other way round is beyond the limit.
    assert [(read, allowed) for read, allowed in samples if read > allowed] == []


async def test_a_target_that_stands_still_does_not_hold_up_the_copy_of_another(
    source: Database, target: Database, new_database: Callable[[Server], Database]
) -> None:
    source.execute(LARGE.format(rows=10_000))
    slow = new_database(target.server)
    for database in (target, slow):
        database.execute("CREATE TABLE b (id int PRIMARY KEY, body text)")
    replication = Replication(source, {"fast": target, "slow": slow}, ["public.b"])
    async with replication.running() as running:
        with locked(slow, "b"):
            with locked(target, "b"):
                copied = lambda: {running.state(name) for name in ("fast", "slow")} == {TargetState.SNAPSHOT}  # noqa: E731
                await running.until(copied, "both to share the snapshot")
            await running.until(lambda: running.state("fast") is TargetState.STREAMING, "the fast one to stream")
            assert running.state("slow") is TargetState.SNAPSHOT
            source.execute("DELETE FROM b WHERE id <= 10")
            await running.until(lambda: target.execute("SELECT count(*) FROM b") == [(9990,)], "the change to pass")
        await running.until_streaming()
        await running.caught_up()
        positions = {running.progress(name).synced["public.b"] for name in ("fast", "slow")}
    replication.assert_equal("SELECT id, md5(body) FROM b ORDER BY id")
    assert len(positions) == 1


async def test_a_target_that_stands_still_in_the_middle_leaves_the_others_and_goes_on_behind_what_it_has(
    source: Database,
    target: Database,
    new_database: Callable[[Server], Database],
    line_to: NewLine,
) -> None:
    source.execute(LARGE.format(rows=THREE_PARTS))
    slow = new_database(target.server)
    way = line_to(slow)
    way.on_bytes(
        "to_server", hashlib.md5(b"1", usedforsecurity=False).hexdigest().encode(), lambda: way.hold("to_server")
    )
    replication = Replication(
        source, {"fast": target, "slow": slow}, ["public.b"], proxied={"slow": way.dsn(slow.name)}
    )
    async with replication.running() as running:
        await running.until(lambda: running.state("fast") is TargetState.STREAMING, "the fast one to stream")
        await running.until(lambda: _rows(running.pipeline.session), "the slow one to have taken some rows")
        [copying] = running.progress("slow").copying.values()
        assert 0 < copying.rows < THREE_PARTS
        way.resume()
        await running.until_streaming()
        await running.caught_up()
        assert running.progress("slow").copied_rows == {"public.b": THREE_PARTS}
    replication.assert_equal("SELECT id, md5(body) FROM b ORDER BY id")


async def test_a_server_without_a_free_slot_is_asked_again(
    start_server: Callable[..., PostgresServer], new_database: Callable[[Server], Database], target: Database
) -> None:
    source = new_database(start_server(max_replication_slots="2"))
    source.execute(SMALL)
    source.execute("SELECT pg_create_physical_replication_slot('taken')")
    replication = Replication(source, {"replica": target}, ["public.a"])
    async with replication.running() as running:

        def said() -> LastError | None:
            error = running.progress("replica").error if running.pipeline.session is not None else None
            return LastError.of(error) if error is not None else None

        found = await running.until(said, "the server to have no slot for the snapshot")
        assert (found.code, running.state("replica")) == ("WS2404", TargetState.RETRYING)
        source.execute("SELECT pg_drop_replication_slot('taken')")
        await running.until_streaming()
        await running.caught_up()
    replication.assert_equal("TABLE a ORDER BY id")


async def test_the_longest_name_of_a_slot_leaves_room_for_that_of_the_snapshots(
    source: Database, target: Database
) -> None:
    source.execute(SMALL)
    name = source.name.ljust(50, "x")
    replication = Replication(source, {"replica": target}, ["public.a"], {"source": {"slot": name}})
    async with replication.running() as running:
        await running.until_streaming()
    replication.assert_equal("TABLE a ORDER BY id")
