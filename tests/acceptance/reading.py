"""Holds what a D1 file or a SurrealDB database stores to its source, by docs/targets.md and without walsync's targets.

A reader brings the rows as its plain client returns them, and a form per type: how a stored value is written as text.
Where that text is not yet Postgres' own (an array as JSON, a datetime), the source's server reads and prints it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import psycopg2
from acceptance.zoo import Column, Table

from walsync.demo.compare import SETTINGS, Comparison, Row, TableName
from walsync.identifier import quote

OUTPUT = "CASE WHEN {} IS NOT NULL THEN format('%%s', {}) END"
"""A type's own output; a cast to text drops the blanks of char(n), and adds the mask of inet."""

Stored = tuple[Any, ...]


class Form(NamedTuple):
    """How the values of a type are compared.

    `text` writes what is stored, and raises where that is not what the documentation says. `cast` is the type as which
    Postgres then prints it; empty where it must be the text already. `expression` is asked of the source, and
    `of_source` writes the answer in the target's way.
    """

    text: Callable[[Any], str]
    cast: str = ""
    expression: str = OUTPUT
    of_source: Callable[[str], str] = str


@dataclass(frozen=True)
class Part:
    """A table as a target is to have it: all rows, or those whose `column` has one of the `values`."""

    table: Table
    rename: str = ""
    column: str = ""
    values: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name there."""
        schema, name = self.table.schema, self.table.name
        return self.rename or (name if schema == "public" else f"{schema}__{name}")

    @property
    def entry(self) -> dict[str, object]:
        """Its entry in the target's `tables`."""
        entry: dict[str, object] = {"table": quote(self.table.schema, self.table.name)}
        if self.rename:
            entry["rename"] = self.rename
        if self.column:
            entry["match"] = {self.column: list(self.values)}
        return entry


class Place(Protocol):
    """A target to be read: its entry in the configuration, what it is to have, and what it has."""

    @property
    def name(self) -> str: ...

    @property
    def entry(self) -> dict[str, object]:
        """What stands in `targets`."""
        ...

    @property
    def parts(self) -> Sequence[Part]: ...

    def form(self, column: Column) -> Form:
        """Say how the values of a column are compared."""
        ...

    def rows(self, part: Part) -> Iterable[Stored]:
        """Read a table: the values of `part.table.columns`; walsync does not run meanwhile."""
        ...

    def leftovers(self) -> list[str]:
        """Find what should not be there."""
        ...


def compare(dsn: str, place: Place) -> list[Comparison]:
    """Compare every table that a target is to have with the source at `dsn`."""
    return [_compare(dsn, place, part) for part in place.parts]


def string(found: object) -> str:
    """Take what is stored as a text."""
    assert isinstance(found, str), found
    return found


def integer(found: object) -> str:
    """Write an integer; a boolean is none."""
    assert type(found) is int, found
    return str(found)


def element(found: object) -> str:
    """Write a part of an array, a composite or a range, quoted whatever it is; an empty one is NULL in the latter."""
    return '"' + str(found).replace("\\", "\\\\").replace('"', '\\"') + '"'


def array(found: object, text: Callable[[Any], str]) -> str:
    """Write nested lists as an array; a string is one already, with lower bounds of its own."""
    if isinstance(found, str):
        assert found.startswith("["), found
        return found
    assert isinstance(found, list), found
    return "{" + ",".join(_items(found, text)) + "}"


def quoted(column: Column) -> str:
    """Write a column's name for a statement with parameters."""
    return quote(column.name).replace("%", "%%")


def base_type(column: Column) -> str:
    """Return the type without its length."""
    return column.type.partition("(")[0].strip()


def _items(found: list[Any], text: Callable[[Any], str]) -> Iterator[str]:
    for item in found:
        if item is None:
            yield "NULL"
        else:
            yield array(item, text) if isinstance(item, list) else element(text(item))


def _compare(dsn: str, place: Place, part: Part) -> Comparison:
    forms = [place.form(column) for column in part.table.columns]
    source = Counter(_source_rows(dsn, part, forms))
    stored = Counter(_printed(dsn, forms, list(place.rows(part))))
    return Comparison(
        TableName(place.name, part.name),
        rows=source.total(),
        missing=tuple((source - stored).elements()),
        extra=tuple((stored - source).elements()),
    )


def _source_rows(dsn: str, part: Part, forms: Sequence[Form]) -> Iterator[Row]:
    pairs = zip(part.table.columns, forms, strict=True)
    expressions = ", ".join(form.expression.replace("{}", quoted(column)) for column, form in pairs)
    where = f"{quote(part.column)}::text = ANY (%s)" if part.column else "array_length(%s::text[], 1) IS NULL"
    table = part.table.sql.replace("%", "%%")
    for row in _query(dsn, f"SELECT {expressions} FROM {table} WHERE {where}", list(part.values)):
        yield tuple(None if value is None else form.of_source(value) for form, value in zip(forms, row, strict=True))


def _printed(dsn: str, forms: Sequence[Form], rows: Sequence[Stored]) -> list[Row]:
    """Let Postgres print what is stored, all rows in one statement."""
    texts = [
        [None if row[index] is None else form.text(row[index]) for row in rows] for index, form in enumerate(forms)
    ]
    names = [f"c{index}" for index in range(len(forms))]
    values = [f"{name}::{form.cast}::text" if form.cast else name for name, form in zip(names, forms, strict=True)]
    arrays = ", ".join(["%s::text[]"] * len(forms))
    return _query(dsn, f"SELECT {', '.join(values)} FROM unnest({arrays}) AS t ({', '.join(names)})", *texts)


def _query(dsn: str, sql: str, *parameters: object) -> list[Row]:
    with closing(psycopg2.connect(dsn, options=SETTINGS)) as session, session.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()
