"""What happens to connections and processes in production: walsync goes on by itself, and says what it waits for."""

import os
import signal
from collections.abc import Callable
from copy import copy
from dataclasses import replace

import psycopg2
import psycopg2.extras
import pytest
from fix_postgres import Database, Server
from fix_proxy import NewLine, Proxy
from fix_replication import Command, Replication, locked, slot_row
from fix_walsync import eventually
from psycopg2.extensions import make_dsn

from walsync.demo.engines import PostgresServer
from walsync.status import SourceState, TargetState

SECONDS = 30.0
TAKEOVER_SECONDS = 10.0
TIMEOUT_SECONDS = 5
"""Of a walsender; walsync speaks every second, and later on a busy machine."""

ROWS = "SELECT id, name FROM t ORDER BY id"
TABLE = "CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (0, 'before')"


@pytest.fixture
def replication(source: Database, target: Database) -> Replication:
    """One table between the shared servers, read by a session that the server is quick to give up on."""
    source.execute(TABLE)
    dsn = make_dsn(source.dsn, options=f"-c wal_sender_timeout={TIMEOUT_SECONDS}s")
    return Replication(source, {"replica": target}, ["public.t"], {"source": {"dsn": dsn}})


@pytest.fixture
def server(start_server: Callable[..., PostgresServer]) -> PostgresServer:
    """Return a source of the test's own."""
    return start_server()


@pytest.fixture
def private(server: PostgresServer, new_database: Callable[[Server], Database], target: Database) -> Replication:
    """One table from that source, which may be stopped."""
    source = new_database(server)
    source.execute(TABLE)
    return Replication(source, {"replica": target}, ["public.t"])


def insert(replication: Replication, row: int) -> None:
    replication.source.execute("INSERT INTO t VALUES (%s, 'after')", row)


def restart(server: PostgresServer, replication: Replication) -> None:
    server.start()
    replication.source._own = None  # what the test had open has ended


def has_row(replication: Replication, row: int, name: str = "replica") -> bool:
    return bool(replication.targets[name].execute("SELECT 1 FROM t WHERE id = %s", row))


async def test_a_walsender_that_is_terminated_is_replaced(replication: Replication) -> None:
    async with replication.running() as running:
        await running.until_streaming()
        for row in range(1, 4):
            pid = await running.until(lambda: slot_row(replication, "active_pid"), "a walsender")
            replication.source.execute("SELECT pg_terminate_backend(%s)", pid)
            insert(replication, row)
            await running.until(lambda row=row: has_row(replication, row), f"row {row}")  # type: ignore[misc]
    replication.assert_equal(ROWS)


async def test_a_restart_of_the_source_is_survived(private: Replication, server: PostgresServer) -> None:
    async with private.running() as running:
        await running.until_streaming()
        for row, end in ((1, server.stop), (2, server.kill)):
            end()
            await running.until(lambda: running.pipeline.source_error, "the loss to be noticed")
            status = await running.status()
            assert status.source.state is SourceState.RETRYING
            assert status.source.last_error is not None
            assert status.source.last_error.code == "WS2002"
            restart(server, private)
            insert(private, row)
            await running.until(lambda row=row: has_row(private, row), f"row {row}")  # type: ignore[misc]
            assert running.pipeline.source_error is None
    private.assert_equal(ROWS)


async def test_the_server_is_answered_while_a_target_is_busy_for_longer_than_its_timeout(
    replication: Replication,
) -> None:
    async with replication.running() as running:
        await running.until_streaming()
        pid = slot_row(replication, "active_pid")
        with locked(replication.targets["replica"], "t"):
            insert(replication, 1)
            began = replication.source.execute("SELECT now()")[0][0]
            await running.until(
                lambda: _seconds_since(replication, began) > 2 * TIMEOUT_SECONDS, "twice the timeout to pass"
            )
        await running.caught_up()
        assert slot_row(replication, "active_pid") == pid
    replication.assert_equal(ROWS)


