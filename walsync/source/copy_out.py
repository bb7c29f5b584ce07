"""Reads COPY ... TO STDOUT in chunks of whole rows, through the libpq that psycopg2 itself has loaded.

psycopg2's own copy_expert gives the GIL up and takes it back around each row: where another thread is busy with Python,
50,000 rows took 0.20 s so, and 0.08 s with one call per chunk. The twin in Python is for where there is no C compiler.
"""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

import psycopg2
from psycopg2.errors import lookup

from walsync.postgres import Connection
from walsync.source.libpq import address, blocking, quick

_COMMAND_OK: Final = 1
_COPY_OUT: Final = 3
_SQLSTATE: Final = ord("C")
_MESSAGE: Final = ord("M")
_NOTHING_YET: Final = 0
_REASON_BYTES: Final = 256


class Chunk(NamedTuple):
    """Whole lines of COPY text, and how many."""

    lines: bytes
    rows: int


class CopyOut:
    """A COPY at work on a connection in autocommit mode; used by one thread at a time. Raises psycopg2.Error."""

    def __init__(self, connection: Connection, statement: bytes) -> None:
        self._connection = connection  # held: libpq's connection lives as long as psycopg2's object
        self._pgconn = connection.pgconn_ptr or 0
        self._ended = False
        result = blocking.PQexec(self._pgconn, statement)
        try:
            if not result or quick.PQresultStatus(result) != _COPY_OUT:
                raise self._error(result)
        finally:
            quick.PQclear(result)

    def read(self, wanted: int) -> Chunk:
        """Return whole rows of `wanted` bytes or a little more, less only at the end; then none."""
        if self._ended:
            return Chunk(b"", 0)
        lines, rows, answer = read_rows(self._pgconn, _GET_COPY_DATA, _FREEMEM, wanted)
        if answer <= 0:
            self._ended = True
            self._finish()
        return Chunk(lines, rows)

    def _finish(self) -> None:
        failure: psycopg2.Error | None = None
        while result := blocking.PQgetResult(self._pgconn):
            if quick.PQresultStatus(result) != _COMMAND_OK:
                failure = failure or self._error(result)
            quick.PQclear(result)
        if failure is not None:
            raise failure

    def _error(self, result: int | None) -> psycopg2.Error:
        state, message = (_text(quick.PQresultErrorField(result, field)) for field in (_SQLSTATE, _MESSAGE))
        message = message or _text(quick.PQerrorMessage(self._pgconn)) or "no reason given"
        with suppress(KeyError):
            return lookup(state)(message)
        return psycopg2.OperationalError(message)


def cancellation(connection: Connection) -> Callable[[], None]:
    """Prepare to ask the server to end what the connection is doing; the asking connects anew, so it may hang.

    Unlike psycopg2's cancel() it leaves the GIL to others meanwhile, and the connection may be closed before.
    """
    request = quick.PQgetCancel(connection.pgconn_ptr)

    def ask() -> None:
        if request:
            blocking.PQcancel(request, ctypes.create_string_buffer(_REASON_BYTES), _REASON_BYTES)
            quick.PQfreeCancel(request)

    return ask


def read_rows_in_python(connection: int, get_copy_data: int, freemem: int, wanted: int) -> tuple[bytes, int, int]:
    """Join rows until they are `wanted` bytes or there are no more; return them, how many, and libpq's last answer."""
    del get_copy_data, freemem  # the twin in C needs to be told where they are
    rows: list[bytes] = []
    row = ctypes.c_void_p()
    at, used, length = ctypes.byref(row), 0, 0
    while used < wanted:
        # What has arrived is taken with the GIL: giving it up for a microsecond can cost a turn of another thread.
        length = quick.PQgetCopyData(connection, at, 1)
        if length == _NOTHING_YET:
            length = blocking.PQgetCopyData(connection, at, 0)
        if length <= 0:
            break
        rows.append(ctypes.string_at(row, length))
        quick.PQfreemem(row)
        used += length
    return b"".join(rows), len(rows), length


def _text(given: bytes | None) -> str:
    return (given or b"").decode(errors="replace").strip()


_GET_COPY_DATA: Final = address("PQgetCopyData")
_FREEMEM: Final = address("PQfreemem")

try:
    from walsync.source.compiled import read_rows
except ImportError:  # no C compiler was there when walsync was installed
    read_rows = read_rows_in_python

COMPILED: Final = read_rows is not read_rows_in_python
