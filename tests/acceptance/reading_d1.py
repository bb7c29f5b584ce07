"""Reads a D1 file with sqlite3 alone, and writes what it stores as text."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from acceptance.reading import Form, Part, Stored, array, base_type, element, integer, string
from acceptance.zoo import Column

from walsync.identifier import quote

OWN: Final = {"_walsync_checkpoint", "_walsync_table_state", "_walsync_guard", "_walsync_kept"}
ISO: Final = """
CASE WHEN {} >= '0001-01-01' AND {} < '10000-01-01' THEN to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
ELSE {}::text END
"""
INTEGERS: Final = ("smallint", "integer", "bigint")


@dataclass(frozen=True)
class D1File:
    """A target of type d1 in a file."""

    name: str
    path: Path
    parts: Sequence[Part]

    @property
    def entry(self) -> dict[str, object]:
        """What stands in `targets`."""
        tables = [part.entry for part in self.parts]
        return {"name": self.name, "type": "d1", "url": f"sqlite://{self.path}", "tables": tables}

    def form(self, column: Column) -> Form:
        """Say how the values of a column are compared."""
        return _form(base_type(column))

    def rows(self, part: Part) -> list[Stored]:
        """Read a table, which has these columns and no other."""
        names = [column.name for column in part.table.columns]
        assert [row[0] for row in self._query("SELECT name FROM pragma_table_info(?)", part.name)] == names
        return self._query(f"SELECT {', '.join(map(quote, names))} FROM {quote(part.name)}")

    def leftovers(self) -> list[str]:
        """Find tables that nobody asked for, other checkpoints, and tables that are not noted as complete."""
        expected = {part.name for part in self.parts} | OWN
        found = {name for (name,) in self._query("SELECT name FROM sqlite_master WHERE type = 'table'")}
        complete = self._query("SELECT count(*) FROM _walsync_table_state")[0][0]
        checkpoints = self._query("SELECT slot, target FROM _walsync_checkpoint")
        lines = [f"{self.name}: table {name}" for name in sorted(found ^ expected)]
        if checkpoints != [("walsync", self.name)]:
            lines.append(f"{self.name}: checkpoints {checkpoints}")
        if complete != len(self.parts):
            lines.append(f"{self.name}: {complete} complete tables of {len(self.parts)}")
        return lines

    def _query(self, sql: str, *parameters: object) -> list[Stored]:
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, parameters).fetchall()


def _form(type_: str) -> Form:
    if type_.endswith("[]"):
        text = integer if type_.removesuffix("[]") in INTEGERS else string
        return Form(lambda found: array(_document(found), text), cast=type_)
    return _FORMS.get(type_, Form(string))


def _document(found: object) -> Any:  # noqa: ANN401 - a document may be anything
    return json.loads(string(found))


def _boolean(found: object) -> str:
    assert type(found) is int, found
    return {1: "t", 0: "f"}[found]


def _double(found: object) -> str:
    if isinstance(found, str):
        assert found in {"NaN", "Infinity", "-Infinity"}, found
        return found
    assert isinstance(found, float), found
    return repr(found)


def _bytes(found: object) -> str:
    assert isinstance(found, bytes), found
    return f"\\x{found.hex()}"


def _address(found: object) -> str:
    document = _document(found)
    assert list(document) == ["street", "number"], document
    return f"({element(string(document['street']))},{integer(document['number'])})"


_FORMS: Final = {
    **dict.fromkeys(INTEGERS, Form(integer)),
    "boolean": Form(_boolean),
    # The double nearest to the text of a real, so that is what is compared.
    "real": Form(_double, cast="float8", expression="{}::text::float8::text"),
    "double precision": Form(_double, cast="float8"),
    "bytea": Form(_bytes),
    "timestamptz": Form(string, expression=ISO),
    "app.address": Form(_address, cast="app.address"),
}
"""What is not listed is Postgres' own text."""
