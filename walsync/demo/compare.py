"""Compares a target with its source, row by row and value by value, through plain clients.

Every kind of target has a `Reader`, which writes what is stored as text; the source's server reads and prints it, so
that equal values have equal text. It imports nothing of walsync's own targets: a mistake there cannot hide itself here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2's class has a lower-case name
from psycopg2.extensions import quote_ident

Row: TypeAlias = tuple[str | None, ...]
"""The text of each value."""

_SAMPLES: Final = 5
_SAMPLE_CHARACTERS: Final = 60
_PRINT_ROWS: Final = 1_000
SETTINGS: Final = " ".join(
    f"-c {setting}"
    for setting in (
        "timezone=UTC",
        "datestyle=ISO",
        "intervalstyle=postgres",
        "bytea_output=hex",
        "extra_float_digits=1",
        "lc_monetary=C",
        "search_path=",
    )
)
"""What changes the text of values, the same on both sides."""

AS_IT_IS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, order=True)
class TableName:
    """A table by schema and name, as they are in the catalogue."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def flat(self) -> str:
        """Its name where there are no schemas."""
        return self.name if self.schema == "public" else f"{self.schema}__{self.name}"


@dataclass(frozen=True)
class Column:
    """A column of a source table; `type` is the server's name of it, with its length."""

    name: str
    type: str


class Reader(Protocol):
    """A database whose tables can be read as text."""

    @property
    def printed_as(self) -> Mapping[str, str]:
        """Types of which this kind of target keeps less than their text, and the type that prints what it keeps."""
        ...

    def read(self, table: TableName, columns: Sequence[Column]) -> Iterable[Row]:
        """Return all rows of a table, in any order."""
        ...


class PostgresReader:
    """A Postgres database, read by an ordinary session for each table."""

    printed_as: Final = AS_IT_IS

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def tables(self, schemas: Sequence[str]) -> dict[TableName, tuple[Column, ...]]:
        """List the tables of some schemas with their columns; a partition is part of its root."""
        rows = self._query(
            """
            SELECT n.nspname::text, c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod)
            FROM pg_catalog.pg_class AS c
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE n.nspname = ANY (%s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            ORDER BY n.nspname, c.relname, a.attnum
            """,
            list(schemas),
        )
        tables: dict[TableName, tuple[Column, ...]] = {}
        for schema, name, column, type_ in rows:
            table = TableName(str(schema), str(name))
            tables[table] = (*tables.get(table, ()), Column(str(column), str(type_)))
        return tables

    def count(self, table: TableName) -> int:
        """Count the rows of a table."""
        with closing(self._connect()) as session, session.cursor() as cursor:
            cursor.execute(
                f"SELECT count(*) FROM {quote_ident(table.schema, session)}.{quote_ident(table.name, session)}"
            )
            ((rows,),) = cursor.fetchall()
        return int(rows)

    def read(self, table: TableName, columns: Sequence[Column], printed_as: Mapping[str, str] = AS_IT_IS) -> list[Row]:
        """Return all rows of a table as the server's own text."""
        with closing(self._connect()) as session, session.cursor() as cursor:
            values = ", ".join(quote_ident(column.name, session) + _printed(column, printed_as) for column in columns)
            cursor.execute(
                f"SELECT {values} FROM {quote_ident(table.schema, session)}.{quote_ident(table.name, session)}"
            )
            return cursor.fetchall()

    def print(
        self, rows: Sequence[Row], columns: Sequence[Column], printed_as: Mapping[str, str] = AS_IT_IS
    ) -> list[Row]:
        """Let this server read the text of values that are stored elsewhere, and print them."""
        names = [f"c{number}" for number in range(len(columns))]
        values = ", ".join(
            f"{name}::{column.type}{_printed(column, printed_as)}" for name, column in zip(names, columns, strict=True)
        )
        arrays = ", ".join(["%s::text[]"] * len(columns))
        sql = f"SELECT {values} FROM unnest({arrays}) AS t ({', '.join(names)})"
        printed: list[Row] = []
        for start in range(0, len(rows), _PRINT_ROWS):
            some = rows[start : start + _PRINT_ROWS]
            printed += self._query(sql, *([row[index] for row in some] for index in range(len(columns))))
        return printed

    def _query(self, sql: str, *parameters: object) -> list[Row]:
        with closing(self._connect()) as session, session.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall()

    def _connect(self) -> Connection:
        return psycopg2.connect(self._dsn, options=SETTINGS, application_name="compare")


@dataclass(frozen=True)
class Comparison:
    """One table in source and target: how many rows the source has, and the rows that only one of them has."""

    table: TableName
    rows: int
    missing: tuple[Row, ...]
    """In the source and not in the target; a row that differs is here in its one form, and below in its other."""
    extra: tuple[Row, ...]

    @property
    def equal(self) -> bool:
        """Whether there is no difference."""
        return not (self.missing or self.extra)

    def __str__(self) -> str:
        if self.equal:
            return f"{self.table}: {self.rows} rows, equal"
        lines = [f"{self.table}: {self.rows} rows, {len(self.missing)} missing, {len(self.extra)} extra"]
        for label, rows in (("missing", self.missing), ("extra", self.extra)):
            lines += [f"  {label}: {_cut(row)}" for row in rows[:_SAMPLES]]
        return "\n".join(lines)


def compare(source: PostgresReader, target: Reader, schemas: Sequence[str]) -> list[Comparison]:
    """Compare every table of the source's schemas; equal rows count, so a table without a key is compared exactly."""
    return [compare_table(source, target, table, columns) for table, columns in source.tables(schemas).items()]


def compare_table(source: PostgresReader, target: Reader, table: TableName, columns: Sequence[Column]) -> Comparison:
    """Compare one table."""
    ours = Counter(source.read(table, columns, target.printed_as))
    theirs = Counter(target.read(table, columns))
    return Comparison(
        table,
        rows=ours.total(),
        missing=tuple((ours - theirs).elements()),
        extra=tuple((theirs - ours).elements()),
    )


def _printed(column: Column, printed_as: Mapping[str, str]) -> str:
    """Write the casts that print a value; each type's own text, unless the target keeps less."""
    less = printed_as.get(column.type)
    return f"::{less}::text" if less else "::text"


def _cut(row: Row) -> tuple[str | None, ...]:
    return tuple(value if value is None or len(value) <= _SAMPLE_CHARACTERS else _shorten(value) for value in row)


def _shorten(value: str) -> str:
    return f"{value[:_SAMPLE_CHARACTERS]}… ({len(value)} characters)"
