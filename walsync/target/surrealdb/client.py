"""The one way of a SurrealDB target to its database: opens it, scans every answer, and knows whether the claim holds.

It never reconnects under a writer: a lost engine or an unknown outcome makes the claim void.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from walsync.errors import TargetUnavailable
from walsync.target.base import Writer
from walsync.target.surrealdb.engine import Engine, OpenEngine, RequestFailed, Slot, encode
from walsync.target.surrealdb.failures import THROWN, error_of, is_undefined, judge
from walsync.target.surrealdb.settings import SurrealDBSettings
from walsync.target.surrealdb.statements import GONE, OURS, STORE

_OURS: Final = f"{THROWN}{OURS}"


class Thrown(Exception):
    """A THROW of ours: the text after ``walsync:`` says what was found. Nothing was written."""


class Failed(Exception):
    """A statement failed for a reason that nobody has judged yet. Nothing was written."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class Client:
    """Sends requests, one at a time; opens the engine when the first one comes."""

    def __init__(self, settings: SurrealDBSettings, open_engine: OpenEngine) -> None:
        self.about = f"target {settings.name}"
        self._settings = settings
        self._open = open_engine
        self._engine: Engine | None = None
        self._writer: Writer | None = None
        self._turn = asyncio.Lock()
        """A table is staged while batches are written: their requests take turns."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a way to the database."""
        return self._engine is not None and not self._engine.is_lost

    @property
    def major(self) -> int:
        """The version of the open database."""
        return self._engine.major if self._engine is not None else 0

    @property
    def writer(self) -> Writer:
        """Who has claimed the target, with nothing lost since then."""
        if self._writer is None:
            raise TargetUnavailable("WS4103", f"{self.about}: not claimed since its engine was lost")
        return self._writer

    def claimed_by(self, writer: Writer | None) -> None:
        """Note who may write from now on."""
        self._writer = writer

    async def exists(self) -> bool:
        """Open the database if there is one; makes none."""
        await self._drop_lost()
        if self._engine is None:
            self._engine = await self._open(self._settings, False)  # noqa: FBT003 - OpenEngine
        return self._engine is not None

    async def create(self) -> None:
        """Open the database; made where it does not exist."""
        await self._drop_lost()
        if self._engine is None:
            self._engine = await self._open(self._settings, True)  # noqa: FBT003 - OpenEngine

    async def ask(self, sql: str, variables: Mapping[str, object]) -> Any:  # noqa: ANN401 - whatever was asked for
        """Execute one statement that reads, and return its value."""
        return (await self._execute(sql, variables))[0]["result"]

    async def do(self, sql: str, variables: Mapping[str, object]) -> None:
        """Execute statements that write; all of them have succeeded when it returns."""
        await self._execute(sql, variables)

    async def try_out(self, request: bytes) -> None:
        """Execute a request that is ready; Thrown and Failed are the caller's to judge, and the claim stays."""
        await self._attempt(request)

    async def close(self) -> None:
        """Give the engine back; the next request opens it again."""
        self._writer = None
        if self._engine is not None:
            engine, self._engine = self._engine, None
            await engine.close()

    async def _drop_lost(self) -> None:
        if self._engine is not None and self._engine.is_lost:
            await self.close()

    async def _execute(self, sql: str, variables: Mapping[str, object]) -> Sequence[Slot]:
        try:
            return await self._attempt(await asyncio.to_thread(encode, sql, variables))
        except Failed as failed:
            error = judge(failed.text, self.about)
            if isinstance(error, TargetUnavailable):
                self._writer = None
            raise error from None

    async def _attempt(self, request: bytes) -> Sequence[Slot]:
        async with self._turn:
            return await self._query(request)

    async def _query(self, request: bytes) -> Sequence[Slot]:
        if not self.is_connected or self._engine is None:
            self._writer = None
            raise TargetUnavailable("WS4103", f"{self.about}: not connected since the connection was lost")
        try:
            slots = await self._engine.query(request)
        except RequestFailed as failed:
            raise Failed(str(failed)) from None
        except TargetUnavailable:
            await self.close()
            raise
        except BaseException:
            # Abandoned: it may have been executed or not.
            self._writer = None
            raise
        text = error_of(slots)
        if text is None:
            return slots
        if is_undefined(text, STORE):
            # 3.x: somebody has removed what walsync keeps, or it was never made.
            raise Thrown(GONE)
        if text.startswith(_OURS):
            raise Thrown(text.removeprefix(_OURS))
        raise Failed(text)
