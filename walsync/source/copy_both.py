"""The frames of a COPY BOTH session, read and written through the libpq that psycopg2 itself has loaded.

psycopg2's own replication cursor is not used: on a keepalive it confirms the WAL's end by itself whenever the last
message's header LSN is not above its flush position, and what was read but not yet stored is lost. The connection and
START_REPLICATION are psycopg2's; from then on libpq is asked directly, and nothing is confirmed but what we write.
docs/adr/0004-own-frames.md has the story; tests/integration/test_copy_both.py shows the loss.
"""

import ctypes
import select
from typing import Final

from walsync.errors import SourceUnavailable
from walsync.postgres import Connection
from walsync.source.libpq import blocking, quick

_NOTHING_YET: Final = 0
_COPY_DONE: Final = -1


class CopyBoth:
    """A connection on which START_REPLICATION has succeeded; used by one thread at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection  # held: libpq's connection lives as long as psycopg2's object
        self._pgconn = connection.pgconn_ptr
        self._buffer = ctypes.c_void_p()
        self._buffer_address = ctypes.byref(self._buffer)

    @property
    def socket(self) -> int:
        """The file descriptor to wait on."""
        return int(quick.PQsocket(self._pgconn))

    def read(self) -> bytes | None:
        """Return the next frame that has arrived, or None; SourceUnavailable when the server ended the session."""
        length = quick.PQgetCopyData(self._pgconn, self._buffer_address, 1)
        if length > 0:
            try:
                return ctypes.string_at(self._buffer, length)
            finally:
                quick.PQfreemem(self._buffer)
        if length == _NOTHING_YET:
            return None
        raise SourceUnavailable("WS2002", f"the replication stream ended: {self._reason(length)}")

    def receive(self) -> None:
        """Take from the socket what is there, without waiting."""
        if not quick.PQconsumeInput(self._pgconn):
            raise SourceUnavailable("WS2002", f"the replication stream broke: {self._error()}")

    def wait(self, timeout: float, wake: int) -> bool:
        """Wait until something has arrived, `timeout` seconds have passed, or `wake` is readable; tell the first."""
        readable, _, _ = select.select([self.socket, wake], [], [], timeout)
        return self.socket in readable

    def write(self, frame: bytes) -> None:
        """Send one frame."""
        if blocking.PQputCopyData(self._pgconn, frame, len(frame)) != 1 or blocking.PQflush(self._pgconn) != 0:
            raise SourceUnavailable("WS2002", f"the replication stream broke: {self._error()}")

    def _reason(self, length: int) -> str:
        if length != _COPY_DONE:
            return self._error()
        result = blocking.PQgetResult(self._pgconn)
        if not result:
            return self._error()
        try:
            return _first_line(quick.PQresultErrorMessage(result)) or "the server closed it"
        finally:
            quick.PQclear(result)

    def _error(self) -> str:
        return _first_line(quick.PQerrorMessage(self._pgconn)) or "no reason given"


def _first_line(text: bytes | None) -> str:
    return (text or b"").decode(errors="replace").strip().split("\n")[0]
