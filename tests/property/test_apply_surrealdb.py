"""Random changes into SurrealDB's engine: on both roads it tells, and its files keep, what the source holds.

Engine 2.3 made these tests necessary: of a record that one transaction writes twice it may keep the first.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from conformance.bench import Rows
from conformance.bench_surrealdb import SurrealDBBench
from conformance.stream import TARGET_ID, Source, make_table, relation_of, transaction, writer
from hypothesis import given, settings
from hypothesis import strategies as st
from property.source_model import FILLED, TABLES, Model, Operation, batches_of_operations

from walsync.lsn import LSN
from walsync.row import UNCHANGED
from walsync.source.table import Table
from walsync.target.base import Batch
from walsync.transaction.change import Change, Transaction

# A column's value may equal the one before and be another text.
COLUMNS = [("kind", "text"), ("id", "integer"), ("n", "numeric"), ("f", "double precision"), ("body", "text")]
NUMBERS = make_table("numbers", COLUMNS)
PAIRED = make_table("paired", COLUMNS, ("kind", "id"), relid=16385)
KIND = "k"
KEYS, SCALES, ZEROS, BODIES = ("1", "2", "3"), ("1.1", "1.10", "1.100"), ("0.0", "-0.0"), ("x", "y")


async def write(bench: SurrealDBBench, batches: Sequence[Sequence[Transaction]], *, collapse: bool) -> None:
    """Write batches as a target that begins with them."""
    target = bench.target(collapse=collapse)
    await target.register(TARGET_ID, writer(), LSN(1))
    await target.claim(writer())
    await target.prepare([*TABLES, NUMBERS, PAIRED])
    position = LSN(1)
    for batch in batches:
        await target.write(Batch(position, batch[-1].end_lsn, batch))
        position = batch[-1].end_lsn
    await target.close()


def carry_out(batches: Sequence[Sequence[Transaction]], expected: dict[Table, Rows]) -> None:
    """Write on both roads, each into a directory of its own, and read."""
    for collapse in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            bench = SurrealDBBench(f"surrealkv://{folder}/graph")
            asyncio.run(write(bench, batches, collapse=collapse))
            assert {table: bench.rows(table) for table in expected} == expected
            bench.read("SELECT * FROM _walsync")


def describe(source: Source, *, anew: bool) -> None:
    """Let what follows come with another description of the tables: it is another step of the request."""
    for table in source.tables:
        relation = relation_of(table)
        columns = tuple(replace(column, typmod=column.typmod + anew) for column in relation.columns)
        source.relations[table.qualified_name] = replace(relation, columns=columns)


@settings(max_examples=15, deadline=None)
@given(batches=batches_of_operations, shapes=st.lists(st.booleans(), min_size=1, max_size=5))
def test_any_changes_end_with_the_rows_of_the_source(batches: list[list[list[Operation]]], shapes: list[bool]) -> None:
    model = Model()
    position = number = 1
    committed: list[list[Transaction]] = []
    for batch in [FILLED, *batches]:
        committed.append([])
        for operations in batch:
            position += 16
            for operation in operations:
                number += 1
                describe(model.source, anew=shapes[number % len(shapes)])
                operation(model)
            committed[-1].append(transaction(position, *model.take()))
    expected = {table: sorted(model.rows[table.relid], key=repr) for table in TABLES}
    carry_out(committed, expected)


@dataclass
class Numbers:
    """The rows of a table, by the part of the key that differs, and what made them."""

    table: Table
    source: Source = field(default_factory=lambda: Source([NUMBERS, PAIRED]))
    rows: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def change(self, key: str, to: tuple[str, str, str] | None, *, moves: bool) -> list[Change]:
        """Insert, update or delete; an update that does not change the body leaves it out."""
        old = self.rows.pop(key, None)
        if to is None:
            return [] if old is None else [self.source.delete(self.table, *self._key(key))]
        free = next((each for each in KEYS if each not in (*self.rows, key)), None)
        new = free if old is not None and moves and free is not None else key
        self.rows[new] = to
        if old is None:
            return [self.source.insert(self.table, KIND, key, *to)]
        body = UNCHANGED if old[2] == to[2] else to[2]
        moved = None if new == key else self._key(key)
        return [self.source.update(self.table, KIND, new, *to[:2], body, old=moved)]

    def _key(self, key: str) -> Sequence[str]:
        return [KIND, key] if self.table is PAIRED else [key]


values = st.tuples(st.sampled_from(SCALES), st.sampled_from(ZEROS), st.sampled_from(BODIES))
changes_of_numbers = st.lists(
    st.tuples(st.sampled_from(KEYS), st.one_of(st.none(), values, values, values), st.booleans(), st.booleans()),
    min_size=1,
    max_size=8,
)


@settings(max_examples=30, deadline=None)
@given(table=st.sampled_from([NUMBERS, PAIRED]), batches=st.lists(changes_of_numbers, min_size=1, max_size=4))
def test_values_that_are_equal_and_differ_in_their_text_end_as_the_source_has_them(
    table: Table,
    batches: list[list[tuple[str, tuple[str, str, str] | None, bool, bool]]],
) -> None:
    numbers = Numbers(table)
    committed = []
    for position, batch in enumerate(batches, 1):
        changes = []
        for key, to, moves, anew in batch:
            describe(numbers.source, anew=anew)
            changes += numbers.change(key, to, moves=moves)
        committed.append([transaction(position * 16, *changes)])
    carry_out(committed, {table: sorted(((KIND, key, *row) for key, row in numbers.rows.items()), key=repr)})
