"""Random changes on a real server: the set-based road, the serial road and the source itself end with the same rows."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from conformance.stream import SLOT, TARGET_ID, writer
from fix_postgres import Database, Server
from hypothesis import HealthCheck, given, settings
from property.source_model import FILLED, TABLES, TARGET_CONSTRAINTS, Model, Operation, batches_of_operations

from walsync.identifier import quote
from walsync.lsn import LSN
from walsync.settings import Secret
from walsync.target.base import Batch
from walsync.target.postgres.settings import PostgresSettings
from walsync.target.postgres.target import PostgresTarget
from walsync.transaction.change import Transaction


@dataclass
class Road:
    """One target and the database behind it."""

    database: Database
    target: PostgresTarget
    position: int = 100
    names: str = field(default=", ".join(quote(table.schema, table.name) for table in TABLES))

    async def open(self) -> None:
        await self.target.register(TARGET_ID, writer(), LSN(self.position))
        await self.target.prepare(TABLES)
        for statement in TARGET_CONSTRAINTS:
            self.database.execute(statement)
        await self.target.prepare(TABLES)

    async def write(self, committed: list[Transaction]) -> None:
        await self.target.write(Batch(LSN(self.position), committed[-1].end_lsn, committed))
        self.position = committed[-1].end_lsn

    def rows(self) -> dict[int, list[tuple[str | None, ...]]]:
        return {
            table.relid: self.database.execute(
                f"SELECT {', '.join(quote(name) + '::text' for name in table.published).replace('%', '%%')}"
                f" FROM {quote(table.schema, table.name)} AS t WHERE %s",
                True,  # noqa: FBT003 - a parameter, so that %% means %
            )
            for table in TABLES
        }

    def reset(self) -> None:
        self.database.execute(f"TRUNCATE {self.names}")


@dataclass
class Roads:
    runner: asyncio.Runner
    set_based: Road
    serial: Road

    def check(self, batches: list[list[list[Operation]]]) -> None:
        for road in (self.set_based, self.serial):
            road.reset()
        model = Model()
        for batch in [FILLED, *batches]:
            committed = self._commit(model, batch)
            for road in (self.set_based, self.serial):
                self.runner.run(road.write(committed))
        expected = {relid: in_order(rows) for relid, rows in model.rows.items()}
        assert {relid: in_order(rows) for relid, rows in self.serial.rows().items()} == expected
        assert {relid: in_order(rows) for relid, rows in self.set_based.rows().items()} == expected

    def _commit(self, model: Model, batch: list[list[Operation]]) -> list[Transaction]:
        committed = []
        position = self.set_based.position
        for operations in batch:
            position += 16
            for operation in operations:
                operation(model)
            changes = tuple(model.take())
            committed.append(Transaction(700, LSN(position - 8), LSN(position), 0, changes, 100))
        return committed


def in_order(rows: list[tuple[str | None, ...]]) -> list[tuple[str | None, ...]]:
    return sorted(rows, key=repr)


@pytest.fixture
def roads(target_server: Server, new_database: Callable[[Server], Database]) -> Iterator[Roads]:
    with asyncio.Runner() as runner:
        made = []
        for collapse in (True, False):
            database = new_database(target_server)
            configured = PostgresSettings(name="replica", type="postgres", dsn=Secret(database.dsn))
            road = Road(database, PostgresTarget(configured, SLOT, collapse=collapse))
            runner.run(road.open())
            made.append(road)
        yield Roads(runner, *made)
        for road in made:
            runner.run(road.target.close())


quick = settings(
    max_examples=60,
    deadline=None,
    # One database for all examples: `check` empties its tables.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@quick
@given(batches=batches_of_operations)
def test_both_roads_end_where_the_source_is(roads: Roads, batches: list[list[list[Operation]]]) -> None:
    roads.check(batches)


@pytest.mark.long
@settings(quick, max_examples=3_000)
@given(batches=batches_of_operations)
def test_both_roads_end_where_the_source_is_for_long(roads: Roads, batches: list[list[list[Operation]]]) -> None:
    roads.check(batches)