async def test_the_server_is_answered_while_the_backlog_is_full(replication: Replication) -> None:
    small = replace(replication, changes={**replication.changes, "backlog": {"max_bytes": "64kB"}})
    async with small.running() as running:
        await running.until_streaming()
        pid = slot_row(small, "active_pid")
        with locked(small.targets["replica"], "t"):
            for first in range(1_000, 6_000, 1_000):
                small.source.execute(
                    "INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(%s, %s) AS i", first, first + 999
                )
            session = running.pipeline.session
            assert session is not None
            await running.until(lambda: session.main.backlog.is_full, "the backlog to be full")
            began = small.source.execute("SELECT now()")[0][0]
            await running.until(lambda: _seconds_since(small, began) > 2 * TIMEOUT_SECONDS, "twice the timeout to pass")
        await running.caught_up()
        assert slot_row(small, "active_pid") == pid
    small.assert_equal("SELECT count(*), sum(id) FROM t")


def _seconds_since(replication: Replication, began: object) -> float:
    return float(replication.source.execute("SELECT extract(epoch FROM clock_timestamp() - %s)", began)[0][0])


def test_a_process_that_was_stopped_for_longer_than_the_timeout_goes_on(
    replication: Replication, start_command: Callable[[Replication], Command]
) -> None:
    command = start_command(replication)
    command.until_state(TargetState.STREAMING)
    assert command.walsync.process is not None
    os.kill(command.walsync.process.pid, signal.SIGSTOP)
    try:
        insert(replication, 1)
        eventually(lambda: slot_row(replication, "active_pid") is None, SECONDS, "the server to give up")
        insert(replication, 2)
    finally:
        os.kill(command.walsync.process.pid, signal.SIGCONT)
    eventually(lambda: has_row(replication, 2), SECONDS, "the rows to arrive")
    insert(replication, 3)
    eventually(lambda: has_row(replication, 3), SECONDS, "the next row")
    command.walsync.terminate()
    assert command.walsync.wait(SECONDS) == 0
    replication.assert_equal(ROWS)


def test_a_second_instance_waits_for_the_slot_and_takes_over(
    replication: Replication, start_command: Callable[[Replication], Command]
) -> None:
    first = start_command(replication)
    first.until_state(TargetState.STREAMING)
    pid = slot_row(replication, "active_pid")
    second = start_command(replication)

    def blocked() -> bool:
        status = second.status()
        return status is not None and status.source.blocked_by is not None and status.source.blocked_by.pid == pid

    eventually(blocked, SECONDS, "the second to name the pid")
    waiting = second.log("source_unavailable")
    assert waiting[0]["code"] == "WS2405"
    assert str(pid) in waiting[0]["error"]
    assert slot_row(replication, "active_pid") == pid

    first.walsync.sigkill()
    insert(replication, 1)
    eventually(lambda: has_row(replication, 1), TAKEOVER_SECONDS, "the row by the second")
    second.until_state(TargetState.STREAMING)
    second.walsync.terminate()
    assert second.walsync.wait(SECONDS) == 0


async def test_a_slot_that_another_session_reads_is_waited_for(replication: Replication) -> None:
    await replication.catch_up()
    other = psycopg2.connect(replication.source.dsn, connection_factory=psycopg2.extras.LogicalReplicationConnection)
    with other.cursor() as cursor:
        options = {"proto_version": "1", "publication_names": "walsync"}
        cursor.start_replication(replication.slot, options=options)
        async with replication.running() as running:
            error = await running.until(lambda: running.pipeline.source_error, "the slot to be refused")
            assert error.code == "WS2405"
            status = await running.status()
            assert status.source.state is SourceState.WAITING_FOR_SLOT
            assert status.source.blocked_by is not None
            assert status.source.blocked_by.pid == other.get_backend_pid()
            other.close()
            await running.until_streaming()
    replication.assert_equal(ROWS)


