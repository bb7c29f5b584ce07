"""SurrealDB behind its own protocol: reached by walsync through a proxy, read and troubled as root past it."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from cbor2 import CBORTag
from conformance.bench import Rows
from conformance.bench_surrealdb import TABLE_TAG, name, read_rows
from conformance.stream import SLOT
from fix_proxy import Proxy
from fix_surrealdb import PASSWORD, USER, SurrealServer

from walsync.settings import Secret
from walsync.source.table import Table
from walsync.target.surrealdb.settings import SurrealDBSettings
from walsync.target.surrealdb.target import SurrealDBTarget


@asynccontextmanager
async def target_of(settings: SurrealDBSettings) -> AsyncIterator[SurrealDBTarget]:
    """Make a target that is closed at the end of the block."""
    target = SurrealDBTarget(settings, SLOT)
    try:
        yield target
    finally:
        await target.close()


class ServerBench:
    """A database of its own on a server."""

    takes_tables_without_key = True

    def __init__(self, server: SurrealServer, proxy: Proxy) -> None:
        self.server = server
        self.proxy = proxy
        self.database = f"db{uuid.uuid4().hex[:12]}"
        self.made: list[SurrealDBTarget] = []

    def settings(self, target: str = "replica", /, **changes: Any) -> SurrealDBSettings:
        keys: dict[str, Any] = {
            "name": target,
            "type": "surrealdb",
            "url": self.server.url_at(self.proxy.port),
            "namespace": "app",
            "database": self.database,
            "username": USER,
            "password": Secret(PASSWORD),
        }
        return SurrealDBSettings(**{**keys, **changes})

    def target(self, name: str = "replica", *, collapse: bool = True) -> SurrealDBTarget:
        self.made.append(SurrealDBTarget(self.settings(name), SLOT, collapse=collapse))
        return self.made[-1]

    def rows(self, table: Table) -> Rows:
        (found,) = self.execute("SELECT * FROM $table", table=CBORTag(TABLE_TAG, name(table)))
        return read_rows(table, found)

    def drop(self, table: Table) -> None:
        self.execute(f"REMOVE TABLE `{name(table)}`")

    def forbid(self, table: Table, column: str, value: str) -> None:
        self.execute(f"DEFINE FIELD `{column}` ON `{name(table)}` ASSERT $value != '{value}'")

    def has_stages(self) -> bool:
        (found,) = self.execute("SELECT * FROM _walsync_stage")
        return bool(found)

    def wipe(self) -> None:
        self.execute("REMOVE TABLE _walsync")

    def vanish_while_writing(self) -> None:
        # What is sent is masked: the next bytes are those of the next request.
        self.proxy.on_bytes("to_server", b"", self.proxy.cut)

    def vanish(self) -> None:
        self.proxy.cut()

    @contextmanager
    def blocked(self, table: Table) -> Iterator[Callable[[], bool]]:
        sent: list[bool] = []
        self.execute(f"DEFINE EVENT wait ON `{name(table)}` THEN {{ sleep(1h) }}")
        self.proxy.on_bytes("to_server", b"", lambda: sent.append(True))
        yield lambda: bool(sent) and any(target._client.is_connected for target in self.made)
        self.execute(f"REMOVE EVENT wait ON `{name(table)}`")

    def execute(self, sql: str, **variables: object) -> list[Any]:
        """Ask as root; return each statement's result."""
        return self.server.execute(sql, "app", self.database, **variables)
