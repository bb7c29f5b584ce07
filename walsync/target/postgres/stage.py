"""A place beside a table: filled with a snapshot while the table goes on, it gives the table its rows in one step."""

import hashlib
from collections.abc import Iterable

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - psycopg2's class has a lower-case name

from walsync.identifier import quote
from walsync.source.table import Table
from walsync.target.postgres.catalogue import TargetTable
from walsync.target.postgres.plan import key_operators

_SCHEMA = "walsync"


class Stages:
    """The stages of one slot and target, tables of the schema ``walsync``."""

    def __init__(self, slot: str, target: str) -> None:
        # Names of slots, targets and tables together may be longer than a name can be.
        self._prefix = f"stage_{hashlib.sha256(repr((slot, target)).encode()).hexdigest()[:16]}_"

    def drop_all(self, cursor: Cursor) -> None:
        """Remove what an interrupted copy has left."""
        cursor.execute(
            "SELECT tablename::text FROM pg_catalog.pg_tables"
            " WHERE schemaname = %s AND pg_catalog.starts_with(tablename::text, %s)",
            (_SCHEMA, self._prefix),
        )
        self._drop(cursor, [row[0] for row in cursor.fetchall()])

    def create(self, cursor: Cursor, table: Table, target: TargetTable) -> str:
        """Make a table's stage, empty, with the columns that are copied and nothing else; returns its quoted name."""
        name = quote(_SCHEMA, self._name(table))
        cursor.execute(f"DROP TABLE IF EXISTS {name}")
        columns = ", ".join(map(quote, table.published))
        cursor.execute(f"CREATE TABLE {name} AS SELECT {columns} FROM {quote(target.schema, target.name)} WITH NO DATA")
        return name

    def take_place(self, cursor: Cursor, table: Table, target: TargetTable) -> None:
        """Make the table's rows those of the stage, and drop that.

        Only what differs is written: the table keeps its indexes, grants, triggers, and columns of its own, and
        whoever reads it sees its old rows until COMMIT. What differs is told by the text of the values: to some types'
        equality 1.0 is 1.00, and others have none.
        """
        name, stage = quote(target.schema, target.name), quote(_SCHEMA, self._name(table))
        columns = ", ".join(map(quote, table.published))
        operators = key_operators(target, table.key) if table.key else None
        if operators:
            cursor.execute(f"ANALYZE {stage}")
            same = " AND ".join(
                f"t.{quote(column)} {operator} s.{quote(column)}"
                for column, operator in zip(table.key, operators, strict=True)
            )
            cursor.execute(
                f"DELETE FROM {name} AS t WHERE NOT EXISTS"
                f" (SELECT FROM {stage} AS s WHERE {same} AND {_text('t', table)} = {_text('s', table)})"
            )
            lacking = f" AS s WHERE NOT EXISTS (SELECT FROM {name} AS t WHERE {same})"
        else:
            cursor.execute(f"DELETE FROM {name}")
            lacking = ""
        cursor.execute(f"INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {stage}{lacking}")
        self._drop(cursor, [self._name(table)])

    def _name(self, table: Table) -> str:
        return f"{self._prefix}{table.relid}"

    def _drop(self, cursor: Cursor, names: Iterable[str]) -> None:
        for name in names:
            cursor.execute(f"DROP TABLE {quote(_SCHEMA, name)}")


def _text(alias: str, table: Table) -> str:
    return f"ROW({', '.join(f'{alias}.{quote(name)}' for name in table.published)})::text"
