"""The SQL that writes the rows of one table: each statement takes its rows as one JSON array of arrays, ?1.

All names are quoted, all numbers are made here, and values travel in the parameter only. A real D1 gets these very
statements. An upsert or patch that would change nothing writes nothing, which D1 would bill.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final

from walsync.identifier import quote
from walsync.target.d1.request import Statement
from walsync.target.d1.values import ValueForm

CHECKPOINT: Final = "_walsync_checkpoint"
TABLE_STATE: Final = "_walsync_table_state"
GUARD: Final = "_walsync_guard"
KEPT: Final = "_walsync_kept"
RESERVED_PREFIXES: Final = ("_walsync_", "_cf_", "sqlite_")

STALE: Final = "stale checkpoint"
MISSING: Final = "missing row"
PROBE: Final = "probe"
"""The reasons for which a guard stops a request; the trigger's message is ``walsync: `` and the reason."""

CREATE_OWN: Final = (
    Statement(
        f"CREATE TABLE IF NOT EXISTS {CHECKPOINT} (slot TEXT NOT NULL, target TEXT NOT NULL, target_id TEXT NOT NULL,"
        " system_identifier TEXT NOT NULL, timeline INTEGER NOT NULL, epoch INTEGER NOT NULL, previous TEXT,"
        " lsn TEXT NOT NULL, open_commit_lsn TEXT, last_change_lsn TEXT, upto TEXT, at TEXT NOT NULL,"
        " PRIMARY KEY (slot, target)) STRICT, WITHOUT ROWID"
    ),
    Statement(
        f"CREATE TABLE IF NOT EXISTS {TABLE_STATE} (slot TEXT NOT NULL, target TEXT NOT NULL, table_name TEXT NOT NULL,"
        " relid INTEGER NOT NULL, publication TEXT NOT NULL, definition TEXT NOT NULL, synced_lsn TEXT NOT NULL,"
        " PRIMARY KEY (slot, target, table_name)) STRICT, WITHOUT ROWID"
    ),
    # Where a row that moves leaves the values that did not come with it, within one request.
    Statement(
        f'CREATE TABLE IF NOT EXISTS {KEPT} ("row" INTEGER NOT NULL, "column" INTEGER NOT NULL, value ANY,'
        ' PRIMARY KEY ("row", "column")) STRICT, WITHOUT ROWID'
    ),
    Statement(f"CREATE TABLE IF NOT EXISTS {GUARD} (reason TEXT NOT NULL) STRICT"),
    *(
        Statement(
            f"CREATE TRIGGER IF NOT EXISTS \"{GUARD}_{reason}\" BEFORE INSERT ON {GUARD} WHEN new.reason = '{reason}'"
            f" BEGIN SELECT RAISE(ABORT, 'walsync: {reason}'); END"
        )
        for reason in (STALE, MISSING, PROBE)
    ),
)
"""What walsync keeps in the database beside the rows; ``previous`` is for people, ``at`` is UTC, ``upto`` is above
``lsn`` where a batch up to there was begun over a way that is not atomic."""

_ROWS: Final = "json_each(?1) AS j"
_ROW: Final = "j.value"


def guard(reason: str, condition: str, rows: str = "") -> str:
    """Write a statement that stops the whole request where `condition` holds."""
    source = f" FROM {rows}" if rows else ""
    return f"INSERT INTO {GUARD} SELECT '{reason}'{source} WHERE {condition}"


