"""What the demo and the acceptance runs rely on: every difference is found, the workload counts what it committed."""

import asyncio
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import cbor2
import pytest
from fix_postgres import Database
from fix_walsync import Walsync
from fix_workerd import Workerd
from surrealdb._surrealdb_ext import AsyncEmbeddedDB

from walsync.demo.compare import PostgresReader, compare
from walsync.demo.reading_d1 import FileReader, read_workerd
from walsync.demo.reading_surrealdb import DATABASE, NAMESPACE, SurrealDBReader
from walsync.demo.watch import Sight
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


VALUES = """
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('so so', 'ok');
CREATE TABLE app.values (id bigint PRIMARY KEY, flag boolean, n numeric, d double precision, b bytea, u uuid,
    at timestamptz, local timestamp, day date, length interval, mood app.mood, words text[], grid int[], moments
    timestamptz[], shared tstzrange, span int4range, note json, doc jsonb, "a""b" text);
INSERT INTO app.values VALUES
    (1, true, 1.10, 0.1, '\\x00ff', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2024-02-29 12:00:00.5+00',
     '1969-12-31 23:59:59.999999', '2024-02-29', '1 year 2 mons -3 days 04:05:06.7', 'so so',
     ARRAY['a "b" \\ c', NULL, '', 'NULL', '{}', 'ü'], '{{1,2},{3,NULL}}', '{2024-02-29 12:00:00+00,infinity}',
     '["2024-01-01 00:00:00.25+00",infinity)', '[1,5)', '{"b" : 1.50, "a": [null, true, "x"]}',
     '{"n": 123456789012345678901234567890.5, "s": "ü\\"", "none": null}', ''),
    (2, false, 'NaN', 'Infinity', '', NULL, 'infinity', 'infinity', 'infinity', '-0.000001 s', NULL, '{}', '{}', '{}',
     'empty', '(,)', 'null', '{"$json": "x"}', E'tab\\t and\\nline'),
    (3, NULL, NULL, '-0', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'null', NULL);
CREATE TABLE app.bag (a int, b text);
ALTER TABLE app.bag REPLICA IDENTITY FULL;
INSERT INTO app.bag VALUES (1, 'x'), (1, 'x'), (2, NULL);
CREATE TABLE app.pairs (id int, part text, PRIMARY KEY (id, part));
INSERT INTO app.pairs VALUES (1, 'a'), (1, 'b');
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


@pytest.fixture
def stored(source: Database, tmp_path: Path, walsync_command: Callable[..., Walsync]) -> tuple[PostgresReader, Path]:
    """Let walsync copy rows of many types into a D1 file and a SurrealDB directory."""
    source.execute(VALUES.replace("\\\\", "\\"))
    graph = {"url": f"surrealkv://{tmp_path}/graph", "namespace": NAMESPACE, "database": DATABASE}
    config = {
        "source": {"dsn": source.dsn, "tables": ["app.*"]},
        "targets": [
            {"name": "weur", "type": "d1", "url": f"sqlite://{tmp_path}/weur.sqlite"},
            {"name": "graph", "type": "surrealdb", **graph},
        ],
        "http": {"listen": ""},
    }
    walsync = walsync_command(json.dumps(config))  # JSON is YAML
    assert walsync.run("run", "--until-caught-up", "--timeout", "30s") == 0, walsync.output
    return PostgresReader(source.dsn), tmp_path


def found_in_d1(source: PostgresReader, folder: Path) -> dict[str, tuple[int, int]]:
    found = compare(source, FileReader(folder / "weur.sqlite", source), ["app"])
    return {one.table.name: (len(one.missing), len(one.extra)) for one in found if not one.equal}


def found_in_surrealdb(source: PostgresReader, folder: Path) -> dict[str, tuple[int, int]]:
    with closing(SurrealDBReader(folder / "graph", source)) as reader:
        found = compare(source, reader, ["app"])
    return {one.table.name: (len(one.missing), len(one.extra)) for one in found if not one.equal}


def test_every_difference_in_a_d1_file_is_found(stored: tuple[PostgresReader, Path]) -> None:
    assert found_in_d1(*stored) == {}
    source, folder = stored
    for change, expected in (
        ("UPDATE app__values SET n = '1.1' WHERE id = 1", {"values": (1, 1)}),
        ("DELETE FROM app__bag WHERE rowid = 1", {"values": (1, 1), "bag": (1, 0)}),
        ("ALTER TABLE app__bag ADD COLUMN c TEXT", {"values": (1, 1), "bag": (3, 2)}),
        ("DROP TABLE app__pairs", {"values": (1, 1), "bag": (3, 2), "pairs": (2, 0)}),
    ):
        with closing(sqlite3.connect(folder / "weur.sqlite")) as connection, connection:
            connection.execute(change)
        assert found_in_d1(source, folder) == expected, change


def test_a_database_on_workerd_is_read_to_the_last_bit(workerd: Workerd, d1_database: str) -> None:
    plain = workerd.plain(d1_database)
    plain.execute('CREATE TABLE "a ""b" (number ANY, "of all" ANY) STRICT')
    plain.execute(
        "INSERT INTO \"a \"\"b\" VALUES (0.0 * -1, 9007199254740993), (0.0, x'00ff'), (5e-324, NULL), (0.1, 'r1')"
    )
    found = read_workerd(plain.url, 'a "b')
    assert repr(found) == repr(
        (["number", "of all"], [(-0.0, 9007199254740993), (0.0, b"\0\xff"), (5e-324, None), (0.1, "r1")])
    )
    assert read_workerd(plain.url, "absent") is None


def test_every_difference_in_a_surrealdb_directory_is_found(stored: tuple[PostgresReader, Path]) -> None:
    assert found_in_surrealdb(*stored) == {}
    source, folder = stored
    for change, expected in (
        ("UPDATE app__values:1 SET n = 1.11dec", {"values": (1, 1)}),
        ("DELETE app__pairs:[1, 'a']", {"values": (1, 1), "pairs": (1, 0)}),
        ("UPDATE app__pairs SET more = 1", {"values": (1, 1), "pairs": (2, 1)}),
        ("REMOVE TABLE app__bag", {"values": (1, 1), "pairs": (2, 1), "bag": (3, 0)}),
    ):
        asyncio.run(surrealql(folder / "graph", change))
        assert found_in_surrealdb(source, folder) == expected, change


async def surrealql(directory: Path, statement: str) -> None:
    database = AsyncEmbeddedDB(f"surrealkv://{directory}")
    await database.connect()
    for method, parameters in (("use", [NAMESPACE, DATABASE]), ("query", [statement, {}])):
        answer = await database.execute(cbor2.dumps({"id": "1", "method": method, "params": parameters}))
    assert [one["status"] for one in cbor2.loads(answer)["result"]] == ["OK"]


def test_a_share_of_the_delays_lies_where_prometheus_puts_it() -> None:
    delays = Counter({0.01: 50, 0.1: 49, 1.0: 0, float("inf"): 1})
    sight = Sight("weur", delays=delays, longest_lag_seconds=3.0)
    assert sight.delay(0.25) == pytest.approx(0.005)
    assert sight.delay(0.5) == pytest.approx(0.01)
    assert sight.delay(0.99) == pytest.approx(0.1)
    assert sight.delay(1.0) == pytest.approx(3.0)
    assert Sight("apac", delays=delays, longest_lag_seconds=0.05).delay(0.99) == pytest.approx(0.05)
    assert Sight("enam").delay(0.5) is None


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
