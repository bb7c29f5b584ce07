"""Reads a D1 file with `sqlite3` alone, and writes what it stores as docs/targets.md says."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from walsync.demo.compare import AS_IT_IS, Column, PostgresReader, Row, TableName
from walsync.demo.literals import array


class D1Reader:
    """A file; `source` reads and prints the values."""

    printed_as: Final = AS_IT_IS

    def __init__(self, path: Path, source: PostgresReader) -> None:
        self._path = path
        self._source = source

    def read(self, table: TableName, columns: Sequence[Column]) -> list[Row]:
        """Return all rows of a table; rows that have other columns are told as such, and equal none."""
        with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as file:
            if file.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", [table.flat]).fetchone() is None:
                return []
            cursor = file.execute(f'SELECT * FROM "{table.flat.replace(chr(34), chr(34) * 2)}"')
            names = [column[0] for column in cursor.description]
            rows = cursor.fetchall()
        if names != [column.name for column in columns]:
            return [(f"columns {names}",)] * len(rows)
        literals = [
            tuple(_literal(value, column.type) for value, column in zip(row, columns, strict=True)) for row in rows
        ]
        return self._source.print(literals, columns)


def _literal(found: object, type_: str) -> str | None:
    match found:
        case None:
            return None
        case bytes():
            return f"\\x{found.hex()}"
        case str() if type_.endswith("[]"):
            return array(json.loads(found, parse_float=str), _item)
        case float():
            return repr(found)
        case _:
            return str(found)


def _item(found: Any) -> str:  # noqa: ANN401 - a document may be anything
    return str(found).lower() if isinstance(found, bool) else str(found)
