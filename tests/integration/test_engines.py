"""The servers, databases and proxies that all other tests stand on keep what they promise."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest
from fix_engines import VERSIONS
from fix_postgres import Database, ForeignServer, Server
from fix_proxy import NewLine, Proxy
from fix_walsync import eventually, eventually_async

from walsync.demo.engines import EngineFailed, Installation, PostgresServer, free_port, from_wheel, keeper
from walsync.errors import ConfigurationError

SECONDS = 60

StartServer = Callable[..., PostgresServer]
NewDatabase = Callable[[Server], Database]
NewProxy = Callable[[str, int], Proxy]


def ask(dsn: str, statement: str) -> object:
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone()
        assert row is not None
        return row[0]


def postmaster_of(server: PostgresServer) -> int:
    return int((server.data / "postmaster.pid").read_text().split()[0])


def test_each_version_starts_and_says_which_it_is(any_server: PostgresServer) -> None:
    assert str(ask(any_server.dsn(), "select version()")).startswith(f"PostgreSQL {any_server.version}.")


def test_each_version_decodes_its_wal(any_source: Database) -> None:
    any_source.execute("select pg_create_logical_replication_slot('slot', 'pgoutput')")
    assert any_source.execute("select plugin, database from pg_replication_slots where slot_name = 'slot'") == [
        ("pgoutput", any_source.name)
    ]


def test_source_and_target_are_different_servers_with_a_database_for_each_test(
    source: Database, target: Database
) -> None:
    assert source.server is not target.server
    for database in (source, target):
        assert database.execute("select current_database(), count(*) from pg_stat_user_tables") == [(database.name, 0)]


def test_a_dropped_database_takes_its_slots_and_sessions_along(source_server: Server) -> None:
    database = Database(source_server)
    database.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", f"slot_of_{database.name}")
    with contextlib.closing(psycopg2.connect(database.dsn)):
        database.drop()
    left = f"select count(*) from pg_replication_slots where database = '{database.name}'"
    assert ask(source_server.dsn(), left) == 0
    assert ask(source_server.dsn(), f"select count(*) from pg_database where datname = '{database.name}'") == 0


def test_a_server_that_is_not_ours_serves_databases_too(any_server: PostgresServer, new_database: NewDatabase) -> None:
    foreign = ForeignServer(psycopg2.extensions.make_dsn(any_server.dsn(), application_name="it's % odd"))
    assert foreign.version == any_server.version
    assert new_database(foreign).execute("show application_name") == [("it's % odd",)]


def test_a_server_keeps_its_data_and_port_when_it_is_stopped_and_started(start_server: StartServer) -> None:
    server = start_server()
    with contextlib.closing(psycopg2.connect(server.dsn())) as connection, connection, connection.cursor() as cursor:
        cursor.execute("create table kept as select 7 as n")
    port = server.port
    server.stop()
    assert not server.is_up
    with pytest.raises(psycopg2.OperationalError, match="refused"):
        psycopg2.connect(server.dsn())
    server.start()
    assert server.port == port
    assert ask(server.dsn(), "select n from kept") == 7
    server.restart()
    assert ask(server.dsn(), "select n from kept") == 7


def test_a_killed_server_is_gone_with_all_its_processes_and_recovers(start_server: StartServer) -> None:
    server = start_server()
    with contextlib.closing(psycopg2.connect(server.dsn())) as connection, connection, connection.cursor() as cursor:
        cursor.execute("create table kept as select 7 as n")
    postmaster = postmaster_of(server)
    everyone = [postmaster, *keeper.children_of(postmaster)]
    assert len(everyone) > 3
    server.kill()
    assert [pid for pid in everyone if keeper.is_running(pid)] == []
    server.start()
    assert ask(server.dsn(), "select n from kept") == 7
    assert "not properly shut down" in server.log_tail(100)


def test_a_paused_server_answers_again_when_it_is_resumed(start_server: StartServer) -> None:
    server = start_server()
    connection = psycopg2.connect(server.dsn())
    server.pause()
    with ThreadPoolExecutor(1) as threads, contextlib.closing(connection), connection.cursor() as cursor:
        answer = threads.submit(cursor.execute, "select 7")
        with pytest.raises(psycopg2.OperationalError, match="timeout expired"):
            psycopg2.connect(server.dsn(), connect_timeout=2)
        assert not answer.done()
        server.resume()
        answer.result(SECONDS)
        assert cursor.fetchone() == (7,)


def test_a_paused_server_can_be_closed(start_server: StartServer) -> None:
    server = start_server()
    postmaster = postmaster_of(server)
    server.pause()
    server.close()
    assert not keeper.is_running(postmaster)
    assert not server.data.exists()


def test_a_closed_server_leaves_no_shared_memory_even_after_a_kill(start_server: StartServer) -> None:
    def segments() -> set[str]:
        return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}

    server = start_server()
    own = (server.data / "postmaster.pid").read_text().splitlines()[6].split()[1]
    server.kill()
    assert own in segments()
    server.close()
    assert own not in segments()


def test_a_wrong_setting_fails_with_the_end_of_the_log(start_server: StartServer) -> None:
    with pytest.raises(EngineFailed, match="unrecognized configuration parameter") as failure:
        start_server(18, no_such_setting="1")
    assert failure.value.code == "WS1903"


def test_settings_reach_the_server_quoted_and_may_be_altered_later(start_server: StartServer) -> None:
    server = start_server(16, application_name="it's", wal_sender_timeout="7s")
    assert ask(server.dsn(), "show wal_sender_timeout") == "7s"
    with contextlib.closing(psycopg2.connect(server.dsn())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("alter system set wal_sender_timeout = '9s'")
    server.restart()
    assert ask(server.dsn(), "show wal_sender_timeout") == "9s"


def test_a_server_outlives_the_thread_that_started_it(start_server: StartServer) -> None:
    started: list[PostgresServer] = []
    thread = threading.Thread(target=lambda: started.append(start_server()))
    thread.start()
    thread.join()
    assert ask(started[0].dsn(), "select 1") == 1


def test_a_port_taken_by_a_rival_fails_with_the_end_of_the_log() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as rival:
        server = PostgresServer(port=rival.getsockname()[1])
        with pytest.raises(EngineFailed, match="could not bind"), server:
            pass
    assert not server.data.exists()


def test_a_server_starts_from_a_folder_that_its_account_may_not_enter(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    wheel = from_wheel()
    assert wheel.libraries is not None
    prefix = tmp_path / "package" / wheel.prefix.name
    prefix.parent.mkdir()
    prefix.symlink_to(wheel.prefix)
    libraries = tmp_path / wheel.libraries.name
    libraries.symlink_to(wheel.libraries)
    closed = Installation(18, prefix, libraries)
    with PostgresServer(closed) as server:
        assert ask(server.dsn(), "select 7") == 7
        assert (server.installation == closed) == (os.geteuid() != 0), "only root's servers run as somebody else"


def test_only_versions_of_the_wheel_come_from_the_wheel() -> None:
    with pytest.raises(ConfigurationError, match="18 and 16, not 15"):
        from_wheel(15)


PARENT = """
import os, sys, threading
from walsync.demo.engines import PostgresServer
server = PostgresServer()
starter = threading.Thread(target=server.start)
starter.start()
starter.join()
if sys.argv[1] == "paused":
    server.pause()
