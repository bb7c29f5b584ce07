"""A source table as the catalogue describes it: what targets build their own table from."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from walsync.relation import ReplicaIdentity
from walsync.source.pgtype import PgType


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A live column of a table.

    `type_name` is ``format_type(oid, typmod)`` with an empty search_path: what is not built in carries its schema.
    `base_type_name` is the same without typmod and, for a domain, of its base type: what a value can be parsed as
    without being cut or rounded. `type_kind` is pg_type.typtype: b(ase), e(num), d(omain), c(omposite),
    r(ange), m(ultirange).
    `default` is the expression of a default or, where `generated` is ``s`` (stored) or ``v`` (virtual), of the value.
    `type` is the whole structure of the type, domains resolved.
    """

    name: str
    position: int
    type_oid: int
    typmod: int
    type_name: str
    base_type_name: str
    type_kind: str
    enum_labels: tuple[str, ...]
    not_null: bool
    default: str | None
    generated: str
    type: PgType


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key: `columns` hold what `referenced` holds in the table `relid`, in the same order."""

    columns: tuple[str, ...]
    relid: int
    referenced: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of the configuration, found on the source.

    `columns` are all live columns in table order; `published` names those that the stream carries (no generated ones).
    `identity` names the columns of the replica identity, `primary_key` those of the primary key, both in table order.
    `weak_leaves` names partitions whose own replica identity, by which the server goes, lacks some of `identity`.
    `foreign_keys` are those of the table, whatever table they lead to.
    `renamed` is the name that it was given on the target it was selected for, schema first where that has schemas.
    """

    relid: int
    schema: str
    name: str
    replica_identity: ReplicaIdentity
    columns: tuple[TableColumn, ...]
    published: tuple[str, ...]
    primary_key: tuple[str, ...]
    identity: tuple[str, ...]
    row_filter: str | None = None
    is_partitioned: bool = False
    leaves: tuple[int, ...] = ()
    weak_leaves: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    renamed: tuple[str, ...] = ()

    @property
    def qualified_name(self) -> str:
        """``schema.table``."""
        return f"{self.schema}.{self.name}"

    @property
    def target_name(self) -> tuple[str, ...]:
        """The table's name on the target, schema first where that has schemas."""
        return self.renamed or (self.schema, self.name)

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The columns that name a row on targets; empty for a table that has none (REPLICA IDENTITY FULL, no key)."""
        return self.primary_key if self.replica_identity is ReplicaIdentity.FULL else self.identity

    @cached_property
    def published_columns(self) -> tuple[TableColumn, ...]:
        """The columns that the stream carries, in table order."""
        names = set(self.published)
        return tuple(column for column in self.columns if column.name in names)

    @cached_property
    def definition(self) -> str:
        """A digest of what the target's copy depends on: a different one means a new snapshot of this table."""
        columns = [(column.name, column.type_name) for column in self.published_columns]
        text = repr((self.row_filter, columns, self.leaves))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
