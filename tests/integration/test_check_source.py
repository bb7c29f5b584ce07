"""`walsync check` and the source: every finding, provoked on real servers."""

import asyncio
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Literal

import psycopg2
import pytest
from fix_check import PASSWORD, NewRole, configuration, problems, role_of, the_problem
from fix_postgres import Database, Server
from fix_proxy import Proxy, address
from fix_replication import Replication, uncommitted
from fix_walsync import eventually_async, free_port
from psycopg2.extensions import make_dsn
from psycopg2.extras import LogicalReplicationConnection

from walsync.check.doctor import examine
from walsync.check.finding import Severity
from walsync.demo.engines import PostgresServer
from walsync.service import run
from walsync.source import slot as slots
from walsync.source.session import open_replication


async def until_all_have_left(source: Database, who: str = "walsync %") -> None:
    """Wait until the server has noticed the end of sessions, whose walsenders and connections would be counted."""
    there = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE %s"
    await eventually_async(lambda: not source.execute(there, who), 30, f"the sessions of {who} to be gone")


async def test_nothing_is_wrong_with_a_server_made_for_it(users: Database, target: Database) -> None:
    assert await problems(configuration(users.dsn, target.dsn)) == []


async def test_looking_changes_nothing(users: Database, target: Database) -> None:
    await examine(configuration(users.dsn, target.dsn, tables=[{"table": "public.users", "where": "id > 0"}]))
    assert users.execute("SELECT pubname FROM pg_publication") == []
    assert users.execute("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()") == []
    for database in (users, target):
        assert database.execute("SELECT nspname FROM pg_namespace WHERE nspname = 'walsync'") == []
    assert target.execute("SELECT relname FROM pg_class WHERE relname = 'users'") == []


async def test_nothing_is_wrong_after_a_run_either(users: Database, target: Database) -> None:
    config = configuration(users.dsn, target.dsn)
    assert await run(config, until_caught_up=True, timeout=30) == 0
    report = await examine(config)
    assert not report.has_errors
    assert any("1 registered" in finding.message for finding in report.findings)
    assert any("stands at" in finding.message and "replica" in finding.where for finding in report.findings)


async def test_a_server_that_does_not_answer_is_found(target: Database) -> None:
    found = await the_problem(
        configuration(f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/app", target.dsn), "WS2002"
    )
    assert found.severity is Severity.ERROR
    assert found.where == "source"
    assert "cannot be reached" in found.message


async def test_a_database_that_is_not_there_is_found(users: Database, target: Database) -> None:
    found = await the_problem(configuration(make_dsn(users.dsn, dbname="nowhere"), target.dsn), "WS2001")
    assert "nowhere" in found.message


@pytest.mark.parametrize(
    ("settings", "codes"),
    [
        ({"wal_level": "replica"}, ["WS2101"]),
        ({"max_replication_slots": "1"}, ["WS2404"]),
        ({"max_replication_slots": "0"}, ["WS2404"]),
        ({"max_wal_senders": "1"}, ["WS2901"]),
        ({"max_slot_wal_keep_size": "64MB"}, ["WS2902"]),
        ({"idle_replication_slot_timeout": "1d"}, ["WS2903"]),
    ],
    ids=str,
)
async def test_the_server_s_settings_are_looked_at(
    start_server: Callable[..., PostgresServer],
    new_database: Callable[..., Database],
    target: Database,
    settings: dict[str, str],
    codes: list[str],
) -> None:
    source = new_database(start_server(**settings))
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY)")
    found = await problems(configuration(source.dsn, target.dsn))
    assert [finding.code for finding in found] == codes
    assert all(finding.why and finding.hint for finding in found)


async def test_each_target_needs_room_for_its_snapshot(
    start_server: Callable[..., PostgresServer], new_database: Callable[..., Database], target: Database
) -> None:
    source = new_database(start_server(max_replication_slots="5", max_wal_senders="4"))
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY)")
    names = ("weur", "enam", "apac", "eeur", "wnam")
    targets = [{"name": name, "type": "postgres", "dsn": target.dsn} for name in names]
    assert await problems(configuration(source.dsn, *targets[:2])) == []
    await until_all_have_left(source)
    found = {one.code: one for one in await problems(configuration(source.dsn, *targets))}
    assert found.keys() == {"WS2404", "WS2901"}
    assert "ALTER SYSTEM SET max_replication_slots = 6;" in found["WS2404"].hint
    assert "ALTER SYSTEM SET max_wal_senders = 6;" in found["WS2901"].hint


