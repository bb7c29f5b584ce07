"""Embedded D1 answers as D1 does: the same SQL on both, and each difference with its reason."""

import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from fix_workerd import Plain, SqlRefused, Workerd

from walsync.target.d1.engine import Engine
from walsync.target.d1.request import Statement

PROBES: Final = Path(__file__).parents[1] / "workerd" / "probes.sql"
LIMITS: Final = {
    "100 columns": f"CREATE TABLE p ({', '.join(f'c{n} INT' for n in range(100))})",
    "101 columns": f"CREATE TABLE p ({', '.join(f'c{n} INT' for n in range(101))})",
    "a statement of 100,000 bytes": f"SELECT 1 AS a{' ' * (100_000 - 13)}",
    "a statement of 100,001 bytes": f"SELECT 1 AS a{' ' * (100_001 - 13)}",
    "an expression of depth 99": f"SELECT {'+'.join(['1'] * 99)} AS a",
    "an expression of depth 101": f"SELECT {'+'.join(['1'] * 102)} AS a",
    "a pattern of 50 bytes": f"SELECT 'a' LIKE '{'a' * 50}' AS a",
    "a pattern of 51 bytes": f"SELECT 'a' LIKE '{'a' * 51}' AS a",
    "32 arguments": f"SELECT max({', '.join('1' for _ in range(32))}) AS a",
    "33 arguments": f"SELECT max({', '.join('1' for _ in range(33))}) AS a",
    "1000 values": f"SELECT 5 IN ({', '.join(map(str, range(1000)))}) AS a",
}

PRIMARY: Final = {
    getattr(sqlite3, name): name
    for name in ("SQLITE_AUTH", "SQLITE_CONSTRAINT", "SQLITE_ERROR", "SQLITE_MISMATCH", "SQLITE_RANGE", "SQLITE_TOOBIG")
}

CHANCE: Final = "chance"
SHARED: Final = "it tells of the connection, which others have used on D1"
STRICTER: Final = "refused here, taken there: walsync has no use for it"
WORDING: Final = "refused on both; D1's own layer says so before SQLite does"
DIFFERENCES: Final = {
    "random()": CHANCE,
    "randomblob(4)": CHANCE,
    "changes()": SHARED,
    "total_changes()": SHARED,
    "last_insert_rowid()": SHARED,
    "SELECT * FROM dbstat": "refused on both, by another name",
    "SELECT * FROM sqlite_master": "D1 keeps a table of its own, _cf_METADATA",
    "SELECT * FROM _cf_METADATA": "refused on both: the table is not there here",
    "length(hex(zeroblob(1000001)))": "workerd alone is lenient: D1 documents 2,000,000 bytes",
    "33 arguments": "workerd alone is lenient: D1 documents 32",
    "length(printf('%.*c', 2000001, 'x'))": "workerd cuts what printf() repeats at 100,000",
    "CREATE VIRTUAL TABLE p USING fts5(t); INSERT INTO p VALUES ('hello world');"
    " SELECT count(*) FROM p WHERE p MATCH 'world'": STRICTER,
    "PRAGMA foreign_keys = OFF": STRICTER,
    "PRAGMA case_sensitive_like = ON; SELECT 'a' LIKE 'A'": STRICTER,
    "PRAGMA recursive_triggers = ON": STRICTER,
    "PRAGMA defer_foreign_keys = ON; SELECT 1": STRICTER,
    "BEGIN": WORDING,
    "BEGIN IMMEDIATE": WORDING,
    "COMMIT": WORDING,
    "ROLLBACK": WORDING,
    "SAVEPOINT s": WORDING,
    "RELEASE s": WORDING,
    "CREATE TABLE p (a INT); CREATE TRIGGER g BEFORE INSERT ON p BEGIN SELECT RAISE(ROLLBACK, 'all'); END;"
    " INSERT INTO p VALUES (-1)": WORDING,
    "SELECT 1;;": "D1 takes what follows a statement for another one",
}
"""Probe -> why it differs, whatever SQLite Python has."""

