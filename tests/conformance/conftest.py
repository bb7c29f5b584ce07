"""One bench per kind of target: every test of this folder runs on each."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Final

import pytest
from conformance.bench import Bench, PostgresBench, Tracked
from conformance.bench_d1 import D1Bench
from conformance.bench_d1_gateway import D1GatewayBench, D1RestBench
from conformance.bench_lines import FileBench, StdoutBench
from conformance.bench_surrealdb import SurrealDBBench
from conformance.bench_surrealdb_server import ServerBench
from fix_postgres import Database
from fix_proxy import NewLine, Proxy
from fix_surrealdb import VERSIONS, SurrealServer
from fix_workerd import Workerd


def postgres(request: pytest.FixtureRequest) -> Bench:
    database: Database = request.getfixturevalue("target")
    line_to: NewLine = request.getfixturevalue("line_to")
    return PostgresBench(database, line_to(database))


def surrealdb(request: pytest.FixtureRequest) -> Bench:
    directory: Path = request.getfixturevalue("tmp_path")
    return SurrealDBBench(f"surrealkv://{directory}/graph")


def surrealdb_server(version: str) -> Callable[[pytest.FixtureRequest], Bench]:
    def make(request: pytest.FixtureRequest) -> Bench:
        servers: Callable[[str], SurrealServer] = request.getfixturevalue("surrealdb_servers")
        new_proxy: Callable[[str, int], Proxy] = request.getfixturevalue("new_proxy")
        server = servers(version)
        return ServerBench(server, new_proxy(server.host, server.port))

    return make


def d1(request: pytest.FixtureRequest) -> Bench:
    folder: Path = request.getfixturevalue("tmp_path")
    return D1Bench(folder)


def d1_gateway(request: pytest.FixtureRequest) -> Bench:
    workerd: Workerd = request.getfixturevalue("workerd")
    return D1GatewayBench(workerd, request.getfixturevalue("d1_database"))


def d1_rest(request: pytest.FixtureRequest) -> Bench:
    workerd: Workerd = request.getfixturevalue("workerd")
    return D1RestBench(workerd, request.getfixturevalue("d1_database"))


def file(request: pytest.FixtureRequest) -> Bench:
    folder: Path = request.getfixturevalue("tmp_path")
    return FileBench(folder)


def stdout(request: pytest.FixtureRequest) -> Bench:
    folder: Path = request.getfixturevalue("tmp_path")
    made = StdoutBench(folder)
    request.addfinalizer(made.printed.close)
    return made


BENCHES: Final[Mapping[str, Callable[[pytest.FixtureRequest], Bench]]] = {
    "d1": d1,
    "d1_gateway": d1_gateway,
    "d1_rest": d1_rest,
    "file": file,
    "postgres": postgres,
    "stdout": stdout,
    "surrealdb": surrealdb,
    **{f"surrealdb {version}": surrealdb_server(version) for version in VERSIONS},
}

EVERYTHING: Final = frozenset(
    {"rows", "sharing", "tables without a key", "taking back", "zeros of decimals", "copies beside the stream"}
)
"""What a test may need of a kind of target, by the mark `needs`: `rows`, that it knows the rows it holds, and refuses a
change that does not fit them; `sharing`, that one database takes several targets; `taking back`, that what was broken
off leaves nothing behind; `copies beside the stream`, that its other tables need not wait; `tables without a key`, that
it takes them; `zeros of decimals`, that it keeps the last ones."""

CAPABILITIES: Final[Mapping[str, frozenset[str]]] = {
    "d1_rest": EVERYTHING - {"tables without a key", "copies beside the stream"},
    "file": frozenset({"tables without a key", "taking back", "zeros of decimals"}),
    "stdout": frozenset({"tables without a key", "zeros of decimals"}),
    "surrealdb 3.0": EVERYTHING - {"zeros of decimals"},
}
"""Of the kinds that cannot do everything."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on every kind of target that can do what it needs."""
    if "bench" in metafunc.fixturenames:
        needed = {need for mark in metafunc.definition.iter_markers("needs") for need in mark.args}
        assert needed <= EVERYTHING
        kinds = [kind for kind in sorted(BENCHES) if needed <= CAPABILITIES.get(kind, EVERYTHING)]
        metafunc.parametrize("bench", kinds, indirect=True)


@pytest.fixture
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Tracked]:
    """Return the bench of each kind in turn; its targets are closed with the test."""
    async with AsyncExitStack() as stack:
        made = BENCHES[request.param](request)
        if isinstance(made, AbstractAsyncContextManager):
            await stack.enter_async_context(made)
        tracked = Tracked(made)
        yield tracked
        for target in tracked.made:
            await target.close()
