"""The serial road: every change by itself, in order, as exactly one INSERT, UPDATE, DELETE or TRUNCATE of the target.

For tables that the set-based road cannot serve exactly, for segments it failed on, and where triggers on the target
have to see what happened on the source. Values are parameters, parsed as the column's base type.
"""

from collections.abc import Iterable, Sequence
from typing import assert_never

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - psycopg2's class has a lower-case name

from walsync.errors import TargetRefused
from walsync.relation import Relation
from walsync.row import UNCHANGED, Value, read_tuple
from walsync.target.collapse import Key, describe_key, key_of, missing_row, read_key, require_whole
from walsync.target.postgres.failures import judge
from walsync.target.postgres.plan import Plans, TablePlan
from walsync.target.postgres.statements import on_conflict, truncate
from walsync.target.postgres.values import parameter
from walsync.transaction.change import Change, Delete, Insert, Truncate, Update


def write_in_order(cursor: Cursor, changes: Iterable[Change], plans: Plans) -> None:
    """Write changes one by one; TargetRefused names the row that fails, by its key."""
    # The source checked its deferred constraints when it committed: so does the target, where it has the same ones.
    cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    for change in changes:
        match change:
            case Insert():
                _insert(cursor, plans.of(change.relation), change)
            case Update():
                _update(cursor, plans.of(change.relation), change)
            case Delete():
                _delete(cursor, plans.of(change.relation), change)
            case Truncate():
                empty_tables(
                    cursor, [plans.of(one) for one in change.relations], restart_identity=change.restart_identity
                )
            case _:
                assert_never(change)


def empty_tables(cursor: Cursor, plans: Sequence[TablePlan], *, restart_identity: bool) -> None:
    """Empty tables together, and no others: never CASCADE, which reaches tables that walsync does not write.

    A table that others reference cannot be truncated without them, whatever the session's role: it is deleted from.
    """
    together = list(plans)
    while True:
        oids = {plan.target.oid for plan in together}
        kept = [plan for plan in together if plan.target.referenced_by <= oids]
        if len(kept) == len(together):
            break
        together = kept
    if together:
        cursor.execute(truncate([plan.name for plan in together], restart_identity=restart_identity))
    for plan in plans:
        if plan not in together:
            cursor.execute(f"DELETE FROM {plan.name}")


def _insert(cursor: Cursor, plan: TablePlan, change: Insert) -> None:
    values = read_tuple(change.new)
    require_whole(plan.relation, values)
    _put(cursor, plan, values)


def _update(cursor: Cursor, plan: TablePlan, change: Update) -> None:
    new = read_tuple(change.new)
    if not plan.key:
        _update_without_key(cursor, plan, change, new)
        return
    key = read_key(plan.relation, plan.key, new)
    old_key = key if change.old is None else key_of(plan.relation, plan.key, change.old)
    left_out = [index for index, value in enumerate(new) if value is UNCHANGED]
    columns = [index for index in plan.others if index not in left_out]
    if key != old_key or not plan.others:
        columns = [*plan.key, *columns]
    settings = [f"{plan.columns[index]} = {_cast(plan, index)}" for index in columns]
    if not settings:
        # Nothing that came is new: the row is still to be there, and triggers are to see the update.
        settings = [f"{plan.columns[left_out[0]]} = t.{plan.columns[left_out[0]]}"]
    sql = f"UPDATE {plan.name} AS t SET {', '.join(settings)} WHERE {_by_key(plan)}"
    hit = _execute(cursor, plan, sql, [*(new[index] for index in columns), *old_key], key=old_key)
    if hit == 0 and left_out:
        raise missing_row(plan.relation, plan.key, old_key)
    if hit == 0:
        _put(cursor, plan, new)


