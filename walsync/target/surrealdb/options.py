"""What a table's options come to: what stands for NULL, SCHEMAFULL or not, links to other records, rows as edges. Pure.

A link is made of the columns of a foreign key, and names the record that the key's other side has on this target.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as declare
from typing import Final

from cbor2 import CBORTag

from walsync.source.table import Table, TableColumn
from walsync.target.base import Finding
from walsync.target.surrealdb.settings import SurrealDBTableSettings
from walsync.target.surrealdb.values import ValueForm, record_id, value_form

NONE: Final = CBORTag(6, None)
"""SurrealDB's absence of a value, beside its NULL."""

ENDS: Final = ("in", "out")
"""The fields that an edge has."""

_CODE: Final = "WS4614"
_SAME_TEXT: Final = ({"smallint", "integer", "bigint"}, {"text", "character varying"})
"""Types whose values of equal text are equal; a foreign key may lead from one to another of a set."""


class _UnfitError(Exception):
    """Options that a table cannot have; the text says why."""


@dataclass(frozen=True)
class Link:
    """A field that leads to a record of `table`: its key is in `columns`, in the order of that table's key."""

    field: str
    columns: tuple[str, ...]
    table: str
    forms: tuple[ValueForm, ...] = declare(repr=False)

    def record(self, key: Sequence[bytes]) -> CBORTag:
        """Name the record."""
        return record_id(self.table, self.forms, key)

    @property
    def replaces(self) -> str | None:
        """The column whose place it takes."""
        return self.field if self.columns == (self.field,) else None


@dataclass(frozen=True)
class Options:
    """The options of one table; `null` stands for NULL. An edge has two links, called `in` and `out`."""

    null: CBORTag | None = None
    is_schemafull: bool = False
    links: tuple[Link, ...] = ()
    is_edge: bool = False

    def leads_to(self, table: str) -> bool:
        """Tell whether the rows are edges of which one end is in that table."""
        return self.is_edge and any(link.table == table for link in self.links if link.field in ENDS)

    @property
    def digest(self) -> str:
        """What the records look like because of them; another one means another copy. Empty where they say nothing."""
        return "" if self == Options() else repr((self.null is not None, self.is_edge, self.links))


class Resolver:
    """Reads the options of the tables that a target gets."""

    def __init__(self, entries: Sequence[SurrealDBTableSettings] | None, tables: Iterable[Table]) -> None:
        self.findings: list[Finding] = []
        self._tables = {table.relid: table for table in tables}
        self._entries = sorted(entries or (), key=lambda entry: entry.table_name is None)

    def resolve(self) -> Mapping[int, Options]:
        """Return the options by relid; what is wrong with them is in `findings`."""
        return {relid: self._options(table) for relid, table in self._tables.items()}

    def _options(self, table: Table) -> Options:
        entry = next((one for one in self._entries if _names(one, table)), None)
        if entry is None:
            return Options()
        wanted = {**entry.links, **entry.edge}
        links = []
        try:
            links = [self._link(table, name, columns) for name, columns in wanted.items()]
            _check_edge(table, entry)
            _check_fields(table, wanted)
        except _UnfitError as unfit:
            hint = "correct `links` or `edge` of this table under `tables` of the target"
            self.findings.append(Finding(_CODE, table.qualified_name, str(unfit), hint))
        return Options(
            NONE if entry.nulls == "none" else None, entry.schemafull, tuple(links), is_edge=bool(entry.edge)
        )

    def _link(self, table: Table, name: str, columns: tuple[str, ...]) -> Link:
        wanted = ", ".join(columns)
        key = next((one for one in table.foreign_keys if set(one.columns) == set(columns)), None)
        if key is None or not set(columns) <= set(table.published):
            raise _UnfitError(f"{name}: no foreign key of its replicated columns is over ({wanted})")
        other = self._tables.get(key.relid)
        if other is None:
            raise _UnfitError(f"{name}: the table that ({wanted}) leads to is not on this target")
        if not other.key or set(key.referenced) != set(other.key):
            raise _UnfitError(f"{name}: ({wanted}) leads to other columns than the key of {other.qualified_name}")
        sources = dict(zip(key.referenced, key.columns, strict=True))
        for referenced, column in sources.items():
            if not _is_same_text(_column(table, column), _column(other, referenced)):
                raise _UnfitError(f"{name}: {column} is of another type than what it leads to")
        forms = tuple(
            value_form(f"{table.qualified_name}.{sources[column]}", _column(other, column).type) for column in other.key
        )
        return Link(name, tuple(sources[column] for column in other.key), ".".join(other.target_name), forms)


def _check_edge(table: Table, entry: SurrealDBTableSettings) -> None:
    if entry.edge and not table.key:
        raise _UnfitError("an edge needs a key")
    ends = {column for columns in entry.edge.values() for column in columns}
    open_ends = sorted(column.name for column in table.columns if column.name in ends and not column.not_null)
    if open_ends:
        raise _UnfitError(f"an edge has two ends, and {', '.join(open_ends)} may be NULL")


def _check_fields(table: Table, wanted: Mapping[str, tuple[str, ...]]) -> None:
    for name, columns in wanted.items():
        if name == "id" or (name in table.published and columns != (name,)):
            raise _UnfitError(f"{name}: there is a column of this name")


def _names(entry: SurrealDBTableSettings, table: Table) -> bool:
    return entry.schema_name == table.schema and entry.table_name in {None, table.name}


def _column(table: Table, name: str) -> TableColumn:
    return next(column for column in table.columns if column.name == name)


def _is_same_text(one: TableColumn, other: TableColumn) -> bool:
    types = {one.type.name, other.type.name}
    return len(types) == 1 or any(types <= same for same in _SAME_TEXT)
