"""The SQL that writes rows where a request may be cut anywhere: each statement looks by itself whether it is its turn.

?1 are the rows as JSON, as everywhere; ?2 to ?8 say whose turn it has to be, as `turn` writes them: slot, target,
epoch, timeline, and the checkpoint that stood when the request was made. Where that has changed, a statement finds no
rows.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from walsync.target.base import Writer
from walsync.target.d1.checkpoint import position_columns
from walsync.target.d1.plan import TablePlan
from walsync.target.d1.request import Parameter, Statement
from walsync.target.d1.statements import CHECKPOINT, CREATE_OWN, TableSql
from walsync.target.slices import Reached

_BEFORE: Final = "_walsync_before"

CREATE_REST: Final = (
    *CREATE_OWN,
    # The rows that move, as they were before the first statement of a batch, until its checkpoint is past it.
    Statement(
        f"CREATE TABLE IF NOT EXISTS {_BEFORE} (slot TEXT NOT NULL, target TEXT NOT NULL, position TEXT NOT NULL,"
        ' "table" TEXT NOT NULL, "key" TEXT NOT NULL, "column" TEXT NOT NULL, value ANY,'
        ' PRIMARY KEY (slot, target, position, "table", "key", "column")) STRICT, WITHOUT ROWID'
    ),
)

_MY_TURN: Final = (
    "slot = ?2 AND target = ?3 AND epoch = ?4 AND timeline = ?5"
    " AND lsn = ?6 AND ifnull(open_commit_lsn, '') = ?7 AND ifnull(last_change_lsn, '') = ?8"
)
_ROWS: Final = f"json_each((SELECT ?1 FROM {CHECKPOINT} WHERE {_MY_TURN})) AS j"
_POSITION: Final = "?6 || ' ' || ?7 || ' ' || ?8"


def turn(slot: str, target: str, writer: Writer, before: Reached) -> tuple[str, ...]:
    """Write ?2 to ?8."""
    position = (one or "" for one in map(_text, position_columns(before)))
    return (slot, target, str(writer.epoch), str(writer.timeline), *position)


def guarded(one: Statement, whose: tuple[str, ...]) -> Statement:
    """Give a statement the turn that it waits for."""
    return Statement(one.sql, (*(one.parameters or ("",)), *whose))


def begin(upto: str, whose: tuple[str, ...]) -> Statement:
    """Note, before the first row is written, how far this batch goes: rows up to there may be in the database."""
    return Statement(f"UPDATE {CHECKPOINT} SET upto = ?1 WHERE {_MY_TURN}", (upto, *whose))


def end(after: Reached, upto: str | None, whose: tuple[str, ...]) -> Statement:
    """Move the checkpoint, after the last row was written."""
    lsn, open_commit_lsn, last_change_lsn = position_columns(after)
    return Statement(
        f"UPDATE {CHECKPOINT} SET previous = lsn, lsn = ?1, open_commit_lsn = nullif(?9, ''),"
        " last_change_lsn = nullif(?10, ''), upto = nullif(?11, ''), at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now')"
        f" WHERE {_MY_TURN}",
        (_text(lsn), *whose, _text(open_commit_lsn) or "", _text(last_change_lsn) or "", upto or ""),
    )


def sweep(after: Reached, whose: tuple[str, ...]) -> Statement:
    """Remove what was kept for positions that are past."""
    position = " ".join(_text(one) or "" for one in position_columns(after))
    return Statement(
        f"DELETE FROM {_BEFORE} WHERE slot = ?1 AND target = ?2 AND position <> ?3", (*whose[:2], position)
    )


class GuardedSql(TableSql):
    """The statements for one table, each of which waits for its turn.

    A row that moves is ``[key, *base key, *values]``, with the base key's JSON as a text in front.
    """

    def __init__(self, plan: TablePlan) -> None:
        super().__init__(plan.table, plan.columns, plan.forms, plan.key, rows=_ROWS)
        self._names = [_literal(name) for name in plan.columns]
        self._kept = (
            f"FROM {_BEFORE} AS k WHERE k.slot = ?2 AND k.target = ?3 AND k.position = {_POSITION}"
            f' AND k."table" = {_literal(plan.table)}'
        )
        self._literal = _literal(plan.table)

    @property
    def empty_guarded(self) -> str:
        """Delete all rows; ?1 is not used."""
        return f"DELETE FROM {self.table} WHERE ?1 = '' AND EXISTS (SELECT 1 FROM {CHECKPOINT} WHERE {_MY_TURN})"

    @property
    def keep_before(self) -> str:
        """Keep base rows whole, as they are before the batch; those kept by an earlier attempt stay."""
        columns = zip(self._names, self.columns, strict=True)
        values = " ".join(f"WHEN {name} THEN t.{column}" for name, column in columns)
        names = ", ".join(f"({name})" for name in self._names)
        return (
            f"INSERT OR IGNORE INTO {_BEFORE} SELECT ?2, ?3, {_POSITION}, {self._literal}, j.value->>0, c.column1,"
            f" CASE c.column1 {values} END"
            f" FROM {self._rows} CROSS JOIN {self.table} AS t CROSS JOIN (VALUES {names}) AS c WHERE {self.on_base}"
        )

    @property
    def put_back(self) -> str:
        """Put rows that an interrupted attempt has kept back in their place; ?1 is not used."""
        values = ", ".join(
            f'(SELECT k.value {self._kept} AND k."key" = b."key" AND k."column" = {name})' for name in self._names
        )
        source = f'(SELECT DISTINCT k."key" {self._kept}) AS b'
        return (
            f"INSERT INTO {self.table} AS t ({', '.join(self.columns)}) SELECT {values} FROM {source}"
            f" WHERE ?1 = '' AND EXISTS (SELECT 1 FROM {CHECKPOINT} WHERE {_MY_TURN}){self.on_conflict()}"
        )

    def put_moved(self, left_out: Sequence[int]) -> str:
        """Insert rows whose left out values were kept; a row of which nothing was kept is gone by the batch's end."""
        shift = 1 + self.key_columns
        kept = f'{self._kept} AND k."key" = j.value->>0'
        values = (
            f'(SELECT k.value {kept} AND k."column" = {self._names[index]})'
            if index in left_out
            else form.expression(shift + index, "j.value")
            for index, form in enumerate(self.forms)
        )
        return self.insert_or_update(values, f"EXISTS (SELECT 1 {kept})")


@lru_cache(maxsize=1000)
def guarded_sql(plan: TablePlan) -> GuardedSql:
    """Return the statements of a plan, made once."""
    return GuardedSql(plan)


def _literal(name: str) -> str:
    """Write a name as a string of SQL's."""
    return "'" + name.replace("'", "''") + "'"


def _text(parameter: Parameter) -> str | None:
    return None if parameter is None else str(parameter)
