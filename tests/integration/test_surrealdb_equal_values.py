"""Records that a change leaves equal by value: the engine would leave them as they are. With every kind of column."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cbor2 import CBORTag
from conformance.bench import START
from conformance.bench_surrealdb import TABLE_TAG, SurrealDBBench
from conformance.bench_surrealdb_server import ServerBench
from conformance.stream import SLOT, TARGET_ID, Cell, Source, batch, make_table, writer
from fix_proxy import Proxy
from fix_surrealdb import VERSIONS, SurrealServer

from walsync.lsn import LSN
from walsync.relation import ReplicaIdentity
from walsync.row import UNCHANGED
from walsync.source.pgtype import Kind, PgType
from walsync.source.table import Table
from walsync.target.surrealdb.settings import SurrealDBSettings
from walsync.target.surrealdb.statements import MARK
from walsync.target.surrealdb.target import SurrealDBTarget
from walsync.target.surrealdb.transport import open_engine
from walsync.target.surrealdb.values import value_form
from walsync.transaction.change import Change

REAL, FLOAT, POINT = PgType(700, "real"), PgType(701, "double precision"), PgType(600, "point")
RANGE = PgType(90002, "public.floats", Kind.RANGE, FLOAT)
TYPES = {
    "float": (FLOAT, "0", "-0"),
    "real": (REAL, "-0", "0"),
    "point": (POINT, "(0,1)", "(-0,1)"),
    "array": (PgType(1022, "double precision[]", Kind.ARRAY, FLOAT), "{{1,0}}", "{{1,-0}}"),
    "composite": (PgType(90003, "public.pair", Kind.COMPOSITE, None, (("f", FLOAT),)), "(0)", "(-0)"),
    "range": (RANGE, "[0,1)", "[-0,1)"),
    "multirange": (PgType(90004, "public.floatss", Kind.MULTIRANGE, RANGE), "{[0,1)}", "{[-0,1)}"),
}
SCALED = {
    "numeric": (PgType(1700, "numeric"), "1.10", "1.1"),
    "jsonb": (PgType(3802, "jsonb"), '{"a": [1.0]}', '{"a": [1]}'),
}
"""What 3.0 cannot tell apart: it drops the last zeros of decimals."""


class Engine:
    """A database on one of the engines, and a target on it."""

    def __init__(self, bench: SurrealDBBench | ServerBench) -> None:
        self.bench = bench
        self.made: list[SurrealDBTarget] = []

    async def open(self, table: Table, **options: object) -> SurrealDBTarget:
        settings = self.bench.settings()
        keys = {**settings.model_dump(), "password": settings.password}
        keys["tables"] = [{"table": table.qualified_name, **options}]
        opener = self.bench._open if isinstance(self.bench, SurrealDBBench) else open_engine
        target = SurrealDBTarget(SurrealDBSettings(**keys), SLOT, open_engine=opener)
        self.made.append(target)
        await target.register(TARGET_ID, writer(), LSN(START))
        await target.claim(writer())
        await target.prepare([table])
        return target

    def rows(self, table: Table) -> list[list[str | None]]:
        """Read each record back as the texts of its columns but the first, by id; a NULL may be no field at all."""
        name = CBORTag(TABLE_TAG, ".".join(table.target_name))
        ask = self.bench.read if isinstance(self.bench, SurrealDBBench) else self.bench.execute
        records: Any = ask("SELECT * FROM $table ORDER BY id", table=name)[0]
        assert not any(MARK in one for one in records)
        forms = [(column.name, value_form(column.name, column.type)) for column in table.published_columns[1:]]
        texts = [[form.decode(one.get(name)) for name, form in forms] for one in records]
        return [[None if text is None else text.decode() for text in row] for row in texts]


@pytest.fixture(params=["embedded", *VERSIONS])
async def engine(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    surrealdb_servers: Callable[[str], SurrealServer],
    new_proxy: Callable[[str, int], Proxy],
) -> AsyncIterator[Engine]:
    if request.param == "embedded":
        made = Engine(SurrealDBBench(f"surrealkv://{tmp_path}/graph"))
    else:
        server = surrealdb_servers(request.param)
        made = Engine(ServerBench(server, new_proxy(server.host, server.port)))
    yield made
    for target in made.made:
        await target.close()


def columns_of(request: pytest.FixtureRequest) -> dict[str, tuple[PgType, str, str]]:
    return TYPES if VERSIONS[-1] in request.node.callspec.params.values() else {**TYPES, **SCALED}


def typed(name: str, types: list[PgType]) -> Table:
    """Describe a table: an integer key, a column of each type, and a text."""
    names = [f"c{number}" for number in range(len(types))]
    table = make_table(name, [("id", "integer"), *((each, "text") for each in names), ("body", "text")])
    described = dict(zip(names, types, strict=True))
    columns = tuple(replace(column, type=described.get(column.name, column.type)) for column in table.columns)
    return replace(table, columns=columns)


@pytest.mark.parametrize("nulls", ["keep", "none"])
@pytest.mark.parametrize("options", [{}, {"schemafull": True}], ids=["schemaless", "schemafull"])
async def test_a_value_of_every_type_arrives_that_equals_the_one_before(
    request: pytest.FixtureRequest, engine: Engine, nulls: str, options: dict[str, object]
) -> None:
    cases = list(columns_of(request).values())
    types = [type_ for type_, _, _ in cases]
    before: list[Cell] = [text for _, text, _ in cases]
    after: list[Cell] = [text for _, _, text in cases]
    table = typed("numbers", types)
    source = Source([table])
    target = await engine.open(table, nulls=nulls, **options)

    def alone(number: int, texts: list[Cell]) -> list[Cell]:
        return [text if index == number else None for index, text in enumerate(texts)]

    inserts = [source.insert(table, str(n), *alone(n, before), "x") for n in range(len(cases))]
    await target.write(batch(START, 200, *inserts))
    assert engine.rows(table) == [[*alone(n, before), "x"] for n in range(len(cases))]
    updates = [source.update(table, str(n), *alone(n, after), "x") for n in range(len(cases))]
    await target.write(batch(200, 300, *updates))
    assert engine.rows(table) == [[*alone(n, after), "x"] for n in range(len(cases))]
    fills = [source.update(table, str(n), *alone(n, before), UNCHANGED) for n in range(len(cases))]
    await target.write(batch(300, 400, *fills))
    assert engine.rows(table) == [[*alone(n, before), "x"] for n in range(len(cases))]


async def test_a_value_arrives_that_equals_the_one_of_an_earlier_step_of_the_request(engine: Engine) -> None:
    table = typed("steps", [FLOAT])
    altered = replace(table, replica_identity=ReplicaIdentity.FULL, identity=table.published)
    target = await engine.open(table)
    before, after = Source([table]), Source([altered])
    changes: list[Change] = [
        before.insert(table, "1", "0", "x"),
        after.update(altered, "1", "-0", "x", old=["1", "0", "x"]),
        before.update(table, "1", "0", "x"),
        after.update(altered, "1", "-0", "x", old=["1", "0", "x"]),
    ]
    await target.write(batch(START, 200, *changes))
    assert engine.rows(table) == [["-0", "x"]]


async def test_a_definition_that_asserts_a_column_sees_no_record_without_it(engine: Engine) -> None:
    table = typed("asserted", [FLOAT])
    target = await engine.open(table)
    name = ".".join(table.target_name)
    engine.bench.execute(f"DEFINE FIELD body ON `{name}` TYPE string ASSERT string::len($value) > 0")
    source = Source([table])
    await target.write(batch(START, 200, source.insert(table, "1", "0", "x")))
    await target.write(batch(200, 300, source.update(table, "1", "-0", "x")))
    assert engine.rows(table) == [["-0", "x"]]
