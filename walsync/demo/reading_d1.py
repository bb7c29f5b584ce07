"""Reads D1 with `sqlite3` or by plain SQL on workerd, and writes what it stores as docs/targets.md says."""

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.request import Request, urlopen

from walsync.demo.compare import AS_IT_IS, Column, PostgresReader, Row, TableName
from walsync.demo.literals import array

_ANSWER_SECONDS: Final = 60

Values: TypeAlias = tuple[Any, ...]


class D1Reader(ABC):
    """A database; `source` reads and prints the values."""

    printed_as: Final = AS_IT_IS

    def __init__(self, source: PostgresReader) -> None:
        self._source = source

    @abstractmethod
    def find(self, table: str) -> tuple[list[str], list[Values]] | None:
        """Return the names of a table's columns and all its rows; None where there is no such table."""

    def read(self, table: TableName, columns: Sequence[Column]) -> list[Row]:
        """Return all rows of a table; rows that have other columns are told as such, and equal none."""
        found = self.find(table.flat)
        if found is None:
            return []
        names, rows = found
        if names != [column.name for column in columns]:
            return [(f"columns {names}",)] * len(rows)
        literals = [
            tuple(_literal(value, column.type) for value, column in zip(row, columns, strict=True)) for row in rows
        ]
        return self._source.print(literals, columns)


class FileReader(D1Reader):
    """A D1 database in a file."""

    def __init__(self, path: Path, source: PostgresReader) -> None:
        super().__init__(source)
        self._path = path

    def find(self, table: str) -> tuple[list[str], list[Values]] | None:
        """Read it as sqlite3 does."""
        with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as file:
            if file.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", [table]).fetchone() is None:
                return None
            cursor = file.execute(f"SELECT * FROM {_quoted(table)}")
            return [column[0] for column in cursor.description], cursor.fetchall()


class WorkerdReader(D1Reader):
    """A D1 database on workerd, at the address that takes any SQL."""

    def __init__(self, url: str, source: PostgresReader) -> None:
        super().__init__(source)
        self._url = url

    def find(self, table: str) -> tuple[list[str], list[Values]] | None:
        """Read it by plain SQL."""
        return read_workerd(self._url, table)


def read_workerd(url: str, table: str) -> tuple[list[str], list[Values]] | None:
    """Return the names of a table's columns and all its rows at an address that takes any SQL; None without a table.

    Each value comes marked by its kind: JSON has no bytes, rounds large integers, and drops the sign of zero.
    """
    names = [str(name) for (name,) in _ask(url, "SELECT name FROM pragma_table_info(?1) ORDER BY cid", table)]
    if not names:
        return None
    values = ", ".join(_MARKED.format(_quoted(name)) + f" AS c{at}" for at, name in enumerate(names))
    return names, [tuple(map(_unmarked, row)) for row in _ask(url, f"SELECT {values} FROM {_quoted(table)}")]


def _ask(url: str, sql: str, *parameters: str) -> list[list[Any]]:
    question = json.dumps({"statements": [[sql, parameters]], "raw": True}).encode()
    with urlopen(Request(url, question), timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 - it is on this machine
        (result,) = json.loads(answer.read())["results"]
    rows: list[list[Any]] = result[1:]  # the first has the names
    return rows


_MARKED: Final = (
    "CASE typeof({0}) WHEN 'text' THEN 't' || {0} WHEN 'integer' THEN 'i' || {0} WHEN 'blob' THEN 'b' || hex({0})"
    " WHEN 'real' THEN iif({0} = 0.0 AND atan2({0}, -1.0) < 0, 'r-0.0', {0}) ELSE {0} END"
)


def _unmarked(value: Any) -> Any:  # noqa: ANN401 - whatever SQLite holds
    if not isinstance(value, str):
        return None if value is None else float(value)
    kind, text = value[0], value[1:]
    match kind:
        case "i":
            return int(text)
        case "b":
            return bytes.fromhex(text)
        case "r":
            return float(text)
        case _:
            return text


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


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