async def test_targets_that_are_away_and_tables_that_join_need_room(
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
    target_server: Server,
) -> None:
    # The slot, the hold slot, one to catch up on, two for tables; and as many walsenders but for the hold slot.
    source = new_database(start_server(max_replication_slots="6", max_wal_senders="4"))
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY)")
    both = Replication(source, {name: new_database(target_server) for name in ("near", "far")}, ["public.users"])
    await both.catch_up()
    await until_all_have_left(source)
    source.execute("SELECT pg_create_physical_replication_slot('one')")
    assert await problems(both.config) == []
    async with both.running() as running:
        await running.until_streaming()
        await until_all_have_left(source, "walsync check")
        assert await problems(both.config) == [], "what it uses already is not wanted twice"
        await until_all_have_left(source, "walsync check")
        with closing(open_replication(source.dsn, "of somebody else")):
            found = await the_problem(both.config, "WS2911")
            assert "ALTER SYSTEM SET max_wal_senders = 5; restart the server" in found.hint
            assert "max_replication_slots" not in found.hint
    await until_all_have_left(source)
    await until_all_have_left(source, "of somebody else")
    source.execute("SELECT pg_create_physical_replication_slot('two')")
    found = await the_problem(both.config, "WS2911")
    assert found.hint == "ALTER SYSTEM SET max_replication_slots = 7; restart the server"


async def test_each_stream_to_catch_up_on_needs_room(
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
    target_server: Server,
) -> None:
    source = new_database(start_server(max_replication_slots="6", max_wal_senders="5"))
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY)")
    targets = {name: new_database(target_server) for name in ("near", "far", "farther", "farthest")}
    four = Replication(source, targets, ["public.users"])
    assert await problems(four.config) == []
    await until_all_have_left(source)
    found = await the_problem(replace(four, changes={"backlog": {"catch_up_streams": 3}}).config, "WS2911")
    assert found.hint == (
        "ALTER SYSTEM SET max_replication_slots = 7; ALTER SYSTEM SET max_wal_senders = 6; restart the server, "
        "or set backlog.catch_up_streams = 1"
    )


async def test_no_walsender_at_all_is_said_once(
    start_server: Callable[..., PostgresServer], new_database: Callable[[Server], Database], target: Database
) -> None:
    source = new_database(start_server(max_wal_senders="1"))
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY)")
    with closing(open_replication(source.dsn, "of somebody else")):
        found = await the_problem(configuration(source.dsn, target.dsn), "WS2901")
    assert "ALTER SYSTEM SET max_wal_senders = 3;" in found.hint


async def test_a_limit_of_connections_is_found(users: Database, target: Database, new_role: NewRole) -> None:
    dsn = new_role(users)
    users.execute(f"ALTER TABLE public.users OWNER TO {role_of(dsn)}")
    users.execute(f"GRANT CREATE ON DATABASE {users.name} TO {role_of(dsn)}")
    for what in (f"ROLE {role_of(dsn)}", f"DATABASE {users.name}"):
        await until_all_have_left(users)
        users.execute(f"ALTER {what} CONNECTION LIMIT 3")
        found = await the_problem(configuration(dsn, target.dsn), "WS2907")
        assert "4 are needed" in found.message
        users.execute(found.hint)
        assert await problems(configuration(dsn, target.dsn)) == []
        users.execute(f"ALTER {what} CONNECTION LIMIT -1")


class Older(Proxy):
    """Announces the server as another release, which is how a client learns what it is."""

    def __init__(self, database: Database, release: str) -> None:
        self.release = release.encode()
        super().__init__(*address(database))

    def _forward(
        self, link: object, direction: Literal["to_server", "to_client"], writer: socket.socket, chunk: bytes
    ) -> bool:
        aged = re.sub(rb"(?<=server_version\0)[\d.]+", lambda found: self.release.ljust(len(found[0])), chunk)
        return super()._forward(link, direction, writer, aged)  # type: ignore[arg-type]


async def test_a_server_older_than_14_is_found(users: Database, target: Database) -> None:
    with Older(users, "13.9") as proxy:
        found = await the_problem(configuration(proxy.dsn(users.name), target.dsn), "WS2102")
    assert "Postgres 13" in found.message


async def test_a_release_that_may_leave_out_changes_of_new_tables_is_found(users: Database, target: Database) -> None:
    with Older(users, "17.4") as proxy:
        found = await the_problem(configuration(proxy.dsn(users.name), target.dsn), "WS2915")
    assert found.severity is Severity.WARNING
    assert "17.5" in found.hint


