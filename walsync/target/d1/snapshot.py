"""Fills a shadow of a table with a snapshot, many requests long, and puts it in the table's place in one.

D1 has no transaction that lasts longer than a request. Readers see the old rows until the last request; a shadow that
an interrupted copy left behind is dropped by the next one.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from orjson import dumps

from walsync.errors import TargetRefused
from walsync.identifier import quote
from walsync.row import read_copy_line
from walsync.target.collapse import name_row
from walsync.target.d1.plan import TablePlan
from walsync.target.d1.request import Statement
from walsync.target.d1.row_json import Row
from walsync.target.d1.schema import TargetTable, create_table

_PREFIX: Final = "_walsync_new_"

_REQUEST_BYTES: Final = 4 * 1024**2
"""Of COPY text: a request of a few statements."""


def look_for(names: Sequence[str]) -> Statement:
    """Find which of these tables there are."""
    return Statement(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name IN (SELECT value FROM json_each(?1))",
        (dumps(names).decode(),),
    )


class Shadow:
    """A table of the same shape beside the one that is copied."""

    def __init__(self, plan: TablePlan) -> None:
        self._plan = plan
        self.name = _PREFIX + plan.table

    @property
    def create(self) -> list[Statement]:
        """Make it, empty."""
        return [self.drop, create_table(self._plan, self.name)]

    @property
    def drop(self) -> Statement:
        """Remove it, if it is there."""
        return Statement(f"DROP TABLE IF EXISTS {quote(self.name)}")

    def fill(self, text: bytes) -> tuple[int, list[Statement]]:
        """Encode whole lines of COPY text; returns the number of rows."""
        lines = text.split(b"\n")[:-1]
        try:
            return len(lines), self._write(lines)
        except TargetRefused as error:
            raise self._name_unwritable(lines, error) from None

    def take_place(self, present: TargetTable | None) -> list[Statement]:
        """Put it in the table's place: by its name, which costs nothing, or row by row if that would lose something.

        An operator's columns, indexes, triggers and views belong to the table, and would go with it.
        """
        table, shadow = quote(self._plan.table), quote(self.name)
        known = {column.lower() for column in self._plan.columns}
        if present is None or (present.plain and present.columns.keys() == known):
            return [Statement(f"DROP TABLE IF EXISTS {table}"), Statement(f"ALTER TABLE {shadow} RENAME TO {table}")]
        columns = ", ".join(map(quote, self._plan.columns))
        return [
            Statement(f"DELETE FROM {table}"),
            Statement(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {shadow}"),
            Statement(f"DROP TABLE {shadow}"),
        ]

    def _write(self, lines: Sequence[bytes]) -> list[Statement]:
        rows = [self._row(line) for line in lines]
        sql = self._plan.sql.append(self.name)
        return [Statement(sql, (rows_of_one,)) for rows_of_one in self._plan.parameters(rows)]

    def _name_unwritable(self, lines: Sequence[bytes], failure: TargetRefused) -> TargetRefused:
        """Say which row has what D1 cannot take."""
        for line in lines:
            try:
                self._write([line])
            except TargetRefused as refused:
                return TargetRefused(refused.code, f"{self._name(line)}: {refused.message}", hint=refused.hint)
        return failure

    def _name(self, line: bytes) -> str:
        values = dict(zip(self._plan.columns, read_copy_line(line), strict=False))  # a broken line has others
        names = [self._plan.columns[index] for index in self._plan.key]
        key = tuple(value for name in names if isinstance(value := values.get(name), bytes))
        return name_row(self._plan.name, names, key) if names and len(key) == len(names) else self._plan.name

    def _row(self, line: bytes) -> Row:
        values = read_copy_line(line)
        if len(values) != len(self._plan.columns):
            raise TargetRefused(
                "WS4402",
                f"{self._plan.name}: a line of the snapshot has {len(values)} values, not {len(self._plan.columns)}",
                hint="restart walsync: it reads the source's catalogue again",
            )
        return self._plan.row(values)


async def requests(shadow: Shadow, chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, Sequence[Statement]]]:
    """Gather chunks into requests, each with its number of rows; encoding happens off the event loop."""
    gathered: list[bytes] = []
    size = 0
    async for chunk in chunks:
        gathered.append(chunk)
        size += len(chunk)
        if size >= _REQUEST_BYTES:
            yield await asyncio.to_thread(shadow.fill, b"".join(gathered))
            gathered, size = [], 0
    if size:
        yield await asyncio.to_thread(shadow.fill, b"".join(gathered))
