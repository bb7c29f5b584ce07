"""What a source would send, written by hand: tables, relations, changes and batches for the tests of targets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from walsync.lsn import LSN
from walsync.relation import Column, Relation, ReplicaIdentity
from walsync.row import Unchanged, Value, write_tuple
from walsync.source.pgtype import PgType
from walsync.source.table import Table, TableColumn
from walsync.target.base import Batch, Writer
from walsync.transaction.change import Change, Delete, Insert, Transaction, Truncate, Update

SLOT = "walsync"
TARGET_ID = UUID("11111111-2222-3333-4444-555555555555")
OIDS = {
    "integer": 23,
    "bigint": 20,
    "text": 25,
    "numeric": 1700,
    "boolean": 16,
    "bytea": 17,
    "double precision": 701,
    "jsonb": 3802,
}

Cell = str | None | Unchanged


def writer(epoch: int = 10, timeline: int = 1) -> Writer:
    return Writer(SLOT, "7000000000000000001", timeline, epoch)


def table_column(name: str, kind: str = "text", *, position: int = 1, not_null: bool = False) -> TableColumn:
    oid = OIDS.get(kind, 90001)
    return TableColumn(name, position, oid, -1, kind, kind, "b", (), not_null, None, "", PgType(oid, kind))


def make_table(
    name: str,
    columns: Sequence[tuple[str, str]],
    key: Sequence[str] = ("id",),
    *,
    relid: int = 16384,
    schema: str = "public",
    identity: ReplicaIdentity | None = None,
) -> Table:
    """Describe a table; without a key its replica identity is FULL."""
    kind = identity or (ReplicaIdentity.DEFAULT if key else ReplicaIdentity.FULL)
    return Table(
        relid=relid,
        schema=schema,
        name=name,
        replica_identity=kind,
        columns=tuple(
            table_column(column, type_name, position=position, not_null=column in key)
            for position, (column, type_name) in enumerate(columns, 1)
        ),
        published=tuple(column for column, _ in columns),
        primary_key=tuple(key),
        identity=tuple(column for column, _ in columns) if kind is ReplicaIdentity.FULL else tuple(key),
    )


def relation_of(table: Table) -> Relation:
    """Announce the table as the stream would."""
    return Relation(
        table.relid,
        table.schema,
        table.name,
        table.replica_identity,
        tuple(
            Column(column.name, column.type_oid, column.typmod, column.name in table.identity)
            for column in table.published_columns
        ),
    )


def cell(value: Cell) -> Value:
    return value.encode() if isinstance(value, str) else value


def row(*values: Cell) -> bytes:
    return write_tuple([cell(value) for value in values])


@dataclass
class Source:
    """Makes the changes of some tables; `old` rows hold what the replica identity sends."""

    tables: Sequence[Table]
    lsn: int = 0x1000
    relations: dict[str, Relation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for table in self.tables:
            self.relations[table.qualified_name] = relation_of(table)

    def relation(self, table: Table) -> Relation:
        return self.relations[table.qualified_name]

    def insert(self, table: Table, *values: Cell) -> Insert:
        return Insert(self.relation(table), row(*values), self._next())

    def update(self, table: Table, *values: Cell, old: Sequence[Cell] | None = None) -> Update:
        return Update(self.relation(table), None if old is None else self._old(table, old), row(*values), self._next())

    def delete(self, table: Table, *old: Cell) -> Delete:
        return Delete(self.relation(table), self._old(table, old), self._next())

    def truncate(self, *tables: Table, restart_identity: bool = False) -> Truncate:
        relations = tuple(self.relation(table) for table in tables)
        return Truncate(relations, cascade=False, restart_identity=restart_identity, lsn=self._next())

    def _old(self, table: Table, values: Sequence[Cell]) -> bytes:
        """Write a K tuple from the key alone or a whole row, or an O tuple from a whole row."""
        names = table.published
        given = dict(zip(names if len(values) == len(names) else table.identity, values, strict=True))
        return row(*(given[name] if name in table.identity else None for name in names))

    def _next(self) -> int:
        self.lsn += 8
        return self.lsn


def transaction(position: int, *changes: Change) -> Transaction:
    """Commit changes so that the transaction ends at `position`."""
    return Transaction(700, LSN(position - 8), LSN(position), 0, changes, 100)


def batch(previous: int, position: int, *changes: Change) -> Batch:
    """Cover (previous, position] with one transaction."""
    return Batch(LSN(previous), LSN(position), [transaction(position, *changes)])