async def test_sessions_that_may_only_read_are_found_on_the_source(users: Database, target: Database) -> None:
    config = configuration(users.dsn, target.dsn)
    target.execute(f"ALTER DATABASE {target.name} SET default_transaction_read_only = on")  # which run overrides there
    users.execute(f"ALTER DATABASE {users.name} SET default_transaction_read_only = on")
    found = await the_problem(config, "WS2906")
    users.execute("SET default_transaction_read_only = off")
    users.execute(found.hint.partition(";")[0])
    assert await problems(config) == []
    assert await run(config, until_caught_up=True, timeout=60) == 0


async def test_a_database_that_takes_any_bytes_is_a_warning(
    start_server: Callable[..., PostgresServer], target: Database
) -> None:
    server = start_server()
    with closing(psycopg2.connect(server.dsn())) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    dsn = server.dsn("bytes")
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE public.users (id int PRIMARY KEY)")
    found = await the_problem(configuration(dsn, target.dsn), "WS2910")
    assert found.severity is Severity.WARNING


async def test_a_slot_that_something_else_reads_is_a_warning(users: Database, target: Database) -> None:
    config = configuration(users.dsn, target.dsn)
    with reading(users, config.source.slot):
        found = await the_problem(config, "WS2908")
    assert found.severity is Severity.WARNING
    assert "(somebody)" in found.message


async def test_a_slot_that_is_being_created_is_no_trouble(users: Database, target: Database) -> None:
    config = configuration(users.dsn, target.dsn)
    there = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s"
    with closing(open_replication(users.dsn, "test")) as replication:
        with uncommitted(users, "CREATE TABLE not_yet (id int)"):
            creating = asyncio.create_task(asyncio.to_thread(slots.create, replication, config.source.slot))
            await eventually_async(lambda: users.execute(there, config.source.slot), 30, "the slot to be there")
            report = await examine(config)
        await creating
    assert not report.has_errors
    assert any("is being created by pid" in finding.message for finding in report.findings)


@contextmanager
def reading(database: Database, slot: str) -> Iterator[None]:
    """Stream from a slot as another program does."""
    database.execute("CREATE PUBLICATION walsync FOR TABLE public.users")
    dsn = make_dsn(database.dsn, application_name="somebody")
    with (
        closing(psycopg2.connect(dsn, connection_factory=LogicalReplicationConnection)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.create_replication_slot(slot, output_plugin="pgoutput")
        options = {"proto_version": "1", "publication_names": "walsync"}
        cursor.start_replication(slot_name=slot, options=options)
        yield


async def test_a_slot_that_falls_too_far_behind_is_found_before_and_after_its_wal_is_gone(
    start_server: Callable[..., PostgresServer], new_database: Callable[..., Database], target: Database
) -> None:
    source = new_database(start_server(max_slot_wal_keep_size="16MB", max_wal_size="1GB"))
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY)")
    config = configuration(source.dsn, target.dsn)
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", config.source.slot)
    while source.execute("SELECT wal_status FROM pg_replication_slots") != [("unreserved",)]:
        source.execute("SELECT pg_logical_emit_message(false, '', repeat('x', 1000000)), pg_switch_wal()")
    assert (await the_problem(config, "WS2909")).severity is Severity.WARNING
    source.execute("CHECKPOINT")
    found = {one.code: one for one in await problems(config)}
    assert found.keys() == {"WS2402", "WS2902"}
    assert "walsync drop" in found["WS2402"].hint


async def test_a_standby_is_no_source_and_no_target(
    start_server: Callable[..., PostgresServer], users: Database, target: Database
) -> None:
    server = start_server()
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
    await the_problem(configuration(server.dsn(), target.dsn), "WS2906")
    await the_problem(configuration(users.dsn, server.dsn()), "WS4902")


async def test_an_open_port_without_a_token_is_a_warning(users: Database, target: Database) -> None:
    found = await the_problem(configuration(users.dsn, target.dsn, http={"listen": "0.0.0.0:0"}), "WS7005")
    assert found.severity is Severity.WARNING
    for http in ({"listen": "0.0.0.0:0", "token": "t"}, {"listen": "127.0.0.1:0"}, {"listen": "localhost:0"}):
        assert await problems(configuration(users.dsn, target.dsn, http=http)) == []


async def test_a_port_that_is_taken_is_found_unless_walsync_itself_has_it(users: Database, target: Database) -> None:
    port = free_port()  # one that no outgoing connection is given as soon as it is free again
    listen = f"127.0.0.1:{port}"
    with socket.create_server(("127.0.0.1", port)):
        found = await the_problem(configuration(users.dsn, target.dsn, http={"listen": listen}), "WS7001")
    assert "http.listen" in found.hint
    assert await problems(configuration(users.dsn, target.dsn, http={"listen": listen})) == []
