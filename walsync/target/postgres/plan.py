"""How the rows of one relation get into one table of the target, decided once per shape and not per row."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from walsync.errors import TargetRefused
from walsync.identifier import quote
from walsync.relation import Relation, ReplicaIdentity
from walsync.source.table import Table
from walsync.target.postgres.catalogue import TargetTable


@dataclass(frozen=True)
class TablePlan:
    """A relation of the stream, the target's table, and what joins them.

    `types` are the columns' base types: a value parsed as one is neither cut nor rounded. `key` are the indexes of
    the key columns and `operators` their equality; both are empty for a table without a key.
    """

    relation: Relation
    target: TargetTable
    types: tuple[str, ...]
    key: tuple[int, ...]
    operators: tuple[str, ...]
    replica_role: bool

    @cached_property
    def name(self) -> str:
        """The table's quoted name."""
        return quote(self.target.schema, self.target.name)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The quoted column names, in the relation's order."""
        return tuple(quote(column.name) for column in self.relation.columns)

    @cached_property
    def others(self) -> tuple[int, ...]:
        """The indexes of the columns outside the key."""
        return tuple(index for index in range(len(self.columns)) if index not in self.key)

    @cached_property
    def serial(self) -> bool:
        """Whether every change has to be written by itself, in order."""
        fires_foreign_keys = not self.replica_role and bool(self.target.referencing or self.target.referenced_by)
        return not self.key or self.target.has_exclusion or fires_foreign_keys

    @cached_property
    def replaced_on(self) -> tuple[int, ...]:
        """The columns whose change makes a row be deleted and inserted: those of unique indexes besides the key.

        An update in place would meet the old value of another row of the same batch. Only where nothing cascades,
        and where the target has no column of its own that an insert would reset; elsewhere a collision sends the
        batch down the serial road.
        """
        known = {column.name for column in self.relation.columns}
        if not self.replica_role or any(not c.generated and c.name not in known for c in self.target.columns.values()):
            return ()
        key = {self.relation.columns[index].name for index in self.key}
        touched = set().union(*(index.touched for index in self.target.unique if set(index.columns) != key))
        return tuple(i for i, column in enumerate(self.relation.columns) if i in self.others and column.name in touched)


class Plans:
    """The tables given to `prepare`, and the plan for each relation that the stream brings for them."""

    def __init__(self, tables: Mapping[int, tuple[Table, TargetTable]], *, replica_role: bool) -> None:
        self._tables = tables
        self._replica_role = replica_role
        self._plans: dict[Relation, TablePlan] = {}

    def of(self, relation: Relation) -> TablePlan:
        """Find the plan of a relation; TargetRefused where the target's table cannot take its rows."""
        plan = self._plans.get(relation)
        if plan is None:
            plan = self._plans[relation] = self._make(relation)
        return plan

    def table(self, table: Table) -> TargetTable:
        """Find the target's table for one that was prepared."""
        return self._find(table.relid, table.qualified_name)[1]

    def _find(self, relid: int, name: str) -> tuple[Table, TargetTable]:
        found = self._tables.get(relid)
        if found is None:
            raise TargetRefused("WS4207", f"{name}: the target was not prepared for this table", hint="restart walsync")
        return found

    def _make(self, relation: Relation) -> TablePlan:
        table, target = self._find(relation.relid, relation.qualified_name)
        index = {column.name: position for position, column in enumerate(relation.columns)}
        _check_key(relation, table, index)
        types = tuple(_base_type(relation, position, table, target) for position in range(len(relation.columns)))
        return TablePlan(
            relation=relation,
            target=target,
            types=types,
            key=tuple(index[name] for name in table.key),
            operators=key_operators(target, table.key) or (),
            replica_role=self._replica_role,
        )


def key_operators(target: TargetTable, key: tuple[str, ...]) -> tuple[str, ...] | None:
    """Find the equality operators of the unique index on exactly these columns; None where there is no such index."""
    for index in target.unique:
        if index.usable and sorted(index.columns) == sorted(key):
            by_column = dict(zip(index.columns, index.operators, strict=True))
            return tuple(by_column[name] for name in key)
    return None


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


def _base_type(relation: Relation, position: int, table: Table, target: TargetTable) -> str:
    column = relation.columns[position]
    described = next((one for one in table.columns if one.name == column.name), None)
    if column.name not in target.columns:
        kind = described.type_name if described else "<its type on the source>"
        raise TargetRefused(
            "WS4203",
            f"{relation.qualified_name}: column {column.name} is missing on the target",
            hint=f"on the target: ALTER TABLE {quote(*table.target_name)} ADD COLUMN {quote(column.name)} {kind};"
            " then restart walsync, which copies the table again",
        )
    if described is None or described.type_oid != column.type_oid:
        raise TargetRefused(
            "WS4209",
            f"{relation.qualified_name}: column {column.name} has another type than when walsync read the catalogue",
            hint="restart walsync: it compares the tables again",
        )
    return described.base_type_name
