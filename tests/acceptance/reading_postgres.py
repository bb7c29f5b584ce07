"""Reads a Postgres target with psycopg2 alone: each value in its type's own text, as the source prints it."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import psycopg2
from acceptance.reading import OUTPUT, Form, Part, Stored, quoted, string
from acceptance.zoo import Column

from walsync.demo.compare import SETTINGS

_STAGES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = 'walsync' AND tablename LIKE 'stage%'"


@dataclass(frozen=True)
class PostgresDatabase:
    """A target of type postgres. walsync reaches it at `reached`, where that is another address than `dsn`."""

    name: str
    dsn: str
    parts: Sequence[Part]
    reached: str = ""

    @property
    def entry(self) -> dict[str, object]:
        """What stands in `targets`."""
        tables = [part.entry for part in self.parts]
        return {"name": self.name, "type": "postgres", "dsn": self.reached or self.dsn, "tables": tables}

    def form(self, column: Column) -> Form:
        """Say how the values of a column are compared: as they are printed."""
        del column
        return Form(string)

    def rows(self, part: Part) -> list[Stored]:
        """Read a table."""
        expressions = ", ".join(OUTPUT.replace("{}", quoted(column)) for column in part.table.columns)
        return self._query(f"SELECT {expressions} FROM {part.table.sql.replace('%', '%%')}", [])

    def leftovers(self) -> list[str]:
        """Find staged tables, other checkpoints, and tables that are not noted as complete."""
        lines = [f"{self.name}: table {name}" for (name,) in self._query(_STAGES)]
        checkpoints = self._query("SELECT slot, target FROM walsync.checkpoint")
        if checkpoints != [("walsync", self.name)]:
            lines.append(f"{self.name}: checkpoints {checkpoints}")
        ((complete,),) = self._query("SELECT count(*) FROM walsync.table_state")
        if complete != len(self.parts):
            lines.append(f"{self.name}: {complete} complete tables of {len(self.parts)}")
        return lines

    def _query(self, sql: str, parameters: Sequence[object] | None = None) -> list[Stored]:
        with closing(psycopg2.connect(self.dsn, options=SETTINGS)) as session, session.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall()
