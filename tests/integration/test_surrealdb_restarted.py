"""What a SurrealDB server tells after a crash is what it told before; engine 2.3 made that a question."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from conformance.bench import START
from conformance.bench_surrealdb_server import ServerBench
from conformance.stream import SLOT, TARGET_ID, Cell, Source, batch, make_table, writer
from fix_proxy import Proxy
from fix_surrealdb import VERSIONS, SurrealServer

from walsync.lsn import LSN
from walsync.relation import ReplicaIdentity
from walsync.row import UNCHANGED
from walsync.source.table import Table
from walsync.target.base import TableState
from walsync.target.surrealdb.statements import name as quote
from walsync.target.surrealdb.target import SurrealDBTarget
from walsync.transaction.change import Change

PRICES = make_table("prices", [("id", "integer"), ("n", "numeric"), ("f", "double precision"), ("body", "text")])
FULL = replace(PRICES, replica_identity=ReplicaIdentity.FULL, identity=PRICES.published)
LINES = make_table("lines", [("line", "text"), ("f", "double precision")], (), relid=16385)
TABLES = [PRICES, LINES]
BEFORE: list[Cell] = ["1.50", "0", "x"]
AFTER: list[Cell] = ["2.50", "-0", UNCHANGED]


@pytest.fixture(params=VERSIONS)
def bench(
    request: pytest.FixtureRequest,
    start_surrealdb: Callable[..., SurrealServer],
    new_proxy: Callable[[str, int], Proxy],
) -> ServerBench:
    server = start_surrealdb(request.param)
    return ServerBench(server, new_proxy(server.host, server.port))


def everything(bench: ServerBench) -> list[Any]:
    names = [*(".".join(table.target_name) for table in TABLES), "_walsync", "_walsync_stage"]
    return bench.execute("; ".join(f"SELECT * FROM {quote(name)}" for name in names))


def changes() -> list[Change]:
    """Write rows several times, in steps: the table's replica identity changes between them."""
    before, after = Source(TABLES), Source([FULL, LINES])
    made: list[Change] = []
    for number in range(20):
        key = str(number)
        made += [before.update(PRICES, key, *AFTER), after.update(FULL, key, *BEFORE, old=[key, *BEFORE])]
        made += [before.update(PRICES, key, "3", "0", UNCHANGED), before.update(PRICES, key, *AFTER)]
    made += [before.delete(PRICES, "1"), after.insert(FULL, "1", *BEFORE), before.update(PRICES, "1", *AFTER)]
    made += [before.update(PRICES, "90", *AFTER, old=["2"]), after.delete(FULL, "3", *BEFORE)]
    made += [before.insert(LINES, "a", "0"), after.delete(LINES, "a", "0"), before.insert(LINES, "a", "-0")]
    return made


async def copied(target: SurrealDBTarget, table: Table, line: bytes) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield line

    await target.copy(table, TableState(table.relid, "walsync", table.definition, LSN(START)), chunks())


@pytest.mark.parametrize("collapse", [True, False], ids=["set-based", "serial"])
async def test_a_server_that_was_killed_tells_what_it_told_before(bench: ServerBench, collapse: bool) -> None:  # noqa: FBT001
    source = Source(TABLES)
    target = SurrealDBTarget(bench.settings(), SLOT, collapse=collapse)
    await target.register(TARGET_ID, writer(), LSN(START))
    await target.register(TARGET_ID, writer(epoch=11), LSN(START))
    await target.claim(writer(epoch=12))
    await target.prepare(TABLES)
    await copied(target, PRICES, b"7\t1.5\t0\tempty before\n")
    await copied(target, PRICES, b"7\t2.5\t-0\tnot empty before\n")
    inserts = [source.insert(PRICES, str(number), *BEFORE) for number in range(20) if number != 7]
    await target.write(batch(START, 200, source.insert(PRICES, "77", *BEFORE), *inserts))
    await target.write(batch(200, 300, *changes()))
    told = everything(bench)
    await target.close()
    bench.server.kill()
    bench.server.start()
    assert repr(everything(bench)) == repr(told)
    rows = {row["id"].value[1]: (float(row["n"].value), str(row["f"])) for row in told[0]}
    assert rows == dict.fromkeys((*range(2), *range(4, 20), 90), (2.5, "-0.0")) | {77: (1.5, "0.0")}
