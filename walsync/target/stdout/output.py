"""Writes to a file descriptor that may be a terminal, a pipe or a file, and gives up when nobody waits any more."""

import os
import select
import stat
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from walsync.errors import TargetRefused
from walsync.target.one_thread import go_on

STDOUT: Final = 1

_PIPE_BYTES: Final = select.PIPE_BUF
"""A pipe that says it can be written takes this much without blocking (POSIX, 512 at least)."""

_FILE_BYTES: Final = 1024**2
_LOOK_MILLISECONDS: Final = 100

_ONE_AT_A_TIME: Final = threading.Lock()
"""A process has one stdout, and may have several targets that print: their transactions do not mix."""


class Output:
    """Stdout, or whatever descriptor; a reader that is slow is waited for."""

    def __init__(self, descriptor: int, target: str) -> None:
        self._descriptor = descriptor
        self._target = target

    makes_folder = True

    def look(self) -> None:
        """Stdout is there."""

    def begin(self) -> Mapping[str, Any]:
        """Nothing has to be remembered beside the position."""
        return {}

    def resume(self, mark: Mapping[str, Any]) -> None:
        """Nothing can be taken back."""

    def append(self, lines: Iterable[bytes], abandoned: threading.Event) -> None:
        """Write the lines of one transaction; TargetRefused WS4704 where nobody will ever read them."""
        go_on(abandoned)
        left = memoryview(b"".join(line + b"\n" for line in lines))
        with _ONE_AT_A_TIME:
            is_file = self._is_file
            while left:
                if not is_file:
                    self._wait(abandoned)
                left = left[self._write(left[: _FILE_BYTES if is_file else _PIPE_BYTES]) :]

    def sync(self) -> Mapping[str, Any]:
        """Make it durable where stdout leads to a file."""
        if self._is_file:
            os.fsync(self._descriptor)
        return {}

    def drop(self) -> None:
        """Stdout stays open."""

    @property
    def _is_file(self) -> bool:
        return stat.S_ISREG(os.fstat(self._descriptor).st_mode)

    def _write(self, part: memoryview) -> int:
        try:
            return os.write(self._descriptor, part)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            raise self._closed() from None

    def _wait(self, abandoned: threading.Event) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while True:
            go_on(abandoned)
            for _, events in poll.poll(_LOOK_MILLISECONDS):
                if events & (select.POLLERR | select.POLLNVAL):
                    raise self._closed()
                if events & select.POLLOUT:
                    return

    def _closed(self) -> TargetRefused:
        return TargetRefused(
            "WS4704",
            f"target {self._target}: stdout is closed: nobody reads it any more",
            hint="start walsync again together with what reads it; what was not taken comes again",
        )