async def test_a_target_whose_session_is_ended_in_the_middle_of_a_batch_takes_it_once(replication: Replication) -> None:
    target = replication.targets["replica"]
    await replication.catch_up()
    target.execute("CREATE TABLE seen (id int)")
    target.execute(
        """
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO public.seen VALUES (NEW.id); RETURN NEW; END';
        CREATE TRIGGER see AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION see();
        ALTER TABLE t ENABLE ALWAYS TRIGGER see;
        """
    )
    async with replication.running() as running:
        await running.until_streaming()
        with locked(target, "seen"):
            insert(replication, 1)
            waiting = await running.until(lambda: _waiting(target), "the batch to wait in its trigger")
            target.execute("SELECT pg_terminate_backend(%s)", waiting)
            await running.until(lambda: running.state("replica") is TargetState.RETRYING, "the loss to be noticed")
        await running.caught_up()
        await running.until_streaming()
    assert target.execute("TABLE seen") == [(1,)]
    replication.assert_equal(ROWS)


def _waiting(database: Database) -> int | None:
    rows = database.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return int(rows[0][0]) if rows else None


async def test_a_target_that_is_down_at_the_start_is_waited_for(
    replication: Replication,
    line_to: NewLine,
) -> None:
    target = replication.targets["replica"]
    proxied, proxy = _behind_a_proxy(target, line_to)
    proxy.refuse()
    through = Replication(replication.source, {"replica": proxied}, replication.tables)
    async with through.running() as running:
        await running.until(lambda: running.state("replica") is TargetState.RETRYING, "the target to be missed")
        insert(replication, 1)
        status = await running.status()
        assert status.targets[0].last_error is not None
        assert status.targets[0].last_error.code == "WS4101"
        proxy.accept()
        await running.until_streaming()
        assert status.source.state is SourceState.STREAMING
        await running.caught_up()
    replication.assert_equal(ROWS)


async def test_a_source_that_is_down_at_the_start_is_waited_for(private: Replication, server: PostgresServer) -> None:
    server.stop()
    async with private.running() as running:
        error = await running.until(lambda: running.pipeline.source_error, "the source to be missed")
        assert error.code == "WS2002"
        assert str(server.port) in error.message
        restart(server, private)
        await running.until_streaming()
        await running.caught_up()
    private.assert_equal(ROWS)


async def test_stopping_while_the_source_is_away_is_not_held_up(private: Replication, server: PostgresServer) -> None:
    async with private.running() as running:
        await running.until_streaming()
        server.stop()
        await running.until(lambda: running.pipeline.source_error, "the loss to be noticed")
        running.pipeline.stop()
        await running.until(running.task.done, "the end")
        restart(server, private)


async def test_status_answers_while_the_source_is_frozen(private: Replication, server: PostgresServer) -> None:
    async with private.running() as running:
        await running.until_streaming()
        server.pause()
        try:
            status = await running.status()
        finally:
            server.resume()
        assert status.source.state is SourceState.STREAMING
        assert status.source.wal_end_lsn is not None
        await running.caught_up()


async def test_another_cluster_behind_the_same_address_is_noticed_at_the_reconnect(
    private: Replication,
    start_server: Callable[..., PostgresServer],
    line_to: NewLine,
) -> None:
    other_server = start_server(17)  # of another version: servers of one have one identifier here
    source, proxy = _behind_a_proxy(private.source, line_to)
    admin = psycopg2.connect(other_server.dsn())
    admin.autocommit = True
    admin.cursor().execute(f"CREATE DATABASE {source.name}")
    admin.close()
    other = copy(source)
    other.dsn, other._own = other_server.dsn(source.name), None
    moved = Replication(source, private.targets, private.tables)
    for _ in range(2):  # beyond the other's WAL: its slot would serve the old position, and skip what lies between
        private.source.execute("CREATE TABLE filler AS SELECT 1; DROP TABLE filler")
        private.source.execute("SELECT pg_switch_wal()")
    async with moved.running() as running:
        await running.until_streaming()
        await running.caught_up()
        other.execute(TABLE)
        other.execute("CREATE PUBLICATION walsync FOR TABLE t")
        other.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", private.slot)
        proxy._server = (other_server.host, other_server.port)
        proxy.cut()
        assert await running.until_stopped("replica") == "WS5005"
        await running.until(lambda: slot_row(Replication(other, {}, []), "active"), "the other slot to be read")


def _behind_a_proxy(database: Database, line_to: NewLine) -> tuple[Database, Proxy]:
    proxy = line_to(database)
    proxied = copy(database)
    proxied.dsn, proxied._own = proxy.dsn(database.name), None
    return proxied, proxy
