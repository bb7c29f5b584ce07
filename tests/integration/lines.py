"""The table `lines` in a target of each kind: its block of the configuration, and how to read it."""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from fix_postgres import Database
from fix_rest_api import RestApi
from fix_surrealdb import PASSWORD, USER, VERSIONS, SurrealServer
from fix_workerd import SECRET, Workerd
from integration.test_file_killed import fold
from integration.test_surrealdb_killed import read

NAME = "replica"
# Without a key a row that is applied twice stands there twice.
CREATE = "CREATE TABLE lines (line text); ALTER TABLE lines REPLICA IDENTITY FULL; INSERT INTO lines VALUES ('copied')"


@dataclass(frozen=True)
class Kind:
    """A target: its block of the configuration, and what stands in it when nobody writes."""

    entry: Mapping[str, Any]
    rows: Callable[[], list[str]]
    takes_one_process: bool = False
    """Whether a second process cannot reach it as long as the first one lives."""

    ends_sessions: bool = False
    """Whether the second process ends what the first one has open there, which then has to claim it anew."""


Make = Callable[[pytest.FixtureRequest], Kind]


def postgres(request: pytest.FixtureRequest) -> Kind:
    target: Database = request.getfixturevalue("target")
    query = "SELECT line FROM lines ORDER BY line"
    return Kind(
        {"type": "postgres", "dsn": target.dsn},
        lambda: [line for (line,) in target.execute(query)],
        ends_sessions=True,
    )


def d1(request: pytest.FixtureRequest) -> Kind:
    path: Path = request.getfixturevalue("tmp_path") / "local.sqlite"

    def rows() -> list[str]:
        with closing(sqlite3.connect(path)) as connection:
            return [line for (line,) in connection.execute("SELECT line FROM lines ORDER BY line")]

    return Kind({"type": "d1", "url": f"sqlite://{path}"}, rows)


def d1_gateway(request: pytest.FixtureRequest) -> Kind:
    workerd: Workerd = request.getfixturevalue("workerd")
    database: str = request.getfixturevalue("d1_database")
    plain = workerd.plain(database)
    return Kind(
        {"type": "d1", "url": workerd.url, "database": database, "secret": SECRET},
        lambda: [line for (line,) in plain.execute("SELECT line FROM lines ORDER BY line")],
    )


def surrealdb(request: pytest.FixtureRequest) -> Kind:
    directory: Path = request.getfixturevalue("tmp_path") / "graph"
    keys = {"type": "surrealdb", "url": f"surrealkv://{directory}", "namespace": "app", "database": "app"}
    return Kind(keys, lambda: sorted(row["line"] for row in read(directory, "lines")[0]), takes_one_process=True)


def surrealdb_server(version: str) -> Make:
    def make(request: pytest.FixtureRequest) -> Kind:
        start: Callable[[str], SurrealServer] = request.getfixturevalue("start_surrealdb")
        server = start(version)
        names = {"namespace": "app", "database": "app", "username": USER, "password": PASSWORD}
        return Kind(
            {"type": "surrealdb", "url": server.url, **names},
            lambda: sorted(row["line"] for row in server.execute("SELECT * FROM lines")[0]),
        )

    return make


def file(request: pytest.FixtureRequest) -> Kind:
    path: Path = request.getfixturevalue("tmp_path") / "changes.jsonl"
    return Kind(
        {"type": "file", "path": str(path)}, lambda: sorted(str(row["line"]) for row in fold(path)["lines"].rows)
    )


def d1_rest(request: pytest.FixtureRequest) -> Kind:
    workerd: Workerd = request.getfixturevalue("workerd")
    database: str = request.getfixturevalue("d1_database")
    api: RestApi = request.getfixturevalue("rest_api")
    source: Database = request.getfixturevalue("source")
    request.getfixturevalue("replication")
    source.execute("ALTER TABLE lines ADD PRIMARY KEY (line)")  # it takes no table without
    plain = workerd.plain(database)
    return Kind(
        api.target(database, NAME),
        lambda: [line for (line,) in plain.execute("SELECT line FROM lines ORDER BY line")],
    )


def stdout(request: pytest.FixtureRequest) -> Kind:
    folder: Path = request.getfixturevalue("tmp_path")

    def rows() -> list[str]:
        """Read what both have printed; a line that one of them had not noted as printed is there twice."""
        return sorted({str(row["line"]) for path in folder.glob("*/stdout") for row in fold(path)["lines"].rows})

    return Kind({"type": "stdout", "checkpoint": str(folder / "shared.checkpoint")}, rows)


KINDS: Final[Mapping[str, Make]] = {
    "postgres": postgres,
    "d1": d1,
    "d1 gateway": d1_gateway,
    "d1 rest": d1_rest,
    "surrealdb": surrealdb,
    **{f"surrealdb {version}": surrealdb_server(version) for version in VERSIONS},
    "file": file,
    "stdout": stdout,
}
