"""How the targets are reached, and what can be done to that: a proxy, a file that others lock too, a directory."""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, Protocol

from chaos.schedule import TROUBLES, Blow
from fix_proxy import Proxy

LOCK_SECONDS: Final = 30
MID_BATCH_BYTES: Final = 20_000


class Line(Protocol):
    """The way to a target. `wipe` removes what walsync has stored there; it is not in the configuration then."""

    @property
    def troubles(self) -> Collection[Blow]: ...

    @property
    def needs_restart(self) -> bool:
        """Whether trouble can come only while walsync does not run."""
        ...

    def trouble(self, blow: Blow, number: int) -> None:
        """Make trouble, which lasts until `back`."""
        ...

    def back(self) -> None: ...

    def wipe(self) -> None: ...


class ServerLine:
    """A server behind a proxy. `commit` is what a client sends, in one piece, to have its work taken."""

    needs_restart = False

    def __init__(self, proxy: Proxy, commit: bytes, wipe: Callable[[], object]) -> None:
        self._proxy = proxy
        self._commit = commit
        self._wipe = wipe
        self.troubles = TROUBLES if commit else tuple(blow for blow in TROUBLES if blow is not Blow.LOSE_REQUEST)

    def trouble(self, blow: Blow, number: int) -> None:
        proxy = self._proxy
        match blow:
            case Blow.REFUSE:
                proxy.go_away()
            case Blow.HOLD:
                proxy.hold()
            case Blow.GONE:
                proxy.refuse()
                proxy.cut_after(1 + number % MID_BATCH_BYTES, "to_server")
            case Blow.LOSE_REQUEST:
                proxy.on_bytes("to_server", self._commit, proxy.cut)
            case Blow.LOSE_ANSWER if self._commit:
                proxy.on_bytes("to_server", self._commit, lambda: proxy.hold("to_client"))
            case _:  # whatever it asks now, it is not told
                proxy.hold("to_client")

    def back(self) -> None:
        proxy = self._proxy
        proxy.calm()
        proxy.cut()
        proxy.resume()
        proxy.accept()

    def wipe(self) -> None:
        self._wipe()


class FileLine:
    """A D1 file, which somebody else writes to for a long time."""

    needs_restart = False
    troubles = (Blow.HOLD,)

    def __init__(self, path: Path) -> None:
        self._path = path
        self._other: sqlite3.Connection | None = None

    def trouble(self, _blow: Blow, _number: int) -> None:
        self._other = sqlite3.connect(self._path, timeout=LOCK_SECONDS, isolation_level=None)
        self._other.execute("BEGIN IMMEDIATE")

    def back(self) -> None:
        if self._other is not None:
            self._other.close()
            self._other = None

    def wipe(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


class DirectoryLine:
    """A SurrealDB directory, which another process holds."""

    needs_restart = True
    troubles = (Blow.REFUSE,)

    def __init__(self, path: Path, wipe: Callable[[], object]) -> None:
        self._lock_path = path.with_name(path.name + ".lock")
        self._wipe = wipe
        self._lock = -1

    def trouble(self, _blow: Blow, _number: int) -> None:
        self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def back(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def wipe(self) -> None:
        self._wipe()
