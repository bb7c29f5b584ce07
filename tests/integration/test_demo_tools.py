"""What the acceptance runs rely on: the comparison finds every difference, the workload counts what it committed."""

import threading
from random import Random

import pytest
from fix_postgres import Database

from walsync.demo.compare import PostgresReader, compare
from walsync.demo.workload import Operation, Style, Transaction, Workload

TABLES = """
CREATE SCHEMA app;
CREATE TABLE app."Odd % name" (id int PRIMARY KEY, "a""b" text, n numeric, at timestamptz);
CREATE TABLE app.bag (a int, b text);
"""
ROWS = """
INSERT INTO app."Odd % name" VALUES (1, 'x', 1.10, '2024-01-01 00:00+00'), (2, NULL, 'NaN', 'infinity');
INSERT INTO app.bag VALUES (1, ''), (1, ''), (2, 'b');
"""


def differences(source: Database, target: Database) -> dict[str, tuple[int, int]]:
    found = compare(PostgresReader(source.dsn), PostgresReader(target.dsn), ["app"])
    return {str(one.table): (len(one.missing), len(one.extra)) for one in found if not one.equal}


@pytest.fixture
def both(source: Database, target: Database) -> tuple[Database, Database]:
    """Give both databases the same rows."""
    for database in (source, target):
        database.execute(TABLES + ROWS)
    return source, target


def test_equal_tables_are_found_equal(both: tuple[Database, Database]) -> None:
    assert differences(*both) == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('UPDATE app."Odd % name" SET n = 1.1 WHERE id = 1', {"app.Odd % name": (1, 1)}),
        ('UPDATE app."Odd % name" SET "a""b" = \'\' WHERE id = 2', {"app.Odd % name": (1, 1)}),
        ("DELETE FROM app.bag WHERE a = 2", {"app.bag": (1, 0)}),
        ("INSERT INTO app.bag VALUES (1, '')", {"app.bag": (0, 1)}),
        ("UPDATE app.bag SET b = NULL WHERE ctid = '(0,1)'", {"app.bag": (1, 1)}),
        ("TRUNCATE app.bag", {"app.bag": (3, 0)}),
    ],
)
def test_every_difference_is_found(
    both: tuple[Database, Database], change: str, expected: dict[str, tuple[int, int]]
) -> None:
    source, target = both
    target.execute(change)
    assert differences(source, target) == expected


def test_settings_of_a_database_are_no_difference(both: tuple[Database, Database]) -> None:
    source, target = both
    target.execute(f"ALTER DATABASE {target.name} SET timezone = 'Asia/Tokyo'")
    target.execute(f"ALTER DATABASE {target.name} SET datestyle = 'German'")
    assert differences(source, target) == {}


def test_the_workload_counts_what_it_committed_and_nothing_else(source: Database) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE log (n int)")
    enough = threading.Event()

    def insert(transaction: Transaction, random: Random) -> None:
        transaction.insert("t", "INSERT INTO t VALUES (%s)", random.randint(1, 50))  # may be there: a conflict

    def delete(transaction: Transaction, random: Random) -> None:
        transaction.delete("t", "DELETE FROM t WHERE id <= %s", random.randint(1, 50))

    def append(transaction: Transaction, random: Random) -> None:
        transaction.insert("log", "INSERT INTO log SELECT generate_series(1, %s)", random.randint(1, 3))
        if workload.tally.committed > 200:
            enough.set()

    operations = [Operation(3, insert), Operation(1, delete), Operation(2, append)]
    workload = Workload(source.dsn, operations, seed=1, style=Style())
    workload.start()
    assert enough.wait(60)
    tally = workload.stop()

    assert tally.unknown == 0
    assert tally.rolled_back > 0
    (rows,) = source.execute("SELECT count(*)::int FROM t")[0]
    assert tally.changes["t", "insert"] - tally.changes["t", "delete"] == rows
    assert source.execute("SELECT count(*)::int FROM log") == [(tally.changes["log", "insert"],)]


def test_what_goes_wrong_in_the_workload_is_raised_at_its_end(source: Database) -> None:
    broken = threading.Event()

    def fail(transaction: Transaction, random: Random) -> None:
        del random
        broken.set()
        transaction.insert("t", "INSERT INTO nowhere VALUES (1)")

    workload = Workload(source.dsn, [Operation(1, fail)], seed=1, style=Style(writers=1, savepoints=False))
    workload.start()
    assert broken.wait(60)
    with pytest.raises(Exception, match="nowhere"):
        workload.stop()
