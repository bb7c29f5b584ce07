"""Real Postgres servers for the tests, and a fresh database on one of them for each test.

`source` and `target` are what most tests need. `any_source` runs a test on every version. `start_server` makes a
private server, to be stopped, killed or paused. WALSYNC_TEST_DSN names a server to use as the source; WALSYNC_TEST_PG
its version where it is ours: a container when a Docker engine answers, else the embedded server.
"""

import contextlib
import functools
import gc
import importlib
import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import psycopg2
import psycopg2.extensions
import pytest
from fix_engines import VERSIONS, installation
from fix_walsync import eventually

from walsync.demo.engines import PostgresServer

SOURCE_VERSION = 18
TARGET_VERSION = 16
FILE_COPY_SINCE = 15  # CREATE DATABASE ... STRATEGY
SLOT_IDLE_SECONDS = 20
CONTAINER_SETTINGS = ("wal_level=logical", "max_wal_senders=20", "max_replication_slots=20", "fsync=off")

Connection = psycopg2.extensions.connection
Rows = list[tuple[Any, ...]]


class Server(Protocol):
    """A server that a test may use but not stop."""

    version: int

    def dsn(self, database: str = "postgres") -> str:
        """Return the address of a database as a postgresql:// URL."""


class ForeignServer:
    """A server that is not ours: a container's, or the one that WALSYNC_TEST_DSN names."""

    def __init__(self, dsn: str) -> None:
        self._parameters = psycopg2.extensions.parse_dsn(dsn)
        with contextlib.closing(psycopg2.connect(dsn)) as connection:
            self.version = connection.info.server_version // 10_000

    def dsn(self, database: str = "postgres") -> str:
        # Everything as parameters: a host may be the folder of a socket, which has no place in the address itself.
        parameters = {name: value for name, value in self._parameters.items() if name != "dbname"}
        return f"postgresql:///{quote(database, safe='')}?{urlencode(parameters, quote_via=quote)}"


