"""The way to a D1 database in a file, and the one thread that its blocking calls run in.

It reopens the file by itself; whether somebody else wrote meanwhile is for the fence in the request to find out.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from walsync.errors import TargetRefused, TargetUnavailable
from walsync.target.base import Finding
from walsync.target.d1.client import NOTHING, read_checkpoint
from walsync.target.d1.engine import MAX_STATEMENTS, MINIMUM_VERSION, Engine
from walsync.target.d1.failures import judge
from walsync.target.d1.request import Encoding, Request, Result

T = TypeVar("T")

_END_SECONDS: Final = 5.0
"""How long an abandoned request may take to end: it is interrupted, so only a stuck disk takes longer."""


class EmbeddedClient:
    """Runs requests on one file, one at a time, off the event loop."""

    statements = MAX_STATEMENTS
    by_wire = False
    request_bytes = 8 * 1024**2

    def __init__(self, path: Path, about: str) -> None:
        self.path = path
        self._about = about
        self._engine: Engine | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=about.replace(" ", "-"))

    @property
    def waits_for_lock(self) -> bool:
        """Whether a request waits because somebody else writes to the file."""
        return self._engine is not None and self._engine.waits_for_lock

    def exists(self) -> bool:
        """Tell whether there is a file; TargetUnavailable where it could not be made, or not be written."""
        folder, exists = self.path.parent, self.path.exists()
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise TargetUnavailable(
                "WS4101",
                f"{self._about}: the folder {folder} is not there, or walsync may not write to it",
                hint=f"make the folder and let walsync write there: mkdir -p {folder}",
            )
        if exists and not os.access(self.path, os.R_OK | os.W_OK):
            raise TargetUnavailable(
                "WS4104", f"{self._about}: walsync may not write to {self.path}", hint=f"chmod u+rw {self.path}"
            )
        return exists

    async def batch(self, request: Request, shared: Encoding = NOTHING, *, create: bool = False) -> list[Result]:
        """Run a request; `create` makes the file where it is absent.

        TargetUnavailable, TargetRefused, or GuardRaised. Cancelling takes the request back, unless its COMMIT was under
        way.
        """
        abandoned = threading.Event()
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, self._work, [*request, *shared], create, abandoned)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            abandoned.set()
            if self._engine is not None:
                self._engine.interrupt()
            future.add_done_callback(_take_exception)
            await asyncio.wait({future}, timeout=_END_SECONDS)
            raise

    async def checkpoint(self, slot: str, target: str) -> Sequence[Any] | None:
        """Read the row of the checkpoint; None where there is none, or no file."""
        return await read_checkpoint(self, slot, target)

    def findings(self) -> Sequence[Finding]:
        """Find nothing: a file takes whatever D1 takes."""
        return ()

    async def close(self) -> None:
        """Close the file and end the thread."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._drop)
        self._executor.shutdown(wait=False)

    def _work(self, request: Request, create: bool, abandoned: threading.Event) -> list[Result]:  # noqa: FBT001 - run_in_executor passes no keywords
        try:
            return self._open(create=create).batch(request, abandoned)
        except sqlite3.Error as error:
            failure = judge(error, self._about)
            if isinstance(failure, TargetUnavailable):
                self._drop()
            raise failure from None

    def _open(self, *, create: bool) -> Engine:
        if sqlite3.sqlite_version_info < MINIMUM_VERSION:
            raise TargetRefused(
                "WS4507",
                f"{self._about}: this Python has SQLite {sqlite3.sqlite_version}",
                hint="use a Python built with SQLite 3.38 or later",
            )
        if create or (self._engine is not None and not self._engine.is_current()):
            self._drop()
        if self._engine is None:
            self._engine = Engine(self.path, create=create)
        return self._engine

    def _drop(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def _take_exception(future: asyncio.Future[T]) -> None:
    """Look at the outcome that nobody waits for, so that asyncio does not report it."""
    if not future.cancelled():
        future.exception()
