"""The five targets of a run, of three kinds: what each is to have, and how it is reached.

The seed decides whether SurrealDB is embedded or served. D1 stands in files; on workerd, by gateway and by REST, it is
troubled in acceptance/troubled.py.
"""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from acceptance import values as v
from acceptance import zoo
from acceptance.reading import Part, Place
from acceptance.reading_d1 import D1File
from acceptance.reading_postgres import PostgresDatabase
from acceptance.reading_surrealdb import SurrealDBDirectory, SurrealDBServed
from acceptance.run import execute
from acceptance.three_kinds import EVERYTHING, REGION
from chaos.lines import DirectoryLine, FileLine, Line, ServerLine
from fix_proxy import Proxy
from fix_surrealdb import SurrealServer

from walsync.demo.engines import PostgresServer

LEDGER: Final = zoo.Table(
    "ledger",
    [
        zoo.Column("id", "bigint", v.small(6_000), "PRIMARY KEY"),
        zoo.Column("amount", "integer", v.small(100), "NOT NULL"),
        zoo.Column("note", "text", v.nullable(v.sometimes_big)),
    ],
    key=("id",),
    external=("note",),
)
"""Changed by transactions of thousands of rows."""

TABLES: Final = (*zoo.TABLES, LEDGER)
ALL: Final = [*EVERYTHING, Part(LEDGER)]
REPLICA: Final = "replica"
MIRROR: Final = "mirror"

COME_AND_GO: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("documents", "queue_b", "measurements", "ledger", "flags"),
    REPLICA: ("labels", "parents"),
    MIRROR: ("moments", "children"),
    "everything": ("bag", "seats"),
    "region": ("queue_a",),
    "graph": ("entries", "everything"),
}
"""The tables that leave the source's list, under "", and those of single targets; all of the schema app."""

COPIED: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys((REPLICA, MIRROR, "everything", "graph"), ("full_with_key", "log", "by_index")),
    "region": ("full_with_key",),
}
"""The tables of each target that are copied again on demand."""


@dataclass(frozen=True)
class Station:
    """A target and the way to it."""

    place: Place
    line: Line


def stations(stack: ExitStack, server: PostgresServer, folder: Path, *, served: bool) -> list[Station]:
    """Make the ways to all targets, which the stack ends; the databases on `server` are there."""
    lines = [_postgres(stack, server, name, base) for name, base in ((REPLICA, "postgres"), (MIRROR, MIRROR))]
    everything, region = folder / "everything.sqlite", folder / "region.sqlite"
    graph = _graph_served(stack, folder) if served else _graph(folder)
    return [
        *lines,
        Station(D1File("everything", everything, ALL), FileLine(everything)),
        Station(D1File("region", region, REGION), FileLine(region)),
        graph,
    ]


def _postgres(stack: ExitStack, server: PostgresServer, name: str, database: str) -> Station:
    proxy = stack.enter_context(Proxy(server.host, server.port))
    place = PostgresDatabase(name, server.dsn(database), ALL, reached=proxy.dsn(database))
    wipe = partial(execute, place.dsn, "DROP SCHEMA IF EXISTS walsync CASCADE")
    return Station(place, ServerLine(proxy, b"COMMIT", wipe))


def _graph(folder: Path) -> Station:
    path = folder / "graph"
    return Station(
        SurrealDBDirectory("graph", path, ALL), DirectoryLine(path, partial(shutil.rmtree, path, ignore_errors=True))
    )


def _graph_served(stack: ExitStack, folder: Path) -> Station:
    server = stack.enter_context(SurrealServer("3.0", folder / "surrealdb"))
    proxy = stack.enter_context(Proxy(server.host, server.port))
    place = SurrealDBServed("graph", folder / "graph", ALL, server=server, port=proxy.port)
    # A client masks what it sends over a WebSocket: nothing can be recognised there.
    return Station(place, ServerLine(proxy, b"", partial(server.execute, "REMOVE DATABASE IF EXISTS app")))
