"""The SQL of the set-based road: rows go to a temporary table by COPY and from there into the target, kind by kind.

A staged row is its group (what is to be done with it), the key of its base row where that is another row, and its
values. All names here are quoted, all numbers are made here, and values travel by COPY only.
"""

from collections.abc import Iterable, Sequence

from walsync.target.postgres.plan import TablePlan

DELETES = 0
PUTS = 1
FIRST_PATCHES = 2
"""Each later group holds the patches that leave out the same columns."""


class Statements:
    """The statements for one plan."""

    def __init__(self, plan: TablePlan, staging: str) -> None:
        self._plan = plan
        self.staging = staging
        width = len(plan.columns)
        self._values = [f"c{index}" for index in range(width)]
        self._bases = [f"b{index}" for index in plan.key]

    @property
    def create(self) -> str:
        """Make the staging table; emptied by every COMMIT, so that the catalogue does not grow."""
        columns = [
            "g integer NOT NULL",
            *(f"b{index} {self._plan.types[index]}" for index in self._plan.key),
            *(f"{name} {kind}" for name, kind in zip(self._values, self._plan.types, strict=True)),
        ]
        return f"CREATE TEMPORARY TABLE {self.staging} ({', '.join(columns)}) ON COMMIT DELETE ROWS"

    @property
    def copy(self) -> str:
        """Stage rows."""
        return f"COPY {self.staging} ({', '.join(['g', *self._bases, *self._values])}) FROM STDIN"

    @property
    def empty(self) -> str:
        """Make room for the next segment."""
        return f"TRUNCATE {self.staging}"

    def fill(self, group: int, left_out: Sequence[int]) -> str:
        """Complete staged rows from their base rows."""
        columns = ", ".join(f"c{index} = t.{self._plan.columns[index]}" for index in left_out)
        return (
            f"UPDATE {self.staging} AS s SET {columns} FROM {self._plan.name} AS t"
            f" WHERE s.g = {group} AND {self._on('b')}"
        )

    def missing(self, group: int) -> str:
        """Find a base row that the target does not have."""
        key = ", ".join(f"s.{name}::text" for name in self._bases)
        return (
            f"SELECT {key} FROM {self.staging} AS s WHERE s.g = {group}"
            f" AND NOT EXISTS (SELECT FROM {self._plan.name} AS t WHERE {self._on('b')}) LIMIT 1"
        )

    @property
    def delete(self) -> str:
        """Delete by key."""
        return f"DELETE FROM {self._plan.name} AS t USING {self.staging} AS s WHERE s.g = {DELETES} AND {self._on('c')}"

    def replace(self, groups: Iterable[int]) -> str:
        """Delete the old form of rows to be put whose value in a unique index besides the key changes."""
        changed = " OR ".join(
            f"t.{self._plan.columns[index]}::text IS DISTINCT FROM s.c{index}::text" for index in self._plan.replaced_on
        )
        return (
            f"DELETE FROM {self._plan.name} AS t USING {self.staging} AS s"
            f" WHERE s.g IN ({_numbers(groups)}) AND {self._on('c')} AND ({changed})"
        )

    def patch(self, group: int, left_out: Sequence[int]) -> str:
        """Update the columns that came; where none did, one is set to itself, so that the row is proven to be there."""
        set_columns = [index for index in self._plan.others if index not in left_out]
        columns = ", ".join(f"{self._plan.columns[index]} = s.c{index}" for index in set_columns)
        itself = f"{self._plan.columns[left_out[0]]} = t.{self._plan.columns[left_out[0]]}"
        return (
            f"UPDATE {self._plan.name} AS t SET {columns or itself} FROM {self.staging} AS s"
            f" WHERE s.g = {group} AND {self._on('c')}"
        )

    def put(self, groups: Iterable[int]) -> str:
        """Insert whole rows, over whatever the target has under their keys."""
        return (
            f"INSERT INTO {self._plan.name} ({', '.join(self._plan.columns)}) OVERRIDING SYSTEM VALUE"
            f" SELECT {', '.join('s.' + name for name in self._values)} FROM {self.staging} AS s"
            f" WHERE s.g IN ({_numbers(groups)}) {on_conflict(self._plan)}"
        )

    def _on(self, prefix: str) -> str:
        return " AND ".join(
            f"t.{self._plan.columns[index]} {operator} s.{prefix}{index}"
            for index, operator in zip(self._plan.key, self._plan.operators, strict=True)
        )


def on_conflict(plan: TablePlan) -> str:
    """Make an INSERT overwrite the row that has its key; nothing for a table without one."""
    if not plan.key:
        return ""
    key = ", ".join(plan.columns[index] for index in plan.key)
    columns = ", ".join(f"{plan.columns[index]} = excluded.{plan.columns[index]}" for index in plan.others)
    return f"ON CONFLICT ({key}) DO " + (f"UPDATE SET {columns}" if columns else "NOTHING")


def truncate(names: Sequence[str], *, restart_identity: bool) -> str:
    """Empty tables together."""
    return f"TRUNCATE {', '.join(names)}{' RESTART IDENTITY' if restart_identity else ''}"


def _numbers(groups: Iterable[int]) -> str:
    return ", ".join(str(group) for group in groups)
