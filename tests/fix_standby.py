"""A physical standby of an embedded server, which follows it, copies its slots from Postgres 17 on, and is promoted."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg2
import pytest
from fix_engines import installation
from fix_postgres import Database
from fix_walsync import eventually_async
from psycopg2.extensions import make_dsn, parse_dsn
from psycopg2.extras import LogicalReplicationConnection

from walsync.demo.engines import PostgresServer
from walsync.demo.engines.installation import from_wheel, workspace

SECONDS = 60.0
SLOT = "standby"
"""The physical slot on the primary."""

SYNCHRONISES = {"sync_replication_slots": "on", "hot_standby_feedback": "on"}
SLOTS_SYNCHRONISE_SINCE = 17


class Standby:
    """A primary and the standby that follows it, by a physical slot."""

    def __init__(self, primary: PostgresServer) -> None:
        self.primary = primary
        self.server = PostgresServer(installation(primary.version))
        self._conninfo = make_dsn(**parse_dsn(primary.dsn()))

    def follow(self) -> None:
        """Copy the primary as it is, and follow it."""
        _ask(self.primary, "SELECT pg_create_physical_replication_slot(%s, true)", SLOT)
        program = workspace().readable(from_wheel()).program("pg_basebackup")
        options = ("-d", self.primary.dsn(), "-X", "stream", "-c", "fast", "--no-sync")
        answer = workspace().account.run(program, "-D", self.server.data, *options)
        assert answer.returncode == 0, answer.stdout
        settings = {"primary_conninfo": self._conninfo, "primary_slot_name": SLOT}
        if self.primary.version >= SLOTS_SYNCHRONISE_SINCE:
            settings |= SYNCHRONISES
        with (self.server.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        (self.server.data / "standby.signal").touch()
        self.server.start()

    def slot(self, name: str) -> tuple[Any, ...] | None:
        """Return (synced and here to stay, confirmed_flush_lsn) of a slot on the standby."""
        rows = _ask(
            self.server,
            "SELECT synced AND NOT temporary, confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s",
            name,
        )
        return rows[0] if rows else None

    async def until_synchronised(self, name: str, *, moving: bool = True) -> None:
        """Wait until the standby has a slot that it could go on with, which as a rule it has when that has moved on."""

        def is_there() -> bool:
            if moving:
                _ask(self.primary, "SELECT pg_log_standby_snapshot()")  # what the server does by itself every 15 s
            slot = self.slot(name)
            return slot is not None and bool(slot[0])

        await eventually_async(is_there, SECONDS, f"slot {name} on the standby")

    async def until_gone(self, name: str) -> None:
        """Wait until the standby has dropped its copy of a slot."""
        await eventually_async(lambda: self.slot(name) is None, SECONDS, f"slot {name} to go from the standby")

    async def until_replayed(self) -> None:
        """Wait until the standby has all that the primary has written."""
        end = _ask(self.primary, "SELECT pg_current_wal_insert_lsn()::text")[0][0]
        query = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        what = f"the standby to have replayed {end}"
        await eventually_async(lambda: _ask(self.server, query, end)[0][0], SECONDS, what)

    def set(self, server: PostgresServer, **settings: str) -> None:
        """Change settings of one of the two, at once."""
        for name, value in settings.items():
            _ask(server, f"ALTER SYSTEM SET {name} = '{value}'")
        _ask(server, "SELECT pg_reload_conf()")

    async def detach(self) -> None:
        """Let the standby receive nothing from here on."""
        self.set(self.server, primary_conninfo="")
        # The second one would still store slots that it has read.
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('walreceiver', 'slotsync worker')"
        await eventually_async(lambda: _ask(self.primary, query) == [(0,)], SECONDS, "the standby to have left")

    def attach(self) -> None:
        """Let it receive again."""
        self.set(self.server, primary_conninfo=self._conninfo.replace("'", "''"))

    def promote(self) -> None:
        """Make the standby a primary; the old one goes on, if it is up."""
        assert _ask(self.server, "SELECT pg_promote()") == [(True,)]

    def fail_over(self, database: Database) -> None:
        """Kill the primary, promote the standby, and let a database mean the one there."""
        self.primary.kill()
        self.promote()
        move(database, self.server)

    def addresses(self, database: Database, **parameters: str) -> str:
        """Return a DSN that names both servers, and leads to the one that may be written."""
        both = (self.primary, self.server)
        return make_dsn(
            user=parse_dsn(database.dsn)["user"],
            dbname=database.name,
            host=",".join(server.host for server in both),
            port=",".join(str(server.port) for server in both),
            target_session_attrs="read-write",
            **parameters,
        )


def move(database: Database, server: PostgresServer) -> None:
    """Let a database mean the one of the same name on another server."""
    database.server, database.dsn, database._own = server, server.dsn(database.name), None


def mark_failover(server: PostgresServer, slot: str, *, failover: bool) -> None:
    """Let standbys copy a slot, or not."""
    connection = psycopg2.connect(server.dsn(), connection_factory=LogicalReplicationConnection)
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(f"ALTER_REPLICATION_SLOT {slot} (FAILOVER {failover})")


def _ask(server: PostgresServer, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(server.dsn())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def start_standby(start_server: Callable[..., PostgresServer]) -> Iterator[Callable[[PostgresServer], Standby]]:
    """Start standbys of the test's own: `start_standby(primary)`."""
    del start_server  # set up before: standbys end first
    with ExitStack() as stack:

        def start(primary: PostgresServer) -> Standby:
            standby = Standby(primary)
            stack.callback(standby.server.close)
            standby.follow()
            return standby

        yield start
