"""D1 as files: read through plain sqlite3, troubled through locks and through SQLite's own file descriptors."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from conformance.bench import Rows
from conformance.stream import SLOT

from walsync.identifier import quote
from walsync.source.table import Table
from walsync.target.d1.embedded import EmbeddedClient
from walsync.target.d1.plan import table_name
from walsync.target.d1.settings import D1Settings
from walsync.target.d1.target import D1Target
from walsync.target.d1.values import value_form

OPEN_FILES = Path("/proc/self/fd")


class D1Bench:
    """A file in a folder of its own."""

    takes_tables_without_key = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "d1 %20?.sqlite"
        self.made: list[D1Target] = []

    def target(self, name: str = "replica", *, collapse: bool = True) -> D1Target:
        settings = D1Settings(name=name, type="d1", url=f"sqlite://{self.path}")
        self.made.append(D1Target(settings, SLOT, collapse=collapse))
        return self.made[-1]

    def execute(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def rows(self, table: Table) -> Rows:
        forms = [value_form(column.name, column.type) for column in table.published_columns]
        columns = ", ".join(map(quote, table.published))
        found = self.execute(f"SELECT {columns} FROM {quote(table_name(table))}")
        texts = ([form.decode(value) for form, value in zip(forms, row, strict=True)] for row in found)
        return sorted((tuple(None if text is None else text.decode() for text in row) for row in texts), key=repr)

    def drop(self, table: Table) -> None:
        self.execute(f"DROP TABLE {quote(table_name(table))}")

    def forbid(self, table: Table, column: str, value: str) -> None:
        name = quote(table_name(table))
        self.execute(
            f"CREATE TRIGGER forbid BEFORE INSERT ON {name} WHEN new.{quote(column)} = '{value}'"
            f" BEGIN SELECT RAISE(ABORT, 'not {value} here'); END"
        )

    def has_stages(self) -> bool:
        return bool(self.execute("SELECT 1 FROM sqlite_master WHERE name LIKE '%walsync_new%'"))

    def wipe(self) -> None:
        for (name,) in self.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '\\_walsync%' ESCAPE '\\'"
        ):
            self.execute(f"DROP TABLE {quote(str(name))}")

    def vanish_while_writing(self) -> None:
        # What a request writes goes to the log when it commits.
        self.vanish()

    def vanish(self) -> None:
        """Take SQLite's log away from under it, as a disk that goes: every write to it fails from now on."""
        with Path(os.devnull).open("rb") as nothing:
            for entry in list(OPEN_FILES.iterdir()):
                if _leads_to(entry) == f"{self.path}-wal":
                    os.dup2(nothing.fileno(), int(entry.name))

    @contextmanager
    def blocked(self, table: Table) -> Iterator[Callable[[], bool]]:
        del table  # SQLite has one lock for all
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield self._somebody_waits
            connection.execute("ROLLBACK")

    def _somebody_waits(self) -> bool:
        clients = (target._client for target in self.made)
        return any(isinstance(client, EmbeddedClient) and client.waits_for_lock for client in clients)


def _leads_to(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except FileNotFoundError:  # the descriptor that lists the folder
        return ""
