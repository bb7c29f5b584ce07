"""A source that is told to shut down waits for whoever streams from it: walsync must not keep it waiting."""

from collections.abc import Callable

from fix_postgres import TARGET_VERSION, Database, Server
from fix_walsync import Walsync, eventually, free_port

from walsync.demo.engines import PostgresServer

SECONDS = 30.0
ROWS = 500
CONFIG = """
source: {{dsn: "{source}", slot: {slot}, tables: [public.t]}}
targets: [{{name: replica, type: postgres, dsn: "{target}"}}]
http: {{listen: "127.0.0.1:{port}"}}
"""


def test_a_source_can_be_shut_down_although_its_last_wal_was_not_published(
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
    target: Database,
    walsync_command: Callable[..., Walsync],
) -> None:
    server = start_server()
    source = new_database(server)
    walsync = _replicate(source, target, walsync_command)

    source.execute("CREATE TABLE unpublished AS SELECT generate_series(1, 1000)")
    server.restart()

    _goes_on(source, target, walsync)


def test_a_source_can_be_shut_down_while_a_target_is_away(
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
    walsync_command: Callable[..., Walsync],
) -> None:
    server, target_server = start_server(), start_server(TARGET_VERSION)
    source, target = new_database(server), new_database(target_server)
    walsync = _replicate(source, target, walsync_command)

    target_server.stop()
    source.execute("INSERT INTO t VALUES (2)")
    server.restart()
    target_server.start()

    _goes_on(source, target, walsync)


def test_a_source_can_be_shut_down_while_the_backlog_is_full(
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
    walsync_command: Callable[..., Walsync],
) -> None:
    server, target_server = start_server(), start_server(TARGET_VERSION)
    source, target = new_database(server), new_database(target_server)
    walsync = _replicate(source, target, walsync_command, "backlog: {max_bytes: 64kB}")

    target_server.stop()
    for number in range(2, 30):  # more than the backlog and the socket's buffers take
        source.execute("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(%s, %s) AS i", *_block(number))
    server.restart()
    target_server.start()

    _goes_on(source, target, walsync)


def _block(number: int) -> tuple[int, int]:
    return number * ROWS, (number + 1) * ROWS - 1


def test_a_source_with_a_short_timeout_is_not_taken_for_one_that_shuts_down(
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
    target: Database,
    walsync_command: Callable[..., Walsync],
) -> None:
    source = new_database(start_server(wal_sender_timeout="100ms"))
    walsync = _replicate(source, target, walsync_command)

    for number in range(20, 30):
        source.execute("INSERT INTO t VALUES (%s)", number)
        source.execute("SELECT pg_sleep(0.3)")

    _goes_on(source, target, walsync)
    assert "shutting down" not in walsync.output


def _replicate(source: Database, target: Database, walsync_command: Callable[..., Walsync], more: str = "") -> Walsync:
    source.execute("CREATE TABLE t (id int PRIMARY KEY, filler text)")
    source.execute("INSERT INTO t VALUES (1)")
    config = CONFIG.format(source=source.dsn, slot=source.name, target=target.dsn, port=free_port())
    walsync = walsync_command(config + more)
    walsync.start("run")
    eventually(lambda: "streaming" in walsync.output, SECONDS, "the target to stream")
    return walsync


def _goes_on(source: Database, target: Database, walsync: Walsync) -> None:
    last = source.connect()
    with last.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (10)")
        cursor.execute("SELECT id FROM t ORDER BY id")
        rows = cursor.fetchall()
    check = target.connect()

    def arrived() -> bool:
        with check.cursor() as cursor:
            cursor.execute("SELECT id FROM t ORDER BY id")
            return cursor.fetchall() == rows

    eventually(arrived, SECONDS, "the rows to arrive")
    assert walsync.is_running
