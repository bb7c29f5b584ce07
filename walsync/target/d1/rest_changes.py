"""Turns changes into statements that may be run again after any part of them was, by key and in three steps. Pure.

1. `checks` stop the request where a row that a change needs is not there;
2. `keeps` put rows that move aside, as they were before;
3. the rest writes rows: truncates, deletes, patches, puts, and rows that moved.

After an interrupted attempt the rows are partly those of a later position. That is harmless as long as the changes up
to there come again: whole rows replace, patches repeat, and rows that moved are put back first, as the attempt has kept
them. Only the checks are wrong then, because a row may be gone already: they are left out.
"""

from collections.abc import Iterable, Sequence
from typing import Self

from orjson import dumps

from walsync.row import UNCHANGED, Value
from walsync.target import collapse as last_state
from walsync.target.collapse import Key, TableRows, collapse, segments
from walsync.target.d1.plan import Plans, TablePlan
from walsync.target.d1.request import Encoding, Statement
from walsync.target.d1.rest_statements import guarded_sql
from walsync.target.d1.row_json import Row
from walsync.transaction.change import Change, Transaction


class RestEncoding(Encoding):
    """The statements of some changes, without the turn that each of them waits for."""

    checks: Sequence[Statement]
    keeps: Sequence[Statement]
    writes: Sequence[Statement]

    @classmethod
    def of(cls, checks: Sequence[Statement], keeps: Sequence[Statement], writes: Sequence[Statement]) -> Self:
        """Make it of its three steps."""
        made = cls((*checks, *keeps, *writes))
        made.checks, made.keeps, made.writes = checks, keeps, writes
        return made


def is_one_segment(transactions: Iterable[Transaction]) -> bool:
    """Tell whether every table keeps its shape: what is kept for rows that move is of one position."""
    cuts = segments(transactions)
    return next(cuts, None) is None or next(cuts, None) is None


def rest_statements_of(transactions: Sequence[Transaction], plans: Plans) -> RestEncoding:
    """Write changes of which every table has one shape."""
    changes: list[Change] = [change for transaction in transactions for change in transaction.changes]
    collapsed = collapse(changes, lambda relation: plans.of(relation).key)
    checks: list[Statement] = []
    keeps: list[Statement] = []
    writes = [Statement(guarded_sql(plans.of(relation)).empty_guarded) for relation in collapsed.truncated]
    for table in collapsed.tables.values():
        steps = _Steps(plans.of(table.relation))
        steps.sort(table)
        # In a table that was emptied nothing can be checked before that.
        (writes if table.truncated else checks).extend(steps.checks())
        keeps += steps.keeps()
        writes += steps.writes()
    return RestEncoding.of(checks, keeps, writes)


class _Steps:
    """The rows of one table, by what is done with them."""

    def __init__(self, plan: TablePlan) -> None:
        self._plan = plan
        self._sql = guarded_sql(plan)
        self._puts: list[bytes] = []
        self._deletes: list[Key] = []
        self._patches: dict[tuple[int, ...], list[str]] = {}
        self._moved: dict[tuple[int, ...], list[str]] = {}

    def sort(self, table: TableRows) -> None:
        patches: dict[tuple[int, ...], list[bytes]] = {}
        moved: dict[tuple[int, ...], list[Row]] = {}
        for key, state in table.rows.items():
            match state:
                case bytes():
                    self._puts.append(state)
                case last_state.Delete():
                    self._deletes.append(key)
                case last_state.Patch():
                    values = state.values
                    left_out = tuple(index for index, value in enumerate(values) if value is UNCHANGED)
                    if state.moved:
                        moved.setdefault(left_out, []).append(self._moved_row(state.base, values))
                    else:
                        patches.setdefault(left_out, []).append(state.raw)
        self._patches = {left_out: list(self._plan.raw_parameters(rows)) for left_out, rows in patches.items()}
        self._moved = {left_out: list(self._plan.parameters(rows)) for left_out, rows in moved.items()}

    def checks(self) -> list[Statement]:
        moved = [Statement(self._sql.require_base, (rows,)) for some in self._moved.values() for rows in some]
        patched = [Statement(self._sql.require, (rows,)) for some in self._patches.values() for rows in some]
        return moved + patched

    def keeps(self) -> list[Statement]:
        return [Statement(self._sql.keep_before, (rows,)) for some in self._moved.values() for rows in some]

    def writes(self) -> list[Statement]:
        plan, sql = self._plan, self._sql
        deletes = [Statement(sql.delete, (rows,)) for rows in plan.parameters(map(plan.key_row, self._deletes))]
        patches = [
            Statement(patch, (rows,))
            for left_out, some in self._patches.items()
            if (patch := sql.patch(left_out)) is not None
            for rows in some
        ]
        puts = [Statement(sql.put, (rows,)) for rows in plan.raw_parameters(self._puts)]
        moved = [Statement(sql.put_moved(left_out), (rows,)) for left_out, some in self._moved.items() for rows in some]
        return deletes + patches + puts + moved

    def _moved_row(self, base: Key, values: Sequence[Value]) -> Row:
        key = self._plan.key_row(base)
        return [dumps(key).decode(), *key, *self._plan.row(values)]
