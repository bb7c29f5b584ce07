"""How the rows of one relation get into one table of the target, decided once per shape and not per row."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Final, TypeVar

from orjson import Fragment, dumps

from walsync.errors import TargetRefused
from walsync.identifier import quote
from walsync.relation import Relation, ReplicaIdentity
from walsync.row import Value
from walsync.source.pgtype import PgType
from walsync.source.table import Table
from walsync.target.d1.row_json import Row
from walsync.target.d1.rows import RowForm
from walsync.target.d1.statements import TableSql
from walsync.target.d1.values import VALUE_BYTES, ValueForm, value_form

T = TypeVar("T")

_ROWS: Final = 2_000
_BYTES: Final = 1_000_000
"""Of one statement. Measured on workerd: a statement of 500 to 2000 rows is the fastest, beyond 1 MB it gets slower."""


@dataclass(frozen=True)
class TablePlan:
    """A table of the target and the rows that come for it; equal plans encode rows alike, whichever target has them.

    `name` is the source's, for messages, `table` the target's. `key` are the indexes of the key columns, empty for a
    table without a key.
    """

    name: str
    table: str
    columns: tuple[str, ...]
    types: tuple[PgType, ...]
    key: tuple[int, ...]

    @cached_property
    def forms(self) -> tuple[ValueForm, ...]:
        """How the values of each column travel."""
        pairs = zip(self.columns, self.types, strict=True)
        return tuple(value_form(f"{self.name}.{column}", type_) for column, type_ in pairs)

    @cached_property
    def sql(self) -> TableSql:
        """The statements that write rows."""
        return TableSql(self.table, self.columns, self.forms, self.key)

    @cached_property
    def row_form(self) -> RowForm:
        """How a row travels."""
        return RowForm(self.forms)

    def row(self, values: Sequence[Value]) -> Row:
        """Encode a row; what was left out is null."""
        return self.row_form.row(values)

    def key_row(self, key: Sequence[bytes]) -> Row:
        """Encode a key."""
        encoders = self.row_form.encoders
        return [Fragment(encoders[index](value)) for index, value in zip(self.key, key, strict=True)]

    def moved_row(self, number: int, base: Sequence[bytes], values: Sequence[Value]) -> Row:
        """Encode a row that moves: a number of its own, the key of its base row, and the values."""
        return [Fragment(b"%d" % number), *self.key_row(base), *self.row(values)]

    def one(self, row: Row) -> str:
        """Write a parameter that is one row."""
        return self._bounded(dumps(row).decode())

    def parameters(self, rows: Iterable[Row]) -> Iterator[str]:
        """Write parameters that are arrays of rows, each for one statement."""
        return self._parameters(rows, lambda together: dumps(together).decode())

    def raw_parameters(self, rows: Iterable[bytes]) -> Iterator[str]:
        """Write parameters that are arrays of rows, each for one statement; the rows are raw tuples."""
        return self._parameters(rows, self.row_form.write)

    def _parameters(self, rows: Iterable[T], write: Callable[[Sequence[T]], str]) -> Iterator[str]:
        left = iter(rows)
        while together := list(islice(left, _ROWS)):
            yield from self._fit(together, write)

    def _fit(self, rows: Sequence[T], write: Callable[[Sequence[T]], str]) -> Iterator[str]:
        written = write(rows)
        if len(rows) == 1:
            yield self._bounded(written)
        elif _size(written) <= _BYTES:
            yield written
        else:
            yield from self._fit(rows[: len(rows) // 2], write)
            yield from self._fit(rows[len(rows) // 2 :], write)

    def _bounded(self, written: str) -> str:
        if _size(written) > VALUE_BYTES:
            raise TargetRefused(
                "WS4403",
                f"{self.name}: a row has {_size(written)} bytes as JSON, and D1 takes {VALUE_BYTES}",
                hint="leave large columns out with `columns`, or keep large values elsewhere",
            )
        return written


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def table_name(table: Table) -> str:
    """Name a table on the target, which has no schemas."""
    return ".".join(table.target_name)


def table_plan(table: Table) -> TablePlan:
    """Make the plan for rows in the order of `table.published`, as a snapshot has them."""
    columns = table.published_columns
    index = {column.name: position for position, column in enumerate(columns)}
    return TablePlan(
        name=table.qualified_name,
        table=table_name(table),
        columns=tuple(column.name for column in columns),
        types=tuple(column.type for column in columns),
        key=tuple(index[name] for name in table.key if name in index),
    )


class Plans:
    """The tables given to `prepare`, and the plan for each relation that the stream brings for them."""

    def __init__(self, tables: Sequence[Table] = ()) -> None:
        self._tables: Mapping[int, Table] = {table.relid: table for table in tables}
        self._plans: dict[Relation, TablePlan] = {}

    @property
    def tables(self) -> list[TablePlan]:
        """The plans for snapshot rows of all these tables."""
        return [table_plan(table) for table in self._tables.values()]

    @property
    def without_key(self) -> frozenset[int]:
        """The relids of the tables that have no key."""
        return frozenset(relid for relid, table in self._tables.items() if not table.key)

    def of(self, relation: Relation) -> TablePlan:
        """Find the plan of a relation; TargetRefused where the target's table cannot take its rows."""
        plan = self._plans.get(relation)
        if plan is None:
            plan = self._plans[relation] = self._make(relation)
        return plan

    def table(self, table: Table) -> TablePlan:
        """Find the plan for snapshot rows of a table that was prepared."""
        return table_plan(self._find(table.relid, table.qualified_name))

    def _find(self, relid: int, name: str) -> Table:
        found = self._tables.get(relid)
        if found is None:
            raise TargetRefused("WS4207", f"{name}: the target was not prepared for this table", hint="restart walsync")
        return found

    def _make(self, relation: Relation) -> TablePlan:
        table = self._find(relation.relid, relation.qualified_name)
        index = {column.name: position for position, column in enumerate(relation.columns)}
        _check_key(relation, table, index)
        return TablePlan(
            name=relation.qualified_name,
            table=table_name(table),
            columns=tuple(index),
            types=tuple(_type(relation, position, table) for position in range(len(relation.columns))),
            key=tuple(index[name] for name in table.key),
        )


def _check_key(relation: Relation, table: Table, index: Mapping[str, int]) -> None:
    for name in table.key:
        if name in index and (
            relation.columns[index[name]].in_identity or relation.replica_identity is ReplicaIdentity.NOTHING
        ):
            continue
        raise TargetRefused(
            "WS4208",
            f"{relation.qualified_name}: key column {name} is no longer part of the replica identity",
            hint="restart walsync: it reads the source's keys again",
        )


def _type(relation: Relation, position: int, table: Table) -> PgType:
    column = relation.columns[position]
    described = next((one for one in table.published_columns if one.name == column.name), None)
    if described is None:
        raise TargetRefused(
            "WS4203",
            f"{relation.qualified_name}: column {column.name} is missing on the target",
            hint=f"on the target: ALTER TABLE {quote(table_name(table))} ADD COLUMN {quote(column.name)} with the"
            " type in docs/targets.md; then restart walsync, which copies the table again",
        )
    if described.type_oid != column.type_oid:
        raise TargetRefused(
            "WS4209",
            f"{relation.qualified_name}: column {column.name} has another type than when walsync read the catalogue",
            hint="restart walsync: it compares the tables again",
        )
    return described.type
