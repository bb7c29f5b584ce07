"""The engine inside this process, as a way to a database: CBOR, without the SDK's client, and a lock of our own.

The SDK's own `query` looks at the first statement's result only and cannot write NULL (docs/adr/0009). Its synchronous
class holds the GIL for as long as the engine works. Neither is used.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import cbor2

from walsync.errors import TargetRefused, TargetUnavailable
from walsync.target.surrealdb.engine import RequestFailed, Slot
from walsync.target.surrealdb.settings import MEMORY, SURREALKV, SurrealDBSettings

_SYNC: Final = "SURREAL_SYNC_DATA"
"""The engine's own switch, read once in a process: with it every commit ends with an fsync (counted with strace on
2.3.10: one per commit, and none without it). An acknowledgement rests on that."""


_MAJOR: Final = 2
"""Of the engine in the package, whose version is pinned."""

_END_SECONDS: Final = 2.0
"""How long abandoned work may take to end by itself before it is rolled back: an engine that is still at work when
the process ends panics at its exit."""


class EmbeddedEngine:
    """The engine of the package `surrealdb`, on a directory that it makes, or in memory."""

    def __init__(self, database: Any, lock: int | None) -> None:  # noqa: ANN401 - the package is optional
        self.is_lost = False
        self.major = _MAJOR
        self._database = database
        self._lock = lock

    async def query(self, request: bytes) -> Sequence[Slot]:
        """Execute statements; RequestFailed where they cannot be parsed."""
        slots = await self._call(request)
        return slots if isinstance(slots, list) else [{"status": "OK", "result": slots}]

    async def use(self, namespace: str, database: str) -> None:
        """Choose the namespace and database of all requests that follow."""
        await self._call(cbor2.dumps({"id": "1", "method": "use", "params": [namespace, database]}))

    async def close(self) -> None:
        """Let go of the directory, then of its lock."""
        # The engine ends when nothing refers to it any more; its own close() does nothing (2.3.10).
        self._database = None
        _unlock(self._lock)
        self._lock = None

    async def _call(self, request: bytes) -> object:
        working = asyncio.ensure_future(self._database.execute(request))
        try:
            answer = await asyncio.shield(working)
        except RuntimeError as error:
            raise RequestFailed(str(error)) from None
        except asyncio.CancelledError:
            working.add_done_callback(_take_exception)
            await asyncio.wait({working}, timeout=_END_SECONDS)
            working.cancel()
            raise
        return cbor2.loads(answer)["result"]


async def open_embedded(settings: SurrealDBSettings, create: bool) -> EmbeddedEngine | None:  # noqa: FBT001 - OpenEngine
    """Open the engine and take its lock; None where there is no directory and none is to be made."""
    about = f"target {settings.name}"
    make = _load(about)
    if settings.url == MEMORY:
        return await _connect(make, settings, None)
    path = Path(settings.url.removeprefix(SURREALKV))
    if not create and not await asyncio.to_thread(path.is_dir):
        return None
    lock = _take_lock(path, about)
    try:
        return await _connect(make, settings, lock)
    except BaseException:
        _unlock(lock)
        raise


async def _connect(make: Callable[[str], Any], settings: SurrealDBSettings, lock: int | None) -> EmbeddedEngine:
    try:
        database = make(settings.url)
        await database.connect()
        engine = EmbeddedEngine(database, lock)
        await engine.use(settings.namespace, settings.database)
    except (RuntimeError, RequestFailed) as error:
        raise TargetUnavailable(
            "WS4603",
            f"target {settings.name}: the engine cannot open {settings.url}: {error}",
            hint="see that the path is a directory that the engine made, or does not exist, and that it may be written",
        ) from None
    return engine


def _load(about: str) -> Callable[[str], Any]:
    os.environ[_SYNC] = "true"
    try:
        from surrealdb._surrealdb_ext import AsyncEmbeddedDB  # noqa: PLC0415 - optional; the SDK hides it
    except ImportError:
        raise TargetRefused(
            "WS4602",
            f"{about}: the package with SurrealDB's engine is not installed",
            hint="pip install 'walsync[surrealkv]'",
        ) from None
    return AsyncEmbeddedDB


def _take_lock(path: Path, about: str) -> int:
    """Lock a file beside the directory for as long as it is open: two engines on one directory destroy it."""
    name = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise TargetUnavailable(
            "WS4603",
            f"{about}: cannot open {name}: {error.strerror}",
            hint="see that the directory of `url` may be written",
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise TargetUnavailable(
            "WS4601",
            f"{about}: {path} is held by another process, which has locked {name}",
            hint=f"`fuser {name}` names it; two targets cannot share a directory either",
        ) from None
    return lock


def _take_exception(working: "asyncio.Future[bytes]") -> None:
    """Look at the outcome that nobody waits for, so that asyncio does not report it."""
    if not working.cancelled():
        working.exception()


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
