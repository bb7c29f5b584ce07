"""Where records go: a file descriptor, written without ever waiting longer than the server may wait for an answer.

What `write` was given is taken once `flush` has returned. It does not know what a record means.
"""

import os
import select
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from walsync.errors import WalsyncError

_BUFFER_BYTES: Final = 65_536
_PIECE_BYTES: Final = 4_096
"""A pipe that is ready takes PIPE_BUF bytes without blocking; Linux has 4096."""
_TAIL_BYTES: Final = 65_536


class OutputClosed(WalsyncError):
    """Whoever read the output has gone; what it had not taken is not acknowledged."""


class Output:
    """Lines for one file descriptor; `meanwhile` is called before each write, and while the other side takes its time.

    It returns how many seconds to wait until it has to be called again, or raises what ends the writing.
    """

    def __init__(self, descriptor: int, meanwhile: Callable[[], float]) -> None:
        self._descriptor = descriptor
        self._meanwhile = meanwhile
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._lines: list[bytes] = []
        self._size = 0

    def write(self, record: bytes) -> None:
        """Take one record; written with those that follow."""
        self._lines.append(record)
        self._size += len(record) + 1
        if self._size >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Return when the file, the pipe or the terminal has everything; raises OutputClosed, or WS8002."""
        if not self._lines:
            return
        self._meanwhile()
        self._lines.append(b"")
        rest = memoryview(b"\n".join(self._lines))
        self._lines, self._size = [], 0
        try:
            while rest:
                rest = rest[self._write_piece(rest) :]
        except BrokenPipeError as error:
            raise OutputClosed(
                "WS8001",
                "whoever read the output has gone; what it had not taken is not acknowledged",
                hint="start again: a permanent slot goes on from there",
            ) from error
        except OSError as error:
            raise _unwritable(str(error.strerror)) from error

    def discard(self) -> None:
        """Forget the records that have not been written."""
        self._lines, self._size = [], 0

    def sync(self) -> None:
        """Flush; and where the output is a file, return when it would survive a crash."""
        self.flush()
        if self._is_file:
            os.fsync(self._descriptor)

    def _write_piece(self, rest: memoryview) -> int:
        if self._is_file:
            return os.write(self._descriptor, rest)
        ready = select.poll()
        ready.register(self._descriptor, select.POLLOUT)
        while not ready.poll(0):
            ready.poll(self._meanwhile() * 1000)
        return os.write(self._descriptor, rest[:_PIECE_BYTES])


def open_file(path: Path) -> int:
    """Open a file to write after what is in it; a record that was cut short, by a kill, is removed first."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            _end_last_line(descriptor)
    except OSError as error:
        raise _unwritable(f"{path}: {error.strerror}") from error
    return descriptor


def _end_last_line(descriptor: int) -> None:
    size = start = os.fstat(descriptor).st_size
    while start > 0:
        before = max(0, start - _TAIL_BYTES)
        newline = os.pread(descriptor, start - before, before).rfind(b"\n")
        start = before + newline + 1
        if newline >= 0:
            break
    if start == size:
        return
    if os.pread(descriptor, 1, start) == b"{":
        os.ftruncate(descriptor, start)
    else:
        os.write(descriptor, b"\n")  # a line of somebody else's, or for people: it stays


def _unwritable(reason: str) -> WalsyncError:
    return WalsyncError("WS8002", f"the output cannot be written: {reason}", hint="make room, or name another --output")