NEWER: Final = {
    "concat('a', 1)": (3, 44),
    "concat_ws(',', 'a', NULL, 'b')": (3, 44),
    "octet_length('ä')": (3, 43),
    "string_agg('a', ',')": (3, 44),
    "json('{a:1}')": (3, 42),
    "json('[1,2,]')": (3, 42),
    "json_array(x'00')": (3, 45),
    "json_group_array(x'00')": (3, 45),
    "'[10,20]' ->> -1": (3, 47),
    "json_valid('{a:1}', 2)": (3, 45),
    "jsonb('[1]')": (3, 45),
    "1_000": (3, 46),
    "strftime('%f', '2024-01-01 00:00:00.1235')": (3, 43),
    "unixepoch('2024-01-01 00:00:00.5', 'subsec')": (3, 42),
    "timediff('2024-03-01', '2024-02-01')": (3, 43),
    "strftime('%G-W%V-%u', '2024-12-30')": (3, 46),
    "strftime('%e', '2024-01-05')": (3, 44),
    "date('2024-01-31', 'ceiling')": (3, 46),
    "SELECT group_concat(value, '-' ORDER BY value) AS g FROM json_each('[3,1,2]')": (3, 44),
    "SELECT a.value AS x FROM json_each('[1,2]') AS a RIGHT JOIN json_each('[2,3]') AS b ON a.value = b.value"
    " ORDER BY x": (3, 41),
}
"""Probe -> the version of SQLite since which it is as on D1, whose version is 3.47."""

Outcome = tuple[str, object]


def probes() -> dict[str, list[str]]:
    """Name each probe and list its statements; of an expression, type and exact value are asked."""
    expressions, _, statements = PROBES.read_text(encoding="utf-8").partition("-- statements\n")
    made = {
        one: [f"SELECT typeof(x) AS t, quote(x) AS q FROM (SELECT {one} AS x)"]
        for one in expressions.splitlines()
        if not one.startswith("--")
    }
    return (
        made
        | {line: list(split(line)) for line in statements.splitlines()}
        | {name: [sql] for name, sql in LIMITS.items()}
    )


def split(line: str) -> Iterator[str]:
    """Cut where a semicolon ends a statement; a trigger has some inside."""
    gathered = ""
    for part in line.split("; "):
        gathered = f"{gathered}; {part}" if gathered else part
        if not gathered.startswith(("CREATE TRIGGER", "CREATE TEMP TRIGGER")) or gathered.endswith("END"):
            yield gathered
            gathered = ""


def told(text: str) -> str:
    """Tell an error by SQLite's name for it: texts differ from version to version."""
    found = re.search(r"SQLITE_[A-Z]+", text)
    return found[0] if found else "D1 itself"


def exactly(row: list[object]) -> list[object]:
    """Take a double for what it is: versions write it with another number of digits."""
    return ["real", float(str(row[1])).hex()] if row[0] == "real" else row


def on_workerd(plain: Plain, statements: Sequence[str]) -> Outcome:
    plain.clear()
    try:
        results = plain.batch(*((sql, []) for sql in statements))
    except SqlRefused as refused:
        return "refused", told(str(refused))
    return "rows", [exactly(list(row.values())) for row in results[-1]["results"]]


def embedded(folder: Path, number: int, statements: Sequence[str]) -> Outcome:
    with closing(Engine(folder / f"{number}.sqlite", create=True)) as engine:
        try:
            results = engine.batch([Statement(sql) for sql in statements], threading.Event())
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_TOOBIG)  # the module finds SQL too long by itself
            return "refused", PRIMARY[code & 0xFF]
        return "rows", [exactly(list(row)) for row in results[-1].rows]


@pytest.fixture
def plain(workerd: Workerd, d1_database: str) -> Plain:
    return workerd.plain(d1_database)


def test_embedded_d1_answers_as_d1_but_for_the_differences_listed(plain: Plain, tmp_path: Path) -> None:
    asked = probes()
    assert len(asked) > 400
    differ: dict[str, tuple[Outcome, Outcome]] = {}
    for number, (name, statements) in enumerate(asked.items()):
        here, there = embedded(tmp_path, number, statements), on_workerd(plain, statements)
        if here != there:
            differ[name] = here, there
    report = "\n".join(f"{name}\n    here  {here}\n    there {there}" for name, (here, there) in differ.items())
    older = {name for name, version in NEWER.items() if sqlite3.sqlite_version_info < version}
    varies = {name for name, reason in DIFFERENCES.items() if reason in (CHANCE, SHARED)}
    assert set(differ) - varies == (set(DIFFERENCES) | older) - varies, report
