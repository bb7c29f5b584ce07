"""A database of one kind under test: makes targets on it, reads it through a plain client, and troubles it on request.

A new kind of target is one class here and one line in `conftest.BENCHES`; the tests of this folder then hold for it.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import psycopg2
from conformance.stream import SLOT, TARGET_ID, writer
from fix_postgres import Database
from fix_proxy import Proxy
from psycopg2.extensions import make_dsn

from walsync.identifier import quote
from walsync.lsn import LSN
from walsync.settings import Secret
from walsync.source.table import Table
from walsync.target.base import Target
from walsync.target.postgres.settings import PostgresSettings
from walsync.target.postgres.target import PostgresTarget

START = 100
"""Where every target of these tests begins."""

Rows = list[tuple[str | None, ...]]


class Bench(Protocol):
    """What a test may do to a database besides writing to it as a target."""

    takes_tables_without_key: bool

    def target(self, name: str = "replica", *, collapse: bool = True) -> Target:
        """Make a target, as another instance of walsync would."""

    def rows(self, table: Table) -> Rows:
        """Read a table as Postgres text, in an order of its own."""

    def drop(self, table: Table) -> None:
        """Remove a table with its rows."""

    def forbid(self, table: Table, column: str, value: str) -> None:
        """Let the database refuse rows with this value."""

    def has_stages(self) -> bool:
        """Tell whether rows wait beside their table."""

    def wipe(self) -> None:
        """Remove everything that walsync stored about itself, as a restore from elsewhere would."""

    def vanish_while_writing(self) -> None:
        """Cut the connection of every target as soon as it sends rows of the next batch."""

    def vanish(self) -> None:
        """Cut all connections now."""

    def blocked(self, table: Table) -> AbstractContextManager[Callable[[], bool]]:
        """Keep everybody from writing to a table; the value tells whether somebody waits for that."""


class PostgresBench:
    """A database on a real server, reached by walsync through a proxy."""

    takes_tables_without_key = True

    def __init__(self, database: Database, proxy: Proxy) -> None:
        self.database = database
        self.proxy = proxy

    def target(self, name: str = "replica", *, collapse: bool = True) -> PostgresTarget:
        dsn = make_dsn(self.database.dsn, host=self.proxy.host, port=self.proxy.port)
        return PostgresTarget(PostgresSettings(name=name, type="postgres", dsn=Secret(dsn)), SLOT, collapse=collapse)

    def rows(self, table: Table) -> Rows:
        columns = ", ".join(quote(name) + "::text" for name in table.published)
        return sorted(self.database.execute(f"SELECT {columns} FROM {quote(table.schema, table.name)}"), key=repr)

    def drop(self, table: Table) -> None:
        self.database.execute(f"DROP TABLE {quote(table.schema, table.name)}")

    def forbid(self, table: Table, column: str, value: str) -> None:
        name = quote(table.schema, table.name)
        self.database.execute(f"ALTER TABLE {name} ADD CHECK ({quote(column)}::text <> '{value}')")

    def has_stages(self) -> bool:
        found = "SELECT 1 FROM pg_tables WHERE schemaname = 'walsync' AND tablename LIKE 'stage%'"
        return bool(self.database.execute(found))

    def wipe(self) -> None:
        self.database.execute("DROP SCHEMA walsync CASCADE")

    def vanish_while_writing(self) -> None:
        self.proxy.on_bytes("to_server", b"COPY", self.proxy.cut)

    def vanish(self) -> None:
        self.proxy.cut()

    @contextmanager
    def blocked(self, table: Table) -> Iterator[Callable[[], bool]]:
        with psycopg2.connect(self.database.dsn) as connection, connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {quote(table.schema, table.name)} IN ACCESS EXCLUSIVE MODE")
            yield self._somebody_waits
        connection.close()

    def _somebody_waits(self) -> bool:
        return bool(
            self.database.execute(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )


class Tracked:
    """A bench that remembers its targets and says the first words to them."""

    def __init__(self, bench: Bench) -> None:
        self.database = bench
        self.rows = bench.rows
        self.collapse = True
        self.made: list[Target] = []

    def target(self, name: str = "replica") -> Target:
        self.made.append(self.database.target(name, collapse=self.collapse))
        return self.made[-1]

    async def open(self, *tables: Table) -> Target:
        """Make a target that stands at START and is prepared for the tables, or for those of them that it takes."""
        target = self.target()
        await target.register(TARGET_ID, writer(), LSN(START))
        await target.claim(writer())
        taken = [one for one in tables if one.key or self.database.takes_tables_without_key]
        await target.prepare(taken or tables)
        return target
