"""Prints a table as source and targets of a running demo have it: `python -m walsync.demo.look FOLDER TABLE`."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import psycopg2.errors

from walsync.demo.compare import PostgresReader, Reader, Row, TableName
from walsync.demo.stage import places, reader

_ROWS: Final = 5
_USAGE: Final = 2


def main() -> int:
    """Read with plain clients, while walsync runs."""
    try:
        _, folder, name = sys.argv
    except ValueError:
        print("usage: python -m walsync.demo.look FOLDER SCHEMA.TABLE", file=sys.stderr)
        return _USAGE
    schema, _, table = name.rpartition(".")
    wanted = TableName(schema or "public", table)
    dsn, targets = places(Path(folder))
    source = PostgresReader(dsn)
    columns = source.tables([wanted.schema]).get(wanted)
    if columns is None:
        print(f"{wanted} does not exist on the source", file=sys.stderr)
        return 1
    with ExitStack() as stack:
        readers: dict[str, Reader] = {"source": source}
        readers.update({place.name: reader(place, source, stack) for place in targets})
        for where, one in readers.items():
            try:
                _show(where, sorted(one.read(wanted, columns), key=str))
            except psycopg2.errors.UndefinedTable:
                _show(where, [])
    return 0


def _show(where: str, rows: list[Row]) -> None:
    print(f"{where}: {len(rows):,} rows")
    for row in rows[:_ROWS]:
        print(f"    {row}")


if __name__ == "__main__":
    sys.exit(main())
