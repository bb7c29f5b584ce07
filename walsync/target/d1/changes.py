"""Turns changes into the statements of a request: set-based by key; tables without a key in order, row by row. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import assert_never

from walsync.errors import TargetRefused
from walsync.relation import Relation
from walsync.row import UNCHANGED, Value, read_tuple
from walsync.target import collapse as last_state
from walsync.target.collapse import Key, TableRows, collapse, relations_in, relations_of, require_whole, segments
from walsync.target.d1.plan import Plans, TablePlan
from walsync.target.d1.request import Statement
from walsync.target.d1.row_json import Row
from walsync.target.d1.statements import KEPT
from walsync.transaction.change import Change, Delete, Insert, Transaction, Truncate, Update


def statements_of(transactions: Iterable[Transaction], plans: Plans, *, in_order: bool) -> list[Statement]:
    """Write the changes of whole transactions or parts of them; `in_order` writes each change by itself."""
    statements: list[Statement] = []
    for segment in _segments(transactions, in_order=in_order):
        keyed, keyless = _split(segment, plans)
        statements += _write_collapsed(keyed, plans)
        statements += _write_in_order(keyless, plans)
    return statements


def _segments(transactions: Iterable[Transaction], *, in_order: bool) -> Iterable[list[Change]]:
    """Cut as `segments` does; where every table has one shape, as nearly always, there is nothing to cut."""
    together = list(transactions)
    if in_order:
        return segments(together, 1)
    changes = [change for transaction in together for change in transaction.changes]
    shapes: dict[int, Relation] = {}
    for relation in relations_in(changes):
        if shapes.setdefault(relation.relid, relation) != relation:
            return segments(together)
    return [changes] if changes else []


def _split(segment: Sequence[Change], plans: Plans) -> tuple[list[Change], list[Change]]:
    """Divide by kind of table: two tables do not see each other's rows."""
    without_key = plans.without_key
    if not without_key:
        return list(segment), []
    keyed: list[Change] = []
    keyless: list[Change] = []
    for change in segment:
        if isinstance(change, Truncate):
            for relation in relations_of(change):
                (keyless if relation.relid in without_key else keyed).append(change._replace(relations=(relation,)))
        else:
            (keyless if change.relation.relid in without_key else keyed).append(change)
    return keyed, keyless


@dataclass(slots=True)
class _Group:
    """Rows that leave out the same columns."""

    patches: list[bytes] = field(default_factory=list)
    moved: list[Row] = field(default_factory=list)


def _write_collapsed(changes: Iterable[Change], plans: Plans) -> Iterator[Statement]:
    collapsed = collapse(changes, lambda relation: plans.of(relation).key)
    for relation in collapsed.truncated:
        yield Statement(plans.of(relation).sql.empty)
    for table in collapsed.tables.values():
        yield from _write_table(table, plans.of(table.relation))


def _write_table(table: TableRows, plan: TablePlan) -> Iterator[Statement]:
    puts: list[bytes] = []
    deletes: list[Key] = []
    groups: dict[tuple[int, ...], _Group] = {}
    numbers = count()
    for key, state in table.rows.items():
        match state:
            case bytes():
                puts.append(state)
            case last_state.Delete():
                deletes.append(key)
            case last_state.Patch():
                values = state.values
                group = groups.setdefault(_left_out(values), _Group())
                if state.moved:
                    group.moved.append(plan.moved_row(next(numbers), state.base, values))
                else:
                    group.patches.append(state.raw)
    sql = plan.sql
    moved = [(left_out, rows) for left_out, group in groups.items() for rows in plan.parameters(group.moved)]
    # What moves is read before anything is deleted.
    for left_out, rows in moved:
        yield Statement(sql.require_base, (rows,))
        yield from (Statement(sql.keep(index), (rows,)) for index in left_out)
    yield from (Statement(sql.delete, (rows,)) for rows in plan.parameters(map(plan.key_row, deletes)))
    for left_out, group in groups.items():
        for rows in plan.raw_parameters(group.patches):
            yield from _patch(plan, left_out, rows)
    yield from (Statement(sql.put, (rows,)) for rows in plan.raw_parameters(puts))
    yield from (Statement(sql.put_kept(left_out), (rows,)) for left_out, rows in moved)
    if moved:
        yield Statement(f"DELETE FROM {KEPT}")


def _patch(plan: TablePlan, left_out: Sequence[int], rows: str) -> Iterator[Statement]:
    yield Statement(plan.sql.require, (rows,))
    patch = plan.sql.patch(left_out)
    if patch is not None:
        yield Statement(patch, (rows,))


def _left_out(values: Sequence[Value]) -> tuple[int, ...]:
    return tuple(index for index, value in enumerate(values) if value is UNCHANGED)


def _write_in_order(changes: Iterable[Change], plans: Plans) -> Iterator[Statement]:
    """Append, and delete exactly one equal row, in order; an update is both. Inserts in a row go together."""
    appended: dict[Relation, list[Row]] = {}

    def flush(relation: Relation) -> Iterator[Statement]:
        plan = plans.of(relation)
        for rows in plan.parameters(appended.pop(relation, [])):
            yield Statement(plan.sql.append(plan.table), (rows,))

    for change in changes:
        match change:
            case Insert():
                new = read_tuple(change.new)
                require_whole(change.relation, new)
                appended.setdefault(change.relation, []).append(plans.of(change.relation).row(new))
            case Update():
                yield from flush(change.relation)
                yield from _remove_one(plans.of(change.relation), change.relation, change.old)
                row = plans.of(change.relation).row(_full(change.relation, read_tuple(change.new)))
                appended.setdefault(change.relation, []).append(row)
            case Delete():
                yield from flush(change.relation)
                yield from _remove_one(plans.of(change.relation), change.relation, change.old)
            case Truncate():
                for relation in change.relations:
                    appended.pop(relation, None)
                    yield Statement(plans.of(relation).sql.empty)
            case _:
                assert_never(change)
    for relation in list(appended):
        yield from flush(relation)


def _remove_one(plan: TablePlan, relation: Relation, old: bytes | None) -> Iterator[Statement]:
    if old is None:
        raise _not_full(relation)
    row = plan.one(plan.row(_full(relation, read_tuple(old))))
    yield Statement(plan.sql.require_equal, (row,))
    yield Statement(plan.sql.delete_equal, (row,))


def _full(relation: Relation, values: Sequence[Value]) -> Sequence[Value]:
    if UNCHANGED in values or not all(column.in_identity for column in relation.columns):
        raise _not_full(relation)
    return values


def _not_full(relation: Relation) -> TargetRefused:
    return TargetRefused(
        "WS4302",
        f"{relation.qualified_name}: a table without a key was changed, and the stream lacks the old row",
        hint=f"on the source: ALTER TABLE {relation.qualified_name} REPLICA IDENTITY FULL; then take a new snapshot",
    )
