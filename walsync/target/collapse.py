"""Changes -> what each row comes to: the last state per key, so that a target writes every row of a batch once.

Pure, and shared by all kinds of target. The changes of one call agree on the shape of each table; `segments` cuts a
batch that way. What a target has to do with the result, in this order, reading base rows before it writes any:

1. empty the truncated tables;
2. fill every Patch that moved from the base row as it stood before this call;
3. delete; then write patches and puts. Deletes go first because two keys may differ as text and be equal to the
   target (1.0 and 1.00): the delete of one must not remove the row put under the other.

It does not decide how rows are written, and it refuses what no sound stream contains.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from walsync.errors import TargetRefused
from walsync.relation import Relation
from walsync.row import UNCHANGED, Value, has_unchanged, pick, read_tuple, write_tuple
from walsync.transaction import change as of_source
from walsync.transaction.change import Change, Transaction

Key: TypeAlias = tuple[bytes, ...]
"""The text of the key columns, in the order of the key indexes."""

KeyIndexes: TypeAlias = Callable[[Relation], tuple[int, ...]]
"""Where a relation's key columns stand among its columns; only asked for relations that have a key."""

SEGMENT_CHANGES: Final = 50_000
"""Bounds the memory of one call; measured: larger segments are no faster on Postgres."""

_NEW_SNAPSHOT: Final = "the target has lost rows or the stream is damaged: take a new snapshot of this table"


@dataclass(frozen=True, slots=True)
class Delete:
    """No row has this key."""


Put: TypeAlias = bytes
"""The whole row, as a raw tuple: it replaces whatever the target has under this key, and never merges with it."""


class Patch(NamedTuple):
    """A row whose UNCHANGED values stand in the target's row `base`, as that row was before this call.

    `moved` tells that it had another key on the way, also where it came back: that key's delete may hit the base.
    """

    raw: bytes
    base: Key
    moved: bool

    @property
    def values(self) -> list[Value]:
        """One value per column."""
        return read_tuple(self.raw)


LastState: TypeAlias = Delete | Put | Patch

_DELETE: Final = Delete()


@dataclass(slots=True)
class TableRows:
    """What the rows of one table come to; `truncated` means that nothing else is left of the table."""

    relation: Relation
    truncated: bool = False
    rows: dict[Key, LastState] = field(default_factory=dict)


@dataclass(slots=True)
class Collapsed:
    """What a sequence of changes comes to, by relid in order of first appearance."""

    tables: dict[int, TableRows] = field(default_factory=dict)
    restart_identity: bool = False

    @property
    def truncated(self) -> list[Relation]:
        """The tables to empty first."""
        return [table.relation for table in self.tables.values() if table.truncated]


def segments(transactions: Iterable[Transaction], limit: int = SEGMENT_CHANGES) -> Iterator[list[Change]]:
    """Cut the changes of whole transactions where a table's shape changes, and after `limit` changes."""
    segment: list[Change] = []
    shapes: dict[int, Relation] = {}
    for transaction in transactions:
        for change in transaction.changes:
            relations = relations_of(change)
            if len(segment) >= limit or any(shapes.get(each.relid, each) != each for each in relations):
                yield segment
                segment, shapes = [], {}
            shapes.update((each.relid, each) for each in relations)
            segment.append(change)
    if segment:
        yield segment


def relations_of(change: Change) -> tuple[Relation, ...]:
    """Tell which tables a change touches."""
    return change.relations if isinstance(change, of_source.Truncate) else (change.relation,)


def relations_in(changes: Iterable[Change]) -> Iterator[Relation]:
    """Go through the relations that changes touch: each at least once, and a run of changes of one table once only."""
    last: Relation | None = None
    for change in changes:
        # By identity: comparing two relations costs as much as writing a row.
        if not isinstance(change, of_source.Truncate) and change.relation is last:
            continue
        for last in relations_of(change):
            yield last