class TableSql:
    """The statements for one table: its columns in the order of the rows, and where its key stands among them."""

    def __init__(
        self, table: str, columns: Sequence[str], forms: Sequence[ValueForm], key: Sequence[int], *, rows: str = _ROWS
    ) -> None:
        self.table = quote(table)
        self.columns = [quote(name) for name in columns]
        self.forms = forms
        self._key = key
        self._rows = rows
        self._others = [index for index in range(len(columns)) if index not in key]
        taken = {name.lower() for name in columns}
        self._rowid = next((name for name in ("rowid", "_rowid_", "oid") if name not in taken), "rowid")

    @cached_property
    def empty(self) -> str:
        """Delete all rows."""
        return f"DELETE FROM {self.table}"

    @cached_property
    def put(self) -> str:
        """Insert whole rows, over whatever the table has under their keys."""
        values = (form.expression(index, _ROW) for index, form in enumerate(self.forms))
        return self._insert(self.table, values) + self.on_conflict()

    def append(self, table: str) -> str:
        """Insert whole rows into a table of the same shape that has none of them."""
        return self._insert(quote(table), (form.expression(index, _ROW) for index, form in enumerate(self.forms)))

    @cached_property
    def delete(self) -> str:
        """Delete by key: rows hold the key only."""
        # SQLite uses the whole index for a vector only if the first column's affinity lets every other one pass,
        # which INTEGER does not: so that comes last.
        order = sorted(range(len(self._key)), key=lambda part: self.forms[self._key[part]].column_type == "INTEGER")
        names = ", ".join(self.columns[self._key[part]] for part in order)
        keys = ", ".join(map(self._key_cast, order))
        return f"DELETE FROM {self.table} WHERE ({names}) IN (SELECT {keys} FROM {self._rows})"

    @cached_property
    def require(self) -> str:
        """Stop the request where a row to be patched is not there."""
        on = self._on(self.forms[index].expression(index, _ROW) for index in self._key)
        return guard(MISSING, f"NOT EXISTS (SELECT 1 FROM {self.table} AS t WHERE {on})", self._rows)

    def patch(self, left_out: Sequence[int]) -> str | None:
        """Update the columns that came; None where none did."""
        columns = [index for index in self._others if index not in left_out]
        if not columns:
            return None
        # Each expression stands here once: with 99 columns of doubles the statement is large enough.
        values = ", ".join(
            f"{self.forms[index].expression(index, _ROW)} AS c{index}" for index in (*self._key, *columns)
        )
        settings = ", ".join(f"{self.columns[index]} = s.c{index}" for index in columns)
        differs = self._differs(columns, [f"s.c{index}" for index in columns])
        on = self._on(f"s.c{index}" for index in self._key)
        return (
            f"UPDATE {self.table} AS t SET {settings} FROM (SELECT {values} FROM {self._rows}) AS s"
            f" WHERE {on} AND ({differs})"
        )

    @cached_property
    def require_base(self) -> str:
        """Stop the request where the base of a row that moves is not there: rows as for `keep`."""
        return guard(MISSING, f"NOT EXISTS (SELECT 1 FROM {self.table} AS t WHERE {self.on_base})", self._rows)

    def keep(self, index: int) -> str:
        """Put a column's values aside: rows are a number of their own, the key of the base row, and the new values."""
        return (
            f"INSERT INTO {KEPT} SELECT {_ROW}->>0, {index}, t.{self.columns[index]}"
            f" FROM {self._rows} CROSS JOIN {self.table} AS t WHERE {self.on_base}"
        )

    def put_kept(self, left_out: Sequence[int]) -> str:
        """Insert rows whose left out values were put aside: rows as for `keep`."""
        shift = 1 + len(self._key)
        values = (
            f'(SELECT k.value FROM {KEPT} AS k WHERE k."row" = {_ROW}->>0 AND k."column" = {index})'
            if index in left_out
            else form.expression(shift + index, _ROW)
            for index, form in enumerate(self.forms)
        )
        return self._insert(self.table, values) + self.on_conflict()

    @cached_property
    def require_equal(self) -> str:
        """Stop the request where a table without a key has no row with all the values of ?1, which is one row."""
        return guard(MISSING, f"NOT EXISTS (SELECT 1 FROM {self._equal})")

    @cached_property
    def delete_equal(self) -> str:
        """Delete one row with all the values of ?1: equal rows are the same to everybody."""
        rowid = self._rowid
        return f"DELETE FROM {self.table} WHERE {rowid} = (SELECT t.{rowid} FROM {self._equal} LIMIT 1)"

    @property
    def _equal(self) -> str:
        values = ", ".join(f"{form.expression(index, '?1')} AS c{index}" for index, form in enumerate(self.forms))
        doubles = [index for index, form in enumerate(self.forms) if form.column_type == "ANY"]
        # 0.0 and -0.0 are equal; their angles are not. Of what is not a number, the angle is NULL.
        mine = ", ".join(
            [f"t.{name}" for name in self.columns] + [f"atan2(t.{self.columns[index]},-1.0)" for index in doubles]
        )
        theirs = ", ".join(
            [f"s.c{index}" for index in range(len(self.columns))] + [f"atan2(s.c{index},-1.0)" for index in doubles]
        )
        return f"(SELECT {values}) AS s CROSS JOIN {self.table} AS t WHERE ({mine}) IS ({theirs})"

    @property
    def key_columns(self) -> int:
        """How many columns the key has."""
        return len(self._key)

    @property
    def on_base(self) -> str:
        """Find the base row: rows as for `keep`."""
        return self._on(self.forms[index].expression(1 + part, _ROW) for part, index in enumerate(self._key))

    def insert_or_update(self, values: Iterable[str], condition: str) -> str:
        """Insert whole rows over whatever the table has under their keys, where the condition holds."""
        return f"{self._insert(self.table, values)} AND {condition}{self.on_conflict()}"

    def _insert(self, table: str, values: Iterable[str]) -> str:
        selected = f"SELECT {', '.join(values)} FROM {self._rows} WHERE true"
        return f"INSERT INTO {table} AS t ({', '.join(self.columns)}) {selected}"

    def on_conflict(self) -> str:
        """Go on from an INSERT of whole rows: over what the table has under their keys, where that differs."""
        if not self._key:
            return ""
        key = ", ".join(self.columns[index] for index in self._key)
        if not self._others:
            return f" ON CONFLICT ({key}) DO NOTHING"
        settings = ", ".join(f"{self.columns[index]} = excluded.{self.columns[index]}" for index in self._others)
        differs = self._differs(self._others, [f"excluded.{self.columns[index]}" for index in self._others])
        return f" ON CONFLICT ({key}) DO UPDATE SET {settings} WHERE {differs}"

    def _differs(self, columns: Sequence[int], new: Sequence[str]) -> str:
        """Compare the stored values with new ones; a double that becomes zero is always taken for a change.

        To SQLite 0.0 and -0.0 are equal, and only a function for every value would tell them apart.
        """
        old = ", ".join(f"t.{self.columns[index]}" for index in columns)
        doubles = [value for index, value in zip(columns, new, strict=True) if self.forms[index].column_type == "ANY"]
        differs = f"({old}) IS NOT ({', '.join(new)})"
        return f"{differs} OR 0.0 IN ({', '.join(doubles)})" if doubles else differs

    def _key_cast(self, part: int) -> str:
        form = self.forms[self._key[part]]
        value = form.expression(part, _ROW)
        return f"CAST({value} AS TEXT)" if form.column_type == "TEXT" else value

    def _on(self, values: Iterable[str]) -> str:
        pairs = zip((self.columns[index] for index in self._key), values, strict=True)
        return " AND ".join(f"t.{name} = {value}" for name, value in pairs)
