"""A source in memory: it takes random operations, keeps its rows, and emits the changes that Postgres would send.

What it refuses, as Postgres would, has no effect: an insert of a key that is there, a move onto another row. So its
rows after the last operation are what every target has to hold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from conformance.stream import Cell, Source, make_table
from hypothesis import strategies as st

from walsync.relation import ReplicaIdentity
from walsync.row import UNCHANGED
from walsync.source.table import Table
from walsync.transaction.change import Change

Row = tuple[str | None, ...]
Identity = tuple[object, ...]

# One unique value is free for a moment, as a careful application would do it.
ITEMS: Final = make_table(
    "items", [("id", "integer"), ("slug", "text"), ("body", "text"), ("note", "text")], relid=16401
)
# The unique constraint is deferrable: two rows may hold one value inside a transaction.
SEATS: Final = make_table("seats", [("id", "integer"), ("place", "text"), ("body", "text")], relid=16402)
PAIRS: Final = make_table("Pairs", [("a", "integer"), ("n", "text"), ("b", "text")], ("a", "b"), relid=16403)
EDGES: Final = make_table("edges", [("a", "text"), ("b", "text")], ("a", "b"), relid=16404)
PRICES: Final = make_table("prices", [("id", "numeric"), ("body", "text"), ("%s", "text")], relid=16405)
LOG: Final = make_table("log", [("a", "integer"), ("b", "text")], (), relid=16406)
FULL: Final = make_table(
    "full", [("id", "integer"), ("body", "text")], relid=16407, identity=ReplicaIdentity.FULL, schema="s 2"
)
TABLES: Final = (ITEMS, SEATS, PAIRS, EDGES, PRICES, LOG, FULL)
UNIQUE: Final = {ITEMS.relid: 1, SEATS.relid: 1}
TOASTED: Final = {ITEMS.relid: (2, 3), SEATS.relid: (2,), PRICES.relid: (1,), PAIRS.relid: (1,)}

TARGET_CONSTRAINTS: Final = (
    "CREATE UNIQUE INDEX ON public.items (slug)",
    "ALTER TABLE public.seats ADD UNIQUE (place) DEFERRABLE INITIALLY IMMEDIATE",
)

_TEXT: Final = (None, "", "x", "ü\\N\t%s\n", '"quoted", {1}', "long " * 20)
_KEYS: Final = {
    "integer": ("1", "2", "3", "4"),
    "numeric": ("1", "1.0", "1.00", "2", "-0.5"),
    "text": ("x", "X", "é\t", "%"),
}


@dataclass
class Model:
    """The rows of all tables, and the changes made since they were last taken."""

    rows: dict[int, list[Row]] = field(default_factory=lambda: {table.relid: [] for table in TABLES})
    changes: list[Change] = field(default_factory=list)
    source: Source = field(default_factory=lambda: Source(TABLES))

    def fill(self) -> None:
        """Begin with rows, so that what follows has something to change."""
        for table in TABLES:
            for number in "123":
                cells = (
                    number if name in table.key or column.type_name == "integer" else f"{name} {number}"
                    for name, column in zip(table.published, table.columns, strict=True)
                )
                self.insert(table, tuple(cells))

    def take(self) -> list[Change]:
        """End a transaction."""
        changes, self.changes = self.changes, []
        return changes

    def insert(self, table: Table, row: Row) -> None:
        if self._free(table, row):
            self.rows[table.relid].append(row)
            self.changes.append(self.source.insert(table, *row))

    def update(self, table: Table, position: int, row: Row, sent: Sequence[bool]) -> None:
        """Replace a row; a toasted value that stays may be left out where `sent` is false."""
        rows = self.rows[table.relid]
        if not rows:
            return
        old = rows.pop(position % len(rows))
        if not self._free(table, row):
            rows.append(old)
            return
        rows.append(row)
        full = table.replica_identity is ReplicaIdentity.FULL
        new: list[Cell] = list(row)
        for index in TOASTED.get(table.relid, ()):
            if not full and not sent[index] and row[index] is not None and row[index] == old[index]:
                new[index] = UNCHANGED
        # The server compares keys as stored: 1.0 and 1.00 differ.
        moved = full or [old[i] for i in _key_indexes(table)] != [row[i] for i in _key_indexes(table)]
        self.changes.append(self.source.update(table, *new, old=old if moved else None))

    def move(self, table: Table, position: int, row: Row, sent: Sequence[bool]) -> None:
        """Change the key alone."""
        rows = self.rows[table.relid]
        if rows:
            old = rows[position % len(rows)]
            key = _key_indexes(table)
            self.update(table, position, tuple(row[i] if i in key else old[i] for i in range(len(row))), sent)

    def touch(self, table: Table, position: int, row: Row, sent: Sequence[bool]) -> None:
        """Change one column outside the key, or none."""
        rows = self.rows[table.relid]
        if rows:
            old = rows[position % len(rows)]
            key = _key_indexes(table)
            chosen = [i for i in range(len(row)) if i not in key and sent[i]][:1]
            self.update(table, position, tuple(row[i] if i in chosen else old[i] for i in range(len(row))), sent)

    def delete(self, table: Table, position: int) -> None:
        rows = self.rows[table.relid]
        if rows:
            self.changes.append(self.source.delete(table, *rows.pop(position % len(rows))))

    def reinsert(self, table: Table, position: int, row: Row) -> None:
        """Delete a row and insert another one under its key."""
        rows = self.rows[table.relid]
        if rows:
            old = rows[position % len(rows)]
            key = _key_indexes(table)
            self.delete(table, position)
            self.insert(table, tuple(old[i] if i in key else row[i] for i in range(len(row))))

    def swap(self, table: Table, first: int, second: int) -> None:
        """Exchange the unique values of two rows: by way of NULL, or with both rows holding one for a moment."""
        rows = self.rows[table.relid]
        column = UNIQUE.get(table.relid)
        if column is None or len(rows) < 2 or first % len(rows) == second % len(rows):
            return
        one, two = rows[first % len(rows)], rows[second % len(rows)]
        steps = [(one, two[column]), (two, one[column])]
        if table is ITEMS:
            steps = [(one, None), (two, one[column]), (_with(one, column, None), two[column])]
        for row, value in steps:
            rows.remove(row)
            rows.append(_with(row, column, value))
            new: list[Cell] = list(_with(row, column, value))
            if new[2] is not None:
                new[2] = UNCHANGED
            self.changes.append(self.source.update(table, *new))

    def rotate(self, table: Table, position: int, spare: str) -> None:
        """Exchange the keys of two rows by way of a third."""
        rows = self.rows[table.relid]
        if table.relid not in TOASTED or len(rows) < 2:
            return
        one, two = rows[position % len(rows)], rows[(position + 1) % len(rows)]
        index = _key_indexes(table)[0]
        for old_key, new_key in ((one[index], spare), (two[index], one[index]), (spare, two[index])):
            at = next((i for i, row in enumerate(rows) if row[index] == old_key), None)
            if at is not None:
                self.update(table, at, _with(rows[at], index, new_key), [False] * len(one))

    def truncate(self, tables: Sequence[Table]) -> None:
        for table in tables:
            self.rows[table.relid].clear()
        self.changes.append(self.source.truncate(*tables))

    def _free(self, table: Table, row: Row) -> bool:
        rows = self.rows[table.relid]
        if table.key and _identity(table, row) in [_identity(table, other) for other in rows]:
            return False
        unique = UNIQUE.get(table.relid)
        return unique is None or row[unique] is None or row[unique] not in [other[unique] for other in rows]


def _with(row: Row, index: int, value: str | None) -> Row:
    return (*row[:index], value, *row[index + 1 :])


def _key_indexes(table: Table) -> list[int]:
    return [table.published.index(name) for name in table.key]


def _identity(table: Table, row: Row) -> Identity:
    """Tell what the unique index compares: numbers by value."""
    return tuple(
        Decimal(row[i] or "") if table.columns[i].type_name == "numeric" else row[i] for i in _key_indexes(table)
    )


def _row_of(table: Table) -> st.SearchStrategy[Row]:
    return st.tuples(
        *(
            st.sampled_from(_KEYS[column.type_name])
            if column.name in table.key or column.type_name == "integer"
            else st.sampled_from(_TEXT)
            for column in table.columns
        )
    )


Operation = Callable[[Model], object]
"""None ends the transaction."""


_KINDS: Final = ("insert", "insert", "update", "move", "move", "touch", "touch", "delete", "reinsert", "swap", "rotate")


@st.composite
def _operation(draw: st.DrawFn) -> Operation:
    kind = draw(st.sampled_from(_KINDS))
    table = draw(st.sampled_from((ITEMS, SEATS) if kind == "swap" else TABLES))
    row = draw(_row_of(table))
    position = draw(st.integers(0, 3))
    sent = draw(st.lists(st.booleans(), min_size=len(row), max_size=len(row)))
    operations: dict[str, Operation] = {
        "insert": lambda model: model.insert(table, row),
        "update": lambda model: model.update(table, position, row, sent),
        "move": lambda model: model.move(table, position, row, sent),
        "touch": lambda model: model.touch(table, position, row, sent),
        "delete": lambda model: model.delete(table, position),
        "reinsert": lambda model: model.reinsert(table, position, row),
        "swap": lambda model: model.swap(table, position, position + 1),
        "rotate": lambda model: model.rotate(table, position, "99"),
    }
    return operations[kind]


def _truncation() -> st.SearchStrategy[Operation]:
    tables = st.lists(st.sampled_from(TABLES), min_size=1, max_size=3, unique_by=lambda table: table.relid)
    return tables.map(lambda chosen: lambda model: model.truncate(chosen))


_transaction: Final = st.lists(
    st.integers(0, 19).flatmap(lambda n: _operation() if n else _truncation()), min_size=1, max_size=8
)

FILLED: Final[list[list[Operation]]] = [[Model.fill]]
"""The batch to begin with."""

batches_of_operations: Final = st.lists(st.lists(_transaction, min_size=1, max_size=4), min_size=1, max_size=4)
"""Batches, of transactions, of operations."""
