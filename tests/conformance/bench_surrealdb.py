"""SurrealDB's engine under the tests of this folder; several targets share one engine, as they would a server."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import cbor2
from cbor2 import CBORTag
from conformance.bench import Rows
from conformance.stream import SLOT

from walsync.errors import TargetUnavailable
from walsync.source.table import Table
from walsync.target.surrealdb.embedded import EmbeddedEngine, open_embedded
from walsync.target.surrealdb.engine import Engine, Slot
from walsync.target.surrealdb.settings import MEMORY, SURREALKV, SurrealDBSettings
from walsync.target.surrealdb.statements import name as quote
from walsync.target.surrealdb.target import SurrealDBTarget

TABLE_TAG = 7
WRITES = b"SET lsn ="


def name(table: Table) -> str:
    return ".".join(table.target_name)


class Line:
    """One target's way to the engine, which can be cut."""

    def __init__(self, bench: "SurrealDBBench", engine: EmbeddedEngine) -> None:
        self.bench = bench
        self.engine = engine
        self.is_cut = False
        self.is_lost = False
        self.major = engine.major

    async def query(self, request: bytes) -> Sequence[Slot]:
        if self.is_cut:
            raise TargetUnavailable("WS4102", "the line is cut")
        if WRITES in request and self.bench.writes_left is not None:
            if self.bench.writes_left == 0:
                raise TargetUnavailable("WS4102", "the line was cut between two requests")
            self.bench.writes_left -= 1
        self.bench.under_way += 1
        try:
            answer = asyncio.ensure_future(self.engine.query(request))
            if WRITES in request and self.bench.cut_while_writing:
                self.bench.cut_while_writing = False
                self.bench.vanish()
                answer.cancel()
                raise TargetUnavailable("WS4102", "the line was cut")
            return await answer
        finally:
            self.bench.under_way -= 1

    async def close(self) -> None:
        self.is_cut = True


class SurrealDBBench:
    """An engine in memory, or on a directory: there, what it tells has to stand when another one opens it."""

    takes_tables_without_key = True

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine: EmbeddedEngine | None = None
        self.lines: list[Line] = []
        self.under_way = 0
        self.cut_while_writing = False
        self.writes_left: int | None = None
        """After so many slices the next one finds the line cut; for crashes between slices."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.engine is not None:
            self.read(
                *(f"SELECT * FROM {quote(table['name'])}" for table in self.read("INFO FOR DB STRUCTURE")[0]["tables"])
            )

    def settings(self, target: str = "replica") -> SurrealDBSettings:
        return SurrealDBSettings(name=target, type="surrealdb", url=self.url, namespace="app", database="app")

    def target(self, name: str = "replica", *, collapse: bool = True) -> SurrealDBTarget:
        return SurrealDBTarget(self.settings(name), SLOT, collapse=collapse, open_engine=self._open)

    def rows(self, table: Table) -> Rows:
        return read_rows(table, self.read("SELECT * FROM $table", table=CBORTag(TABLE_TAG, name(table)))[0])

    def told(self, table: Table) -> Rows:
        """Read a table while somebody may be writing."""
        (slot,) = self.execute("SELECT * FROM $table", table=CBORTag(TABLE_TAG, name(table)))
        return read_rows(table, slot["result"])

    def drop(self, table: Table) -> None:
        self.execute(f"REMOVE TABLE `{name(table)}`")

    def forbid(self, table: Table, column: str, value: str) -> None:
        self.execute(f"DEFINE FIELD `{column}` ON `{name(table)}` ASSERT $value != '{value}'")

    def has_stages(self) -> bool:
        return bool(self.execute("SELECT * FROM _walsync_stage")[0]["result"])

    def wipe(self) -> None:
        self.execute("REMOVE TABLE _walsync")

    def vanish_while_writing(self) -> None:
        self.cut_while_writing = True

    def vanish(self) -> None:
        for line in self.lines:
            line.is_cut = True

    @contextmanager
    def blocked(self, table: Table) -> Iterator[Callable[[], bool]]:
        self.execute(f"DEFINE EVENT wait ON `{name(table)}` THEN {{ sleep(1h) }}")
        yield lambda: self.under_way > 0
        self.execute(f"REMOVE EVENT wait ON `{name(table)}`")

    def execute(self, sql: str, **variables: object) -> list[dict[str, Any]]:
        """Ask the engine from outside of the event loop that the test runs on."""
        assert self.engine is not None
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, _ask(self.engine, sql, variables)).result()

    def read(self, *statements: str, **variables: object) -> list[Any]:
        """Read from the engine, and what a crash would leave of it: both have to tell the same.

        Engine 2.3 made this necessary: of a record that one transaction writes twice it may keep the first.
        """
        sql = "; ".join(statements)
        told = [slot["result"] for slot in self.execute(sql, **variables)]
        if self.url == MEMORY:
            return told
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
            left = Path(shutil.copytree(self.url.removeprefix(SURREALKV), f"{folder}/graph"))
            kept = thread.submit(asyncio.run, self._ask_what_is_left(left, sql, variables)).result()
        assert repr(kept) == repr(told)
        return told

    async def _ask_what_is_left(self, directory: Path, sql: str, variables: Mapping[str, object]) -> list[Any]:
        settings = self.settings().model_copy(update={"url": f"{SURREALKV}{directory}"})
        engine = await open_embedded(settings, create=False)
        assert engine is not None
        slots = await _ask(engine, sql, variables)
        await engine.close()
        return [slot["result"] for slot in slots]

    async def _open(self, settings: SurrealDBSettings, create: bool) -> Engine | None:  # noqa: FBT001 - OpenEngine
        self.engine = self.engine or await open_embedded(settings, create)
        if self.engine is None:
            return None
        self.lines.append(Line(self, self.engine))
        return self.lines[-1]


async def _ask(engine: EmbeddedEngine, sql: str, variables: Mapping[str, object]) -> list[dict[str, Any]]:
    request = cbor2.dumps({"id": "1", "method": "query", "params": [sql, variables]})
    slots: list[dict[str, Any]] = cbor2.loads(await engine._database.execute(request))["result"]
    assert all(slot["status"] == "OK" for slot in slots), slots
    return slots


def read_rows(table: Table, found: Sequence[Mapping[str, Any]]) -> Rows:
    """Write records as the texts of the columns."""
    return sorted((tuple(_text(_value(row, column)) for column in table.published) for row in found), key=repr)


def _value(row: Mapping[str, Any], column: str) -> object:
    """Find a column as docs/targets.md says: `id` is the record's id, or stands beside it as `id_`."""
    if column != "id" or "id_" in row:
        return row["id_" if column == "id" else column]
    return row["id"].value[1]


def _text(found: object) -> str | None:
    match found:
        case None | str():
            return found
        case bool():
            return "t" if found else "f"
        case bytes():
            return f"\\x{found.hex()}"
        case CBORTag():
            return str(found.value)
        case dict() | list() | tuple():
            return json.dumps(found)
        case int() | float() | UUID():
            return str(found)
        case _:
            raise AssertionError(found)