class Database:
    """A fresh database of one test; its connections end with it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.name = f"test_{uuid.uuid4().hex[:12]}"
        self.dsn = server.dsn(self.name)
        self._connections: list[Connection] = []
        self._own: Connection | None = None
        strategy = " STRATEGY file_copy" if server.version >= FILE_COPY_SINCE else ""
        with _autocommit(server.dsn()) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {self.name} TEMPLATE template0{strategy}")

    def connect(self) -> Connection:
        """Open another connection, in autocommit mode; it is closed with the test."""
        connection = psycopg2.connect(self.dsn)
        connection.autocommit = True
        self._connections.append(connection)
        return connection

    def execute(self, statement: str, *params: object) -> Rows:
        """Run a statement on a connection kept for this and return its rows, none for a statement without a result."""
        if self._own is None or self._own.closed:
            self._own = self.connect()
        with self._own.cursor() as cursor:
            cursor.execute(statement, params or None)
            return cursor.fetchall() if cursor.description else []

    def drop(self) -> None:
        """Remove the database, its sessions and its replication slots; a slot would hold the whole server's WAL."""
        for connection in self._connections:
            connection.close()
        if isinstance(self.server, PostgresServer) and not self.server.is_up:
            return  # a private server, gone with all its databases
        with _autocommit(self.server.dsn()) as connection, connection.cursor() as cursor:
            eventually(lambda: _slots_are_gone(cursor, self.name), SLOT_IDLE_SECONDS, f"the slots of {self.name} to go")
            cursor.execute(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")


def _slots_are_gone(cursor: psycopg2.extensions.cursor, database: str) -> bool:
    cursor.execute("SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = %s", (database,))
    slots = cursor.fetchall()
    for slot_name, active_pid in slots:
        if active_pid is not None:
            cursor.execute("SELECT pg_terminate_backend(%s)", (active_pid,))
            continue
        # A reader may take the slot again in between, and a temporary slot goes by itself: look again.
        with contextlib.suppress(psycopg2.errors.ObjectInUse, psycopg2.errors.UndefinedObject):
            cursor.execute("SELECT pg_drop_replication_slot(%s)", (slot_name,))
    return not slots


@contextlib.contextmanager
def _autocommit(dsn: str) -> Iterator[Connection]:
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        yield connection


@pytest.fixture(scope="session")
def postgres_servers() -> Iterator[Callable[[int], PostgresServer]]:
    """Return the shared embedded server of a version, started when it is first asked for."""
    with contextlib.ExitStack() as stack:
        started: dict[int, PostgresServer] = {}

        def server_of(version: int) -> PostgresServer:
            if version not in started:
                started[version] = stack.enter_context(PostgresServer(installation(version)))
            return started[version]

        yield server_of


@pytest.fixture(scope="session")
def source_server(postgres_servers: Callable[[int], PostgresServer]) -> Iterator[Server]:
    """Return the server that most tests read from; it is shared and stays up."""
    dsn = os.environ.get("WALSYNC_TEST_DSN")
    if dsn:
        yield ForeignServer(dsn)
        return
    with _own_server(int(os.environ.get("WALSYNC_TEST_PG", SOURCE_VERSION)), postgres_servers) as server:
        yield server


@pytest.fixture(scope="session")
def target_server(postgres_servers: Callable[[int], PostgresServer]) -> Iterator[Server]:
    """Return the server that most tests write to; another version than the source, on purpose."""
    with _own_server(TARGET_VERSION, postgres_servers) as server:
        yield server


@contextlib.contextmanager
def _own_server(version: int, postgres_servers: Callable[[int], PostgresServer]) -> Iterator[Server]:
    if not _docker_answers():
        yield postgres_servers(version)
        return
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415 - slow to import, seldom needed

    settings = [word for setting in CONTAINER_SETTINGS for word in ("-c", setting)]
    with PostgresContainer(f"postgres:{version}", driver=None).with_command(["postgres", *settings]) as container:
        yield ForeignServer(container.get_connection_url())


@functools.cache
def _docker_answers() -> bool:
    docker = importlib.import_module("docker")  # slow to import; and mypy would take our folder docker/ for it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # docker leaks the socket of a connection that fails
        try:
            with contextlib.closing(docker.from_env()) as client:
                return bool(client.ping())
        except docker.errors.DockerException:
            return False
        finally:
            gc.collect()  # of that socket, now: later the warning would fail whichever test runs then


@pytest.fixture
def start_server(new_database: Callable[[Server], Database]) -> Iterator[Callable[..., PostgresServer]]:
    """Start private servers, which a test may stop, kill or pause: `start_server(17, wal_sender_timeout="1s")`."""
    del new_database  # set up before, so that the servers end before their databases would be dropped
    with contextlib.ExitStack() as stack:

        def start(version: int = SOURCE_VERSION, **settings: str) -> PostgresServer:
            return stack.enter_context(PostgresServer(installation(version), settings=settings))

        yield start


@pytest.fixture
def new_database() -> Iterator[Callable[[Server], Database]]:
    """Make fresh databases, on any server, that are dropped after the test."""
    made: list[Database] = []

    def make(server: Server) -> Database:
        made.append(Database(server))
        return made[-1]

    yield make
    with contextlib.ExitStack() as stack:  # drops them all, even when one cannot be dropped
        for database in made:
            stack.callback(database.drop)


@pytest.fixture
def source(source_server: Server, new_database: Callable[[Server], Database]) -> Database:
    """Return a fresh database to replicate from."""
    return new_database(source_server)


@pytest.fixture
def target(target_server: Server, new_database: Callable[[Server], Database]) -> Database:
    """Return a fresh database to replicate to."""
    return new_database(target_server)


@pytest.fixture(params=VERSIONS)
def pg_version(request: pytest.FixtureRequest) -> int:
    """Run the test once for each version of Postgres that walsync reads from."""
    return int(request.param)


@pytest.fixture
def any_server(pg_version: int, postgres_servers: Callable[[int], PostgresServer]) -> PostgresServer:
    """Return the shared server of each version in turn."""
    return postgres_servers(pg_version)


@pytest.fixture
def any_source(any_server: PostgresServer, new_database: Callable[[Server], Database]) -> Database:
    """Return a fresh database on each version in turn."""
    return new_database(any_server)