print(server._postmaster, server._workspace.folder, flush=True)
if sys.argv[1] != "leaves":
    sys.stdin.read()
"""


@pytest.mark.parametrize("case", ["running", "paused", "leaves"])
def test_no_server_and_no_folder_outlive_the_process_that_wanted_them(case: str) -> None:
    command = [sys.executable, "-c", PARENT, case]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        postmaster, folder = parent.stdout.readline().split()
        everyone = [int(postmaster), *keeper.children_of(int(postmaster))]
        if case != "leaves":
            assert len(everyone) > 3
            parent.send_signal(signal.SIGKILL)
    eventually(lambda: not any(map(keeper.is_running, everyone)), SECONDS, "the server's processes to end")
    eventually(lambda: not Path(folder).exists(), SECONDS, f"{folder} to be removed")


def test_a_server_dies_with_its_keeper(start_server: StartServer) -> None:
    server = start_server()
    assert server._keeper is not None
    postmaster = postmaster_of(server)
    os.kill(server._keeper.pid, signal.SIGKILL)
    eventually(lambda: not keeper.is_running(postmaster), SECONDS, "the server to end")


def test_a_proxy_cuts_refuses_and_accepts(source: Database, line_to: NewLine) -> None:
    proxy = line_to(source)
    connection = psycopg2.connect(proxied(source, proxy))
    assert proxy.connections == 1
    proxy.cut()
    with connection.cursor() as cursor, pytest.raises(psycopg2.OperationalError):
        cursor.execute("select 1")
    eventually(lambda: proxy.connections == 0, SECONDS, "the proxy to forget the connection")
    assert ask(proxied(source, proxy), "select 7") == 7
    proxy.refuse()
    with pytest.raises(psycopg2.OperationalError, match="refused"):
        psycopg2.connect(proxied(source, proxy))
    proxy.accept()
    assert ask(proxied(source, proxy), "select 7") == 7


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
def test_a_held_direction_waits_and_goes_on(direction: str, source: Database, line_to: NewLine) -> None:
    proxy = line_to(source)
    source.execute("create table t (n int)")
    connection = psycopg2.connect(proxied(source, proxy))
    connection.autocommit = True
    with ThreadPoolExecutor(1) as threads, contextlib.closing(connection), connection.cursor() as cursor:
        proxy.hold("to_server" if direction == "to_server" else "to_client")
        answer = threads.submit(cursor.execute, "insert into t values (7)")
        if direction == "to_client":
            eventually(lambda: source.execute("select n from t") == [(7,)], SECONDS, "the row to arrive")
        assert not answer.done()
        proxy.resume()
        answer.result(SECONDS)
    assert source.execute("select n from t") == [(7,)]


def test_a_request_is_lost_before_the_server_has_it(source: Database, line_to: NewLine) -> None:
    proxy = line_to(source)
    source.execute("create table t (n int)")
    with contextlib.closing(psycopg2.connect(proxied(source, proxy))) as connection, connection.cursor() as cursor:
        cursor.execute("insert into t values (7)")
        proxy.on_bytes("to_server", b"COMMIT", proxy.cut)
        with pytest.raises(psycopg2.OperationalError):
            connection.commit()
    assert source.execute("select n from t") == []


def test_a_response_is_lost_after_the_server_has_acted(source: Database, line_to: NewLine) -> None:
    proxy = line_to(source)
    source.execute("create table t (n int)")
    connection = psycopg2.connect(proxied(source, proxy))
    with ThreadPoolExecutor(1) as threads, contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("insert into t values (7)")
        proxy.on_bytes("to_server", b"COMMIT", lambda: proxy.hold("to_client"))
        answer = threads.submit(connection.commit)
        eventually(lambda: source.execute("select n from t") == [(7,)], SECONDS, "the commit to take effect")
        proxy.cut()
        with pytest.raises(psycopg2.OperationalError):
            answer.result(SECONDS)


def test_a_proxy_cuts_after_so_many_bytes(new_proxy: NewProxy) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        proxy = new_proxy(*server.getsockname())
        proxy.cut_after(5, "to_server")
        with socket.create_connection((proxy.host, proxy.port)) as client:
            served, _ = server.accept()
            with served, served.makefile("rb") as received:
                client.sendall(b"abc")
                client.sendall(b"defgh")
                assert received.read() == b"abcde"
                assert client.recv(1) == b""


def test_waiting_in_vain_says_for_what() -> None:
    with pytest.raises(pytest.fail.Exception, match="in vain for: pigs to fly"):
        eventually(lambda: False, 0.05, "pigs to fly")


async def test_waiting_leaves_the_event_loop_to_others() -> None:
    answers = iter([0, 0, 7])
    assert await eventually_async(lambda: next(answers), SECONDS, "seven") == 7


def proxied(database: Database, proxy: Proxy) -> str:
    return psycopg2.extensions.make_dsn(database.dsn, host=proxy.host, port=proxy.port)


def test_every_version_is_tested() -> None:
    assert VERSIONS == (14, 15, 16, 17, 18)
