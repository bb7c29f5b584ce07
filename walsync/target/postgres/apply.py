"""Writes the changes of a batch into an open transaction: set-based where that is exact, else change by change."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_INTRANS
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - psycopg2's class has a lower-case name

from walsync.relation import Relation
from walsync.row import UNCHANGED, Value, read_tuple, write_copy_line
from walsync.target.collapse import Delete, Patch, TableRows, collapse, missing_row, relations_of, segments
from walsync.target.postgres.client import Session
from walsync.target.postgres.failures import worth_a_serial_try
from walsync.target.postgres.plan import Plans, TablePlan
from walsync.target.postgres.serial import empty_tables, write_in_order
from walsync.target.postgres.statements import DELETES, FIRST_PATCHES, PUTS, Statements
from walsync.transaction.change import Change, Transaction, Truncate

_COPY_BYTES: Final = 1 << 20
"""Read at a time by psycopg2, whose 8 KiB cost a call each."""


def write_changes(session: Session, transactions: Iterable[Transaction], plans: Plans, *, set_based: bool) -> None:
    """Write all changes in order, segment by segment."""
    with session.connection.cursor() as cursor:
        used: set[Relation] = set()
        for segment in segments(transactions):
            in_order = _write_segment(session, cursor, segment, plans, used) if set_based else segment
            if in_order:
                write_in_order(cursor, in_order, plans)


def _write_segment(
    session: Session, cursor: Cursor, segment: list[Change], plans: Plans, used: set[Relation]
) -> list[Change]:
    """Write the tables that can be written set-based, and return what is left to the serial road.

    A table that refuses its rows goes there alone: what another one needs, such as the exchange of unique values, may
    be impossible in order.
    """
    serial = {one.relid for change in segment for one in relations_of(change) if plans.of(one).serial}
    while True:
        together, in_order = _choose_roads(segment, serial)
        refusing = _write_together(session, cursor, together, plans, used) if together else set()
        if not refusing:
            return in_order
        serial |= refusing


def _choose_roads(segment: list[Change], serial: set[int]) -> tuple[list[Change], list[Change]]:
    """Split a segment by table: set-based, serial. Without triggers and foreign keys tables do not see each other.

    So a TRUNCATE of tables of both kinds has its place in the order of each, and is divided.
    """
    together: list[Change] = []
    in_order: list[Change] = []
    for change in segment:
        if isinstance(change, Truncate):
            here = tuple(one for one in change.relations if one.relid not in serial)
            there = tuple(one for one in change.relations if one.relid in serial)
            together += [change._replace(relations=here)] if here else []
            in_order += [change._replace(relations=there)] if there else []
        else:
            (in_order if change.relation.relid in serial else together).append(change)
    return together, in_order


def _write_together(
    session: Session, cursor: Cursor, changes: list[Change], plans: Plans, used: set[Relation]
) -> set[int]:
    """Write the last state per key; returns the tables whose rows are refused like this, with nothing done then."""
    collapsed = collapse(changes, lambda relation: plans.of(relation).key)
    written = [table for table in collapsed.tables.values() if table.rows]
    statements = {table.relation.relid: _staging(session, cursor, plans.of(table.relation)) for table in written}
    at_work = set(collapsed.tables)
    cursor.execute("SAVEPOINT walsync")
    try:
        if collapsed.truncated:
            empty_tables(
                cursor, [plans.of(one) for one in collapsed.truncated], restart_identity=collapsed.restart_identity
            )
        for table in written:
            at_work = {table.relation.relid}
            if table.relation in used:
                cursor.execute(statements[table.relation.relid].empty)
            used.add(table.relation)
            _write_table(cursor, table, plans.of(table.relation), statements[table.relation.relid])
    except psycopg2.Error as error:
        if not worth_a_serial_try(error):
            raise
        cursor.execute("ROLLBACK TO SAVEPOINT walsync")
        return at_work
    finally:
        # Also after ROLLBACK TO: it keeps the savepoint. In a failed transaction there is nothing to release.
        if session.connection.info.transaction_status == TRANSACTION_STATUS_INTRANS:
            cursor.execute("RELEASE SAVEPOINT walsync")
    return set()


def _staging(session: Session, cursor: Cursor, plan: TablePlan) -> Statements:
    """Find or make the staging table of this shape; outside the savepoint, so that it survives one."""
    name = session.staging.get(plan.relation)
    if name is not None:
        return Statements(plan, name)
    statements = Statements(plan, session.stage(plan.relation))
    cursor.execute(statements.create)
    return statements


@dataclass(slots=True)
class _Staged:
    """The rows of one table on their way into staging, sorted into groups by what they leave out."""

    plan: TablePlan
    lines: list[bytes] = field(default_factory=list)
    groups: dict[tuple[tuple[int, ...], bool], int] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)

    def add(self, table: TableRows) -> None:
        no_base: list[Value] = [None] * len(self.plan.key)
        for key, state in table.rows.items():
            match state:
                case bytes():
                    self._line(PUTS, no_base, read_tuple(state))
                case Delete():
                    of_key: list[Value] = [None] * len(self.plan.columns)
                    for index, value in zip(self.plan.key, key, strict=True):
                        of_key[index] = value
                    self._line(DELETES, no_base, of_key)
                case Patch():
                    values = state.values
                    self._line(self._group(values, moved=state.moved), state.base, values)

    def _group(self, values: Sequence[Value], *, moved: bool) -> int:
        left_out = tuple(index for index, value in enumerate(values) if value is UNCHANGED)
        replaced = any(index not in left_out for index in self.plan.replaced_on)
        return self.groups.setdefault((left_out, moved or replaced), FIRST_PATCHES + len(self.groups))

    def _line(self, group: int, base: Sequence[Value], values: Sequence[Value]) -> None:
        self.counts[group] = self.counts.get(group, 0) + 1
        self.lines.append(write_copy_line([b"%d" % group, *base, *values]))


def _write_table(cursor: Cursor, table: TableRows, plan: TablePlan, statements: Statements) -> None:
    staged = _Staged(plan)
    staged.add(table)
    cursor.copy_expert(statements.copy, BytesIO(b"".join(staged.lines)), _COPY_BYTES)
    puts = [PUTS] if PUTS in staged.counts else []
    for (left_out, filled), group in staged.groups.items():
        if filled:
            cursor.execute(statements.fill(group, left_out))
            _require_all(cursor, plan, statements, group, staged.counts[group])
            puts.append(group)
    if DELETES in staged.counts:
        cursor.execute(statements.delete)
    if puts and plan.replaced_on:
        cursor.execute(statements.replace(puts))
    for (left_out, filled), group in staged.groups.items():
        if not filled:
            cursor.execute(statements.patch(group, left_out))
            _require_all(cursor, plan, statements, group, staged.counts[group])
    if puts:
        cursor.execute(statements.put(puts))


def _require_all(cursor: Cursor, plan: TablePlan, statements: Statements, group: int, count: int) -> None:
    """Prove that each staged row found its row in the target."""
    if cursor.rowcount == count:
        return
    cursor.execute(statements.missing(group))
    row = cursor.fetchone()
    key = tuple(str(value).encode() for value in row) if row else ()
    raise missing_row(plan.relation, plan.key if row else (), key)
