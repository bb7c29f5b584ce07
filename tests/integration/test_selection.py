"""Which rows of which tables a target gets, in the real process, on targets of all kinds at once."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml
from acceptance.reading import OUTPUT, Form, Part, Place, Stored, compare
from acceptance.reading_d1 import D1File
from acceptance.reading_surrealdb import SurrealDBDirectory
from acceptance.values import small, text
from acceptance.zoo import Column, Table
from fix_postgres import Database
from fix_walsync import Walsync

from walsync.identifier import quote

ITEMS = Table(
    "items",
    [Column("id", "bigint", small(9)), Column("region", "text", text), Column("body", "text", text)],
    key=("id",),
    schema="public",
    external=("body",),
    after=("ALTER TABLE public.items REPLICA IDENTITY FULL",),
    constraints=("PRIMARY KEY (id)",),
)
NOTES = Table(
    "notes",
    [Column("id", "bigint", small(9)), Column("note", "text", text)],
    key=("id",),
    schema="public",
    constraints=("PRIMARY KEY (id)",),
)
IN_EUROPE = Part(ITEMS, rename="europe", column="region", values=("eu", "uk", ""))
IN_AMERICA = Part(ITEMS, rename="europe", column="region", values=("us",))
ALL_NOTES = Part(NOTES)


@dataclass(frozen=True)
class PostgresDatabase:
    """A target of type postgres."""

    dsn: str
    parts: Sequence[Part]
    name: str = "replica"

    @property
    def entry(self) -> dict[str, object]:
        tables = [{**part.entry, "rename": f"public.{part.name}"} for part in self.parts]
        return {"name": self.name, "type": "postgres", "dsn": self.dsn, "tables": tables}

    def form(self, column: Column) -> Form:
        del column
        return Form(str)

    def rows(self, part: Part) -> list[Stored]:
        columns = ", ".join(OUTPUT.replace("{}", quote(column.name)) for column in part.table.columns)
        with closing(psycopg2.connect(self.dsn)) as session, session.cursor() as cursor:
            cursor.execute(f"SELECT {columns} FROM {quote('public', part.name)}", ())
            return cursor.fetchall()

    def leftovers(self) -> list[str]:
        return []


@dataclass
class Selection:
    """A source, one target of each kind, and the walsync between them."""

    source: Database
    walsync: Walsync
    places: Sequence[PostgresDatabase | D1File | SurrealDBDirectory]

    def catch_up(self, *parts: Part) -> list[Any]:
        """Give every target these parts, bring it to the source's end, and compare; return the tables copied anew."""
        places: list[Place] = [replace(place, parts=parts) for place in self.places]
        content = {
            "source": {"dsn": self.source.dsn, "slot": self.source.name, "tables": ["public.*"]},
            "targets": [place.entry for place in places],
            "http": {"listen": ""},
        }
        self.walsync.config_path.write_text(yaml.safe_dump(content))
        said_before = len(self._log())
        assert self.walsync.run("run", "--until-caught-up", "--timeout", "30s") == 0, self.walsync.output
        for comparison in (each for place in places for each in compare(self.source.dsn, place)):
            assert comparison.equal, str(comparison)
        events = [json.loads(line) for line in self._log()[said_before:]]
        return sorted((event["table"], event["target"]) for event in events if event["event"] == "table_copied")

    def rows(self, part: Part) -> list[list[Stored]]:
        """Read a table from every target."""
        return [sorted(replace(place, parts=[part]).rows(part), key=repr) for place in self.places]

    def _log(self) -> list[str]:
        return self.walsync.stderr.read_text().splitlines() if self.walsync.stderr.exists() else []


@pytest.fixture
def selection(source: Database, target: Database, walsync_command: Callable[..., Walsync], tmp_path: Path) -> Selection:
    for statement in (*ITEMS.ddl, *NOTES.ddl):
        source.execute(statement)
    body = "repeat('a large value, stored out of line. ', 200)"
    regions = "(ARRAY['eu', 'uk', 'us', NULL])[n % 4 + 1]"
    source.execute(f"INSERT INTO items SELECT n, {regions}, {body} || n FROM generate_series(1, 40) AS n")
    source.execute("INSERT INTO notes SELECT n, 'note ' || n FROM generate_series(1, 5) AS n")
    places: list[PostgresDatabase | D1File | SurrealDBDirectory] = [
        PostgresDatabase(target.dsn, []),
        D1File("local", tmp_path / "local.sqlite", []),
        SurrealDBDirectory("graph", tmp_path / "graph", []),
    ]
    return Selection(source, walsync_command(""), places)


def copies_of(*tables: str) -> list[tuple[str, str]]:
    return [(f"public.{table}", target) for table in tables for target in ("graph", "local", "replica")]


def test_rows_come_and_go_with_the_columns_that_a_target_matches(selection: Selection) -> None:
    source = selection.source
    assert selection.catch_up(IN_EUROPE) == copies_of("items")
    assert [len(rows) for rows in selection.rows(IN_EUROPE)] == [20, 20, 20]

    source.execute("UPDATE items SET region = 'us' WHERE region = 'uk' AND id < 20")  # leave
    source.execute("UPDATE items SET region = 'eu' WHERE region IS NULL AND id < 10")  # enter, the body not sent
    source.execute("UPDATE items SET region = 'uk' WHERE region = 'eu' AND id > 30")  # stay
    source.execute("UPDATE items SET id = id + 100, region = 'uk' WHERE region = 'us' AND id > 35")  # enter elsewhere
    source.execute("DELETE FROM items WHERE id IN (4, 5, 6, 7)")
    source.execute("INSERT INTO items VALUES (200, 'eu', 'new'), (201, 'us', 'new'), (202, NULL, 'new')")

    assert selection.catch_up(IN_EUROPE) == []
    assert selection.rows(IN_EUROPE)[0] != []


def test_another_match_in_the_file_copies_the_table_again(selection: Selection) -> None:
    assert selection.catch_up(IN_EUROPE, ALL_NOTES) == copies_of("items", "notes")
    selection.source.execute("UPDATE items SET region = 'us' WHERE id < 5")

    assert selection.catch_up(IN_AMERICA, ALL_NOTES) == copies_of("items")
    selection.source.execute("UPDATE items SET region = 'eu' WHERE id < 3")
    assert selection.catch_up(IN_AMERICA, ALL_NOTES) == []


def test_a_table_that_was_left_out_for_a_while_is_copied_again(selection: Selection) -> None:
    selection.catch_up(IN_EUROPE, ALL_NOTES)

    assert selection.catch_up(IN_EUROPE) == []
    selection.source.execute("DELETE FROM notes WHERE id < 3")
    selection.source.execute("UPDATE notes SET note = 'changed meanwhile' WHERE id = 4")
    assert selection.catch_up(IN_EUROPE) == []
    assert [len(rows) for rows in selection.rows(ALL_NOTES)] == [5, 5, 5]

    assert selection.catch_up(IN_EUROPE, ALL_NOTES) == copies_of("notes")
