"""The shape of a table as the replication stream announces it: names, types, and which columns identify a row."""

from dataclasses import dataclass
from enum import StrEnum


class ReplicaIdentity(StrEnum):
    """What the server logs of an old row; the letters of pg_class.relreplident."""

    DEFAULT = "d"
    NOTHING = "n"
    FULL = "f"
    INDEX = "i"


@dataclass(frozen=True, slots=True)
class Column:
    """One published column; `in_identity` is true for the columns of the replica identity (all, under FULL)."""

    name: str
    type_oid: int
    typmod: int
    in_identity: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as of one point of the stream; the order of `columns` is the order of a row's values."""

    relid: int
    schema: str
    name: str
    replica_identity: ReplicaIdentity
    columns: tuple[Column, ...]

    @property
    def qualified_name(self) -> str:
        """``schema.table``, as the configuration and all messages write it."""
        return f"{self.schema}.{self.name}"
