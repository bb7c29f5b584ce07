"""A seeded mixed workload: writers, each with its own session and its own chance, that change tables at random.

What a transaction does is made of the operations that the caller gives; how transactions begin and end (savepoints,
rollbacks, conflicts, a server that goes away) is decided here. Only what was committed is counted.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import psycopg2
from psycopg2 import errors as pg
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2's classes have lower-case names
from psycopg2.extensions import cursor as Cursor  # noqa: N812

Kind: TypeAlias = Literal["insert", "update", "delete", "truncate"]
Changes: TypeAlias = Counter[tuple[str, Kind]]
"""How many rows were changed, by table and kind; a truncated table counts one."""

_SESSION: Final = "-c deadlock_timeout=50ms -c lock_timeout=2s"
"""Writers meet on purpose: they are to find out soon, and go on."""

_CONFLICTS: Final = (pg.IntegrityError, pg.TransactionRollbackError, pg.LockNotAvailable)
_AWAY: Final = (psycopg2.OperationalError, psycopg2.InterfaceError)
_RECONNECT_SECONDS: Final = 0.05

_OPERATIONS: Final = (1, 1, 1, 2, 2, 3, 5, 12)
_IN_SAVEPOINT: Final = 0.2
_SAVEPOINT_ROLLED_BACK: Final = 0.4
_ROLLED_BACK: Final = 0.06


class Transaction:
    """One open transaction of a writer, which counts what it changes."""

    def __init__(self, cursor: Cursor) -> None:
        self.changes: Changes = Counter()
        self._cursor = cursor

    def change(self, kind: Kind, table: str, sql: str, *parameters: object) -> int:
        """Run a statement that changes rows of `table`, and return how many."""
        self._cursor.execute(sql, parameters or None)
        rows = max(1, self._cursor.rowcount) if kind == "truncate" else self._cursor.rowcount
        if rows > 0:
            self.changes[table, kind] += rows
        return rows

    def insert(self, table: str, sql: str, *parameters: object) -> int:
        """Run an INSERT."""
        return self.change("insert", table, sql, *parameters)

    def update(self, table: str, sql: str, *parameters: object) -> int:
        """Run an UPDATE."""
        return self.change("update", table, sql, *parameters)

    def delete(self, table: str, sql: str, *parameters: object) -> int:
        """Run a DELETE."""
        return self.change("delete", table, sql, *parameters)

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement that changes nothing, and return its rows."""
        self._cursor.execute(sql, parameters or None)
        return self._cursor.fetchall() if self._cursor.description else []

    def in_savepoint(self, work: Callable[["Transaction", Random], None], random: Random, *, keep: bool) -> None:
        """Do the work in a savepoint, and take it back unless `keep`, or where it meets a conflict."""
        before = self.changes.copy()
        self._cursor.execute("SAVEPOINT inner_work")
        try:
            work(self, random)
        except pg.IntegrityError:
            keep = False
        if not keep:
            self._cursor.execute("ROLLBACK TO SAVEPOINT inner_work")
            self.changes = before
        self._cursor.execute("RELEASE SAVEPOINT inner_work")


class Operation(NamedTuple):
    """Something that a transaction may do; `weight` says how often, relative to the others."""

    weight: float
    run: Callable[[Transaction, Random], None]


@dataclass
class Tally:
    """What has been done; `unknown` counts COMMITs whose answer never came."""

    committed: int = 0
    rolled_back: int = 0
    unknown: int = 0
    changes: Changes = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """How many rows were changed and committed."""
        return sum(self.changes.values())


@dataclass(frozen=True)
class Style:
    """How transactions are made; the default mixes everything."""

    writers: int = 3
    rate: float = 0.0
    """Transactions per second of all writers; 0 means as fast as they can."""

    operations: Sequence[int] = _OPERATIONS
    """How many operations a transaction has: one of these."""

    savepoints: bool = True


class Workload:
    """Writers in threads of their own, from `start` to `stop`; the tables must be there."""

    def __init__(self, dsn: str, operations: Sequence[Operation], *, seed: int, style: Style | None = None) -> None:
        self.tally = Tally()
        self._dsn = dsn
        self._operations = operations
        self._weights = [operation.weight for operation in operations]
        self._style = style or Style()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(
                target=self._write, args=(Random(f"{seed} {number}"),), name=f"writer-{number}", daemon=True
            )
            for number in range(self._style.writers)
        ]

    def start(self) -> None:
        """Begin to write."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> Tally:
        """End after the transactions that are open now; return what was done, or raise what went wrong."""
        self._stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        if self._failures:
            raise self._failures[0]
        return self.tally

    def _write(self, random: Random) -> None:
        try:
            while not self._stopping.is_set():
                self._session(random)
        except BaseException as error:  # noqa: BLE001 - told to whoever calls `stop`
            self._failures.append(error)

    def _session(self, random: Random) -> None:
        """Write until told to stop, or until the server is gone."""
        try:
            connection = psycopg2.connect(self._dsn, options=_SESSION, application_name="workload")
        except _AWAY:
            self._stopping.wait(_RECONNECT_SECONDS)
            return
        try:
            while not self._stopping.is_set():
                self._transaction(connection, random)
                if self._style.rate:
                    self._stopping.wait(random.expovariate(self._style.rate / self._style.writers))
        except _AWAY:
            return
        finally:
            connection.close()

    def _transaction(self, connection: Connection, random: Random) -> None:
        with connection.cursor() as cursor:
            transaction = Transaction(cursor)
            try:
                self._operate(transaction, random)
            except _CONFLICTS:
                self._roll_back(connection)
                return
        if random.random() < _ROLLED_BACK:
            self._roll_back(connection)
            return
        try:
            connection.commit()
        except _CONFLICTS:
            self._roll_back(connection)  # a deferred constraint
            return
        except _AWAY:
            with self._lock:
                self.tally.unknown += 1
            raise
        with self._lock:
            self.tally.committed += 1
            self.tally.changes.update(transaction.changes)

    def _operate(self, transaction: Transaction, random: Random) -> None:
        for _ in range(random.choice(self._style.operations)):
            (operation,) = random.choices(self._operations, self._weights)
            if self._style.savepoints and random.random() < _IN_SAVEPOINT:
                keep = random.random() >= _SAVEPOINT_ROLLED_BACK
                transaction.in_savepoint(operation.run, random, keep=keep)
            else:
                operation.run(transaction, random)

    def _roll_back(self, connection: Connection) -> None:
        connection.rollback()
        with self._lock:
            self.tally.rolled_back += 1
