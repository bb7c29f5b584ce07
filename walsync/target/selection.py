"""Which tables, under which names, and which of their rows a target gets. Pure.

A row that no longer matches is a delete for the target, one that begins to match an insert: both sides of an update
must be known, so the matched columns belong to the replica identity (under REPLICA IDENTITY FULL: any column).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from walsync.errors import ConfigurationError
from walsync.lsn import LSN
from walsync.relation import Relation
from walsync.row import Value, read_tuple
from walsync.source.table import Table
from walsync.target.settings import TargetSettings, TargetTableSettings
from walsync.transaction.change import Change, Delete, Insert, Transaction, Truncate, Update

_BOOLEANS = {"true": "t", "false": "f"}
"""How people write what Postgres prints as t and f."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A table as one target gets it; empty `match` means all rows."""

    table: Table
    match: Mapping[str, frozenset[bytes]] = field(default_factory=dict)

    @property
    def definition(self) -> str:
        """What the target's copy depends on: a different one means a new snapshot."""
        if not self.match:
            return self.table.definition
        conditions = sorted((column, sorted(values)) for column, values in self.match.items())
        return f"{self.table.definition} {conditions!r}"

    def keep(self, change: Insert | Update | Delete) -> Insert | Update | Delete | None:
        """Return what the change is for the target; None when it concerns only rows that it does not have."""
        if not self.match:
            return change
        match change:
            case Insert():
                return change if self._matches(change.relation, read_tuple(change.new)) else None
            case Delete():
                return change if self._matches(change.relation, read_tuple(change.old)) else None
            case Update():
                return self._keep_update(change)

    def _keep_update(self, change: Update) -> Insert | Update | Delete | None:
        matches = self._matches(change.relation, read_tuple(change.new))
        # Without an old row the identity is what it was, and the matched columns with it.
        matched = matches if change.old is None else self._matches(change.relation, read_tuple(change.old))
        if matches and not matched:
            return Insert(change.relation, change.new, change.lsn)
        if matched and not matches and change.old is not None:
            return Delete(change.relation, change.old, change.lsn)
        return change if matches else None

    def _matches(self, relation: Relation, values: Sequence[Value]) -> bool:
        return all(
            value in self.match[column.name]
            for column, value in zip(relation.columns, values, strict=True)
            if column.name in self.match
        )


def select(settings: TargetSettings, tables: Iterable[Table]) -> list[Selected]:
    """Choose a target's part of the source's tables; ConfigurationError where it cannot be had."""
    available = {(table.schema, table.name): table for table in tables}
    selected = []
    entries = settings.tables if settings.tables is not None else _everything(available)
    taken: set[int] = set()
    for entry in sorted(entries, key=lambda entry: entry.table_name is None):
        found = [table for table in available.values() if _names(entry, table) and table.relid not in taken]
        if not found and entry.table_name is not None:
            raise ConfigurationError(
                "WS1023",
                f"target {settings.name}: {entry.table} is not among source.tables",
                hint="add it to source.tables, or remove it here",
            )
        for table in found:
            taken.add(table.relid)
            selected.append(_selected(settings, entry, table))
    _refuse_collisions(settings, selected)
    return selected


def keep_change(change: Change, selected: Mapping[int, Selected]) -> Change | None:
    """Return the part of a change that concerns the selected tables, by relid."""
    if isinstance(change, Truncate):
        relations = tuple(relation for relation in change.relations if relation.relid in selected)
        return change._replace(relations=relations) if relations else None
    table = selected.get(change.relation.relid)
    return table.keep(change) if table is not None else None


def keep_transaction(
    transaction: Transaction, selected: Mapping[int, Selected], synced: Mapping[int, LSN]
) -> Transaction | None:
    """Return the part of a transaction that the selected tables lack, each of which has everything below its `synced`.

    None when they lack nothing of it.
    """
    lacking = (_lacking(change, transaction.commit_lsn, synced) for change in transaction.changes)
    changes = tuple(kept for one in lacking if one is not None and (kept := keep_change(one, selected)) is not None)
    if not changes:
        return None
    return transaction if changes == transaction.changes else transaction._replace(changes=changes)


def _lacking(change: Change, commit_lsn: LSN, synced: Mapping[int, LSN]) -> Change | None:
    if not isinstance(change, Truncate):
        since = synced.get(change.relation.relid)
        return change if since is not None and commit_lsn >= since else None
    relations = tuple(r for r in change.relations if commit_lsn >= synced.get(r.relid, commit_lsn + 1))
    return change._replace(relations=relations) if relations else None


def _everything(available: Iterable[tuple[str, str]]) -> list[TargetTableSettings]:
    return [TargetTableSettings(table=f'"{schema}".*') for schema in sorted({schema for schema, _ in available})]


def _names(entry: TargetTableSettings, table: Table) -> bool:
    return entry.schema_name == table.schema and entry.table_name in {None, table.name}


def _selected(settings: TargetSettings, entry: TargetTableSettings, table: Table) -> Selected:
    match = {**settings.match, **entry.match}
    published = {column.name: column for column in table.published_columns}
    for column in match:
        if column not in published or column not in table.identity:
            raise ConfigurationError(
                "WS1024",
                f"target {settings.name}: `match` on {table.qualified_name}: {column} is not in its replica identity",
                hint=f"ALTER TABLE {table.qualified_name} REPLICA IDENTITY FULL; or leave the table out of this target",
            )
    values = {
        column: frozenset(
            (_BOOLEANS.get(value, value) if published[column].type.name == "boolean" else value).encode()
            for value in wanted
        )
        for column, wanted in match.items()
    }
    name = settings.read_name(entry.rename) if entry.rename is not None else settings.name_of(table.schema, table.name)
    return Selected(replace(table, renamed=name), values)


def _refuse_collisions(settings: TargetSettings, selected: Sequence[Selected]) -> None:
    first: dict[str, Table] = {}
    for one in selected:
        name = ".".join(one.table.target_name)
        other = first.setdefault(name.lower() if settings.names_ignore_case else name, one.table)
        if other is not one.table:
            raise ConfigurationError(
                "WS1025",
                f"target {settings.name}: {other.qualified_name} and {one.table.qualified_name} would both be {name}",
                hint=f"give one of them another name: tables: [{{table: {one.table.qualified_name}, rename: ...}}]",
            )