def collapse(changes: Iterable[Change], key_indexes: KeyIndexes) -> Collapsed:
    """Reduce changes to the last state per key; TargetRefused for what a sound stream never contains."""
    collapsed = Collapsed()
    indexes: dict[int, tuple[int, ...]] = {}
    table: TableRows | None = None
    for change in changes:
        if isinstance(change, of_source.Truncate):
            _truncate(collapsed, change)
            table = None
            continue
        relation = change.relation
        # Changes of one table mostly come together: what they share is looked up once.
        if table is None or relation is not table.relation:
            table = collapsed.tables.setdefault(relation.relid, TableRows(relation))
            if relation.relid not in indexes:
                indexes[relation.relid] = key_indexes(relation)
            key_at, rows = indexes[relation.relid], table.rows
        match change:
            case of_source.Insert():
                raw = change.new
                if has_unchanged(raw):
                    require_whole(relation, read_tuple(raw))
                rows[pick(raw, key_at) or key_of(relation, key_at, raw)] = raw
            case of_source.Update():
                _update(table, key_at, change)
            case of_source.Delete():
                rows[key_of(relation, key_at, change.old)] = _DELETE
    return collapsed


def key_of(relation: Relation, indexes: tuple[int, ...], raw: bytes) -> Key:
    """Pick the key out of a raw tuple, as `read_key` does."""
    return pick(raw, indexes) or read_key(relation, indexes, read_tuple(raw))


def read_key(relation: Relation, indexes: tuple[int, ...], values: Sequence[Value]) -> Key:
    """Pick a row's key; every part of it is there, or the stream cannot be believed."""
    key: list[bytes] = []
    for index in indexes:
        value = values[index]
        if value is None or value is UNCHANGED:
            column = relation.columns[index].name
            raise TargetRefused(
                "WS4306",
                f"{relation.qualified_name}: a row came without a value in key column {column}",
                hint="compare the table's replica identity with its key, then restart",
            )
        key.append(value)
    return tuple(key)


def require_whole(relation: Relation, values: Sequence[Value]) -> None:
    """Refuse a new row with a hole: an UPDATE that made it enter a row filter does not send unchanged TOAST values."""
    if UNCHANGED in values:
        column = relation.columns[values.index(UNCHANGED)].name
        raise TargetRefused(
            "WS4303",
            f"{relation.qualified_name}: a new row came without its value of {column}",
            hint=f"on the source: ALTER TABLE {relation.qualified_name} REPLICA IDENTITY FULL; then a new snapshot",
        )


def describe_key(relation: Relation, indexes: tuple[int, ...], key: Key) -> str:
    """Name a row of a relation as `name_row` does."""
    return name_row(relation.qualified_name, [relation.columns[index].name for index in indexes], key)


def name_row(table: str, columns: Sequence[str], key: Key) -> str:
    """Name a row in a message by its key: ``public.users (id=7)``, each value cut at a length people can read."""
    parts = (f"{name}={value[:100].decode(errors='replace')}" for name, value in zip(columns, key, strict=True))
    return f"{table} ({', '.join(parts)})"


def missing_row(relation: Relation, indexes: tuple[int, ...], key: Key) -> TargetRefused:
    """Say that an UPDATE left columns out, and the target has no row that they could be taken from."""
    return TargetRefused(
        "WS4301",
        f"{describe_key(relation, indexes, key)}: an update needs this row and the target does not have it",
        hint=_NEW_SNAPSHOT,
    )


def _truncate(collapsed: Collapsed, change: of_source.Truncate) -> None:
    for relation in change.relations:
        collapsed.tables[relation.relid] = TableRows(relation, truncated=True)
    collapsed.restart_identity = collapsed.restart_identity or change.restart_identity


def _update(table: TableRows, indexes: tuple[int, ...], change: of_source.Update) -> None:
    raw = change.new
    key = key_of(table.relation, indexes, raw)
    old_key = key if change.old is None else key_of(table.relation, indexes, change.old)
    moved = key != old_key
    state = _fill(table, indexes, raw, old_key, moved=moved) if has_unchanged(raw) else raw
    if moved:
        table.rows[old_key] = _DELETE
    table.rows[key] = state


def _fill(table: TableRows, indexes: tuple[int, ...], raw: bytes, old_key: Key, *, moved: bool) -> LastState:
    """Take what an UPDATE left out from the row's pending state, else leave it to the base row."""
    pending = table.rows.get(old_key)
    match pending:
        case None if not table.truncated:
            return Patch(raw, old_key, moved)
        case None | Delete():
            raise missing_row(table.relation, indexes, old_key)
        case bytes():
            return _overlay(raw, pending)
        case Patch():
            merged = _overlay(raw, pending.raw)
            return Patch(merged, pending.base, moved or pending.moved) if has_unchanged(merged) else merged


def _overlay(raw: bytes, below: bytes) -> bytes:
    pairs = zip(read_tuple(raw), read_tuple(below), strict=True)
    return write_tuple([under if value is UNCHANGED else value for value, under in pairs])