def _delete(cursor: Cursor, plan: TablePlan, change: Delete) -> None:
    old = read_tuple(change.old)
    if plan.key:
        key = read_key(plan.relation, plan.key, old)
        _execute(cursor, plan, f"DELETE FROM {plan.name} AS t WHERE {_by_key(plan)}", key, key=key)
        return
    sql = f"{_one_row(plan)} DELETE FROM {plan.name} AS t USING one WHERE {_IS_THE_ONE}"
    _require_one(plan, _execute(cursor, plan, sql, _full(plan, old)))


def _update_without_key(cursor: Cursor, plan: TablePlan, change: Update, new: Sequence[Value]) -> None:
    if change.old is None:
        raise _not_full(plan.relation)
    old = _full(plan, read_tuple(change.old))
    settings = ", ".join(f"{name} = {_cast(plan, index)}" for index, name in enumerate(plan.columns))
    sql = f"{_one_row(plan)} UPDATE {plan.name} AS t SET {settings} FROM one WHERE {_IS_THE_ONE}"
    _require_one(plan, _execute(cursor, plan, sql, [*old, *_full(plan, new)]))


def _put(cursor: Cursor, plan: TablePlan, values: Sequence[Value]) -> None:
    rows = ", ".join(_cast(plan, index) for index in range(len(plan.columns)))
    sql = (
        f"INSERT INTO {plan.name} ({', '.join(plan.columns)}) OVERRIDING SYSTEM VALUE VALUES ({rows})"
        f" {on_conflict(plan)}"
    )
    _execute(cursor, plan, sql, values, key=read_key(plan.relation, plan.key, values))


_IS_THE_ONE = "t.tableoid = one.tableoid AND t.ctid = one.ctid"


def _one_row(plan: TablePlan) -> str:
    """Find one row by all of its text: equal rows are the same to everybody, so any of them will do."""
    mine = ", ".join(f"t.{name}" for name in plan.columns)
    theirs = ", ".join(_cast(plan, index) for index in range(len(plan.columns)))
    return (
        f"WITH one AS MATERIALIZED (SELECT t.tableoid, t.ctid FROM {plan.name} AS t"
        f" WHERE ROW({mine})::text = ROW({theirs})::text LIMIT 1)"
    )


def _full(plan: TablePlan, values: Sequence[Value]) -> Sequence[Value]:
    if UNCHANGED in values or not all(column.in_identity for column in plan.relation.columns):
        raise _not_full(plan.relation)
    return values


def _not_full(relation: Relation) -> TargetRefused:
    return TargetRefused(
        "WS4302",
        f"{relation.qualified_name}: a table without a key was changed, and the stream lacks the old row",
        hint=f"on the source: ALTER TABLE {relation.qualified_name} REPLICA IDENTITY FULL; then take a new snapshot",
    )


def _require_one(plan: TablePlan, hit: int) -> None:
    if hit != 1:
        raise TargetRefused(
            "WS4304",
            f"{plan.relation.qualified_name}: a change of a table without a key hit {hit} rows instead of one",
            hint="the target has lost rows or was written by others: take a new snapshot of this table",
        )


def _by_key(plan: TablePlan) -> str:
    return " AND ".join(
        f"t.{plan.columns[index]} {operator} {_cast(plan, index)}"
        for index, operator in zip(plan.key, plan.operators, strict=True)
    )


_PLACEHOLDER = "\0"
"""Stands for a parameter until names are safe from psycopg2, which reads every % in a statement; no name holds NUL."""


def _cast(plan: TablePlan, index: int) -> str:
    return f"CAST({_PLACEHOLDER} AS {plan.types[index]})"


def _execute(cursor: Cursor, plan: TablePlan, sql: str, values: Sequence[Value], *, key: Key = ()) -> int:
    parameters = [parameter(value) for value in values]
    try:
        cursor.execute(sql.replace("%", "%%").replace(_PLACEHOLDER, "%s"), parameters)
    except psycopg2.Error as error:
        row = describe_key(plan.relation, plan.key, key) if plan.key else plan.relation.qualified_name
        raise judge(error, row) from None
    return cursor.rowcount
