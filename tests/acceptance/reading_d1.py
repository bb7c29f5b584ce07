"""Reads D1 with sqlite3 alone, or by plain SQL on workerd, and writes what it stores as text."""

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from acceptance.reading import Form, Part, Stored, array, base_type, element, integer, string
from acceptance.zoo import Column
from fix_workerd import Plain

from walsync.demo.reading_d1 import read_workerd
from walsync.identifier import quote

OWN: Final = frozenset({"_walsync_checkpoint", "_walsync_table_state", "_walsync_guard", "_walsync_kept"})
OWN_OF_REST: Final = OWN | {"_walsync_before"}
ISO: Final = """
CASE WHEN {} >= '0001-01-01' AND {} < '10000-01-01' THEN to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
ELSE {}::text END
"""
INTEGERS: Final = ("smallint", "integer", "bigint")


class D1Database(ABC):
    """A target of type d1, whichever way leads to it."""

    name: str
    parts: Sequence[Part]
    own: frozenset[str] = OWN
    """The tables besides those of `parts`."""

    @property
    def entry(self) -> dict[str, object]:
        """What stands in `targets`."""
        return {"name": self.name, "type": "d1", "tables": [part.entry for part in self.parts], **self._way}

    def form(self, column: Column) -> Form:
        """Say how the values of a column are compared."""
        return _form(base_type(column))

    @abstractmethod
    def rows(self, part: Part) -> list[Stored]:
        """Read a table, which has these columns and no other."""

    def leftovers(self) -> list[str]:
        """Find tables that nobody asked for, other or unfinished checkpoints, and tables not noted as complete."""
        expected = {part.name for part in self.parts} | self.own
        found = {
            name
            for (name,) in self._query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '_cf_*'")
        }
        complete = self._query("SELECT count(*) FROM _walsync_table_state")[0][0]
        checkpoints = self._query("SELECT slot, target, open_commit_lsn, upto FROM _walsync_checkpoint")
        lines = [f"{self.name}: table {name}" for name in sorted(found ^ expected)]
        if checkpoints != [("walsync", self.name, None, None)]:
            lines.append(f"{self.name}: checkpoints {checkpoints}")
        if complete != len(self.parts):
            lines.append(f"{self.name}: {complete} complete tables of {len(self.parts)}")
        return lines

    @property
    @abstractmethod
    def _way(self) -> Mapping[str, object]:
        """What its entry says of the way to it."""

    @abstractmethod
    def _query(self, sql: str) -> list[Stored]: ...


@dataclass(frozen=True)
class D1File(D1Database):
    """A target of type d1 in a file."""

    name: str
    path: Path
    parts: Sequence[Part]

    def rows(self, part: Part) -> list[Stored]:
        names = [column.name for column in part.table.columns]
        assert [row[0] for row in self._query("SELECT name FROM pragma_table_info(?)", part.name)] == names
        return self._query(f"SELECT {', '.join(map(quote, names))} FROM {quote(part.name)}")

    @property
    def _way(self) -> Mapping[str, object]:
        return {"url": f"sqlite://{self.path}"}

    def _query(self, sql: str, *parameters: object) -> list[Stored]:
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, parameters).fetchall()


@dataclass(frozen=True)
class D1Served(D1Database):
    """A target of type d1 on workerd, which `plain` reads, and walsync reaches in the way that `keys` name."""

    name: str
    plain: Plain
    parts: Sequence[Part]
    keys: Mapping[str, object]
    own: frozenset[str] = OWN

    def rows(self, part: Part) -> list[Stored]:
        found = read_workerd(self.plain.url, part.name)
        assert found is not None, part.name
        names, rows = found
        assert names == [column.name for column in part.table.columns]
        return rows

    def position(self) -> object:
        """Return how far it is, once it was reached."""
        return self._query("SELECT lsn, open_commit_lsn, last_change_lsn FROM _walsync_checkpoint")

    @property
    def _way(self) -> Mapping[str, object]:
        return self.keys

    def _query(self, sql: str) -> list[Stored]:
        return self.plain.execute(sql)


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
