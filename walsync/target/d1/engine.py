"""SQLite with D1's rules, so that a request that passes here passes on D1: its limits, its refusals, its numbers.

One connection, to be used by one thread at a time. Errors are those of the sqlite3 module; `failures` judges them.
docs/adr/0008-d1-rules-on-sqlite.md says which rules are held here and which are not.
"""

import math
import sqlite3
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from walsync.target.d1.request import Parameter, Request, Result, Statement

MINIMUM_VERSION: Final = (3, 38, 0)
"""The operator ->> and the whole of JSON as part of the library."""

LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_LENGTH: 2_000_000,  # a string, a blob, or a whole row
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 5,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 100,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 32,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 50,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
}
"""D1's, from its documentation and measured on workerd."""

MAX_STATEMENTS: Final = 1000
"""Of one request; D1 counts the queries of a Worker's invocation."""

_PRAGMAS: Final = frozenset(
    {
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "optimize",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
    }
)
_FUNCTIONS: Final = frozenset(
    {
        "ceiling",
        "load_extension",
        "power",
        "soundex",
        "sqlite_compileoption_get",
        "sqlite_compileoption_used",
        "sqlite_source_id",
        "sqlite_version",
        "subtype",
    }
)
_ACTIONS: Final = frozenset(
    {
        sqlite3.SQLITE_ATTACH,
        sqlite3.SQLITE_CREATE_TEMP_INDEX,
        sqlite3.SQLITE_CREATE_TEMP_TABLE,
        sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
        sqlite3.SQLITE_CREATE_TEMP_VIEW,
        sqlite3.SQLITE_DETACH,
        sqlite3.SQLITE_DROP_TEMP_INDEX,
        sqlite3.SQLITE_DROP_TEMP_TABLE,
        sqlite3.SQLITE_DROP_TEMP_TRIGGER,
        sqlite3.SQLITE_DROP_TEMP_VIEW,
        sqlite3.SQLITE_SAVEPOINT,
    }
)
"""What D1 refuses by name, by function and by kind; BEGIN, COMMIT and ROLLBACK are the request's own."""

_RESERVED_PREFIX: Final = "_cf_"

# Spelled like nobody else would: a statement prepared for us must not be found in the cache by somebody's SQL.
_BEGIN: Final = "BEGIN /* request */"
_COMMIT: Final = "COMMIT /* request */"
_ROLLBACK: Final = "ROLLBACK /* request */"

_LOCK_SECONDS: Final = 5.0
"""How long a request waits while another process writes to the file, before the target counts as unavailable."""

_LOCK_POLL_SECONDS: Final = 0.02


class Abandoned(Exception):
    """Nobody waits for this request any more; nothing of it was taken."""


class Engine:
    """An open file in WAL mode: others read while it is written, and what is committed survives a power cut."""

    def __init__(self, path: Path, *, create: bool) -> None:
        self.waits_for_lock = False
        self._own = False
        self._path = path
        mode = "rwc" if create else "rw"
        self._connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode={mode}",
            uri=True,
            timeout=0,  # `batch` waits, and can be told to stop
            isolation_level=None,
            check_same_thread=False,  # interrupt() and close() come from the loop's thread
        )
        try:
            self._prepare(create=create)
            self._file = _identity(path)
        except BaseException:
            self._connection.close()
            raise

    def batch(self, request: Request, abandoned: threading.Event) -> list[Result]:
        """Run all statements as one transaction; waits while somebody else writes to the file."""
        deadline = time.monotonic() + _LOCK_SECONDS
        try:
            while True:
                try:
                    return self._transact(request, abandoned)
                except sqlite3.OperationalError as error:
                    # From the beginning: what was read may have changed meanwhile.
                    if not _is_locked(error) or time.monotonic() > deadline:
                        raise
                self.waits_for_lock = True
                if abandoned.wait(_LOCK_POLL_SECONDS):
                    raise Abandoned
        finally:
            self.waits_for_lock = False

    def is_current(self) -> bool:
        """Tell whether the path still leads to this file: writes to a deleted one would succeed, and be lost."""
        return _identity(self._path) == self._file

    def interrupt(self) -> None:
        """Make a statement that is running end with an error; from any thread."""
        with suppress(sqlite3.ProgrammingError):
            self._connection.interrupt()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _prepare(self, *, create: bool) -> None:
        connection = self._connection
        if create:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        # Reads the file: one that is no database is found here.
        connection.execute("PRAGMA schema_version").fetchall()
        if not _knows(connection, "unhex"):  # before SQLite 3.41
            connection.create_function("unhex", 1, _unhex, deterministic=True)
        if not _knows(connection, "atan2"):  # an SQLite built without mathematics, which D1 has
            connection.create_function("atan2", 2, _atan2, deterministic=True)
        for limit, value in LIMITS.items():
            connection.setlimit(limit, value)
        connection.set_authorizer(self._authorize)

    def _transact(self, request: Request, abandoned: threading.Event) -> list[Result]:
        self._control(_BEGIN)
        try:
            results = []
            for statement in request:
                _go_on(abandoned)
                results.append(self._run(statement))
            _go_on(abandoned)
            self._control(_COMMIT)
        except BaseException:
            # Some errors have rolled back already: disk full, interrupted.
            if self._connection.in_transaction:
                self._control(_ROLLBACK)
            raise
        return results

    def _run(self, statement: Statement) -> Result:
        cursor = self._connection.execute(statement.sql, list(map(_bound, statement.parameters)))
        return Result(cursor.fetchall(), cursor.rowcount)

    def _control(self, sql: str) -> None:
        self._own = True
        try:
            self._connection.execute(sql)
        finally:
            self._own = False

    def _authorize(
        self, action: int, first: str | None, second: str | None, _database: str | None, _inner: str | None
    ) -> int:
        refused = (
            action in _ACTIONS
            or (action == sqlite3.SQLITE_TRANSACTION and not self._own)
            or (action == sqlite3.SQLITE_PRAGMA and (first or "").lower() not in _PRAGMAS)
            or (action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FUNCTIONS)
            or (first or "").lower().startswith(_RESERVED_PREFIX)
            or (action == sqlite3.SQLITE_READ and (first or "").lower() == "dbstat")
        )
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _go_on(abandoned: threading.Event) -> None:
    if abandoned.is_set():
        raise Abandoned


def _is_locked(error: sqlite3.Error) -> bool:
    return error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _bound(parameter: Parameter) -> Parameter:
    """Bind a number as JavaScript does; an int of Python's would be an INTEGER here and never on D1."""
    return parameter if parameter is None or isinstance(parameter, str) else float(parameter)


def _knows(connection: sqlite3.Connection, function: str) -> bool:
    found: Iterable[object] = connection.execute(
        "SELECT 1 FROM pragma_function_list WHERE name = ?1", (function,)
    ).fetchall()
    return bool(found)


def _atan2(y: object, x: object) -> float | None:
    """Return the angle of two REALs as SQLite's own atan2() does: NULL for anything else."""
    return math.atan2(y, x) if isinstance(y, float) and isinstance(x, float) else None


def _unhex(text: str | None) -> bytes | None:
    """Read hexadecimal digits as SQLite's own unhex() does: NULL for anything else."""
    if text is None:
        return None
    with suppress(ValueError):
        found = bytes.fromhex(text)
        return found if len(found) * 2 == len(text) else None
    return None
