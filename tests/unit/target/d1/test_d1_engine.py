"""SQLite with D1's rules: what passes here passes on D1, what D1 refuses is refused here."""

import math
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from walsync.target.d1 import engine
from walsync.target.d1.engine import Abandoned, Engine
from walsync.target.d1.request import Parameter, Result, Statement

NEVER = threading.Event()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "d1.sqlite"


@pytest.fixture
def opened(path: Path) -> Iterator[Engine]:
    with closing(Engine(path, create=True)) as made:
        yield made


def run(opened: Engine, sql: str, *parameters: Parameter) -> Result:
    return opened.batch([Statement(sql, parameters)], NEVER)[0]


def value(opened: Engine, sql: str, *parameters: Parameter) -> object:
    return run(opened, sql, *parameters).rows[0][0]


def columns(number: int) -> str:
    return ", ".join(f"c{index}" for index in range(number))


@pytest.mark.parametrize(
    ("taken", "refused"),
    [
        ("SELECT length(zeroblob(2000000))", "SELECT length(zeroblob(2000001))"),
        (f"SELECT {'1'.ljust(99_993)}", f"SELECT {'1'.ljust(99_994)}"),
        (f"CREATE TABLE t ({columns(100)})", f"CREATE TABLE t ({columns(101)})"),
        (f"SELECT 1{' + 1' * 98}", f"SELECT 1{' + 1' * 100}"),
        (" UNION ALL ".join(["SELECT 1"] * 5), " UNION ALL ".join(["SELECT 1"] * 6)),
        ("SELECT ?100", "SELECT ?101"),
        (f"SELECT max({', '.join('1' * 32)})", f"SELECT max({', '.join('1' * 33)})"),
        (f"SELECT 'a' LIKE '{'a' * 50}'", f"SELECT 'a' LIKE '{'a' * 51}'"),
        (
            "INSERT INTO wide SELECT zeroblob(1000000), 1",
            "INSERT INTO wide SELECT zeroblob(1000000), zeroblob(1000000)",
        ),
    ],
    ids=["value", "statement", "columns", "depth", "compound", "parameters", "arguments", "pattern", "row"],
)
def test_the_limits_of_d1_hold(opened: Engine, taken: str, refused: str) -> None:
    run(opened, "CREATE TABLE wide (a, b)")
    parameters = [None] * (100 if "?" in taken else 0)
    run(opened, taken, *parameters)
    with pytest.raises(sqlite3.Error):
        run(opened, refused, *parameters, *([None] if parameters else []))


@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT s",
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "CREATE TEMP TABLE t (a)",
        "CREATE TEMP VIEW v AS SELECT 1",
        "VACUUM",
        "SELECT sqlite_version()",
        "SELECT sqlite_source_id()",
        "PRAGMA user_version",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA foreign_keys = OFF",
        "PRAGMA writable_schema = ON",
        "CREATE TABLE _cf_kv (a)",
        "SELECT 1; SELECT 2",
    ],
)
def test_what_d1_refuses_is_refused_and_the_engine_goes_on(opened: Engine, sql: str) -> None:
    with pytest.raises((sqlite3.Error, sqlite3.Warning)):
        run(opened, sql)
    assert value(opened, "SELECT 1") == 1


@pytest.mark.parametrize("pragma", ["table_info(t)", "foreign_key_check", "quick_check", "optimize", "index_list(t)"])
def test_the_pragmas_that_d1_has_work(opened: Engine, pragma: str) -> None:
    opened.batch([Statement("CREATE TABLE t (a)"), Statement(f"PRAGMA {pragma}")], NEVER)


def test_a_number_arrives_as_javascript_sends_it_and_a_string_as_the_column_wants_it(opened: Engine) -> None:
    run(opened, "CREATE TABLE t (i INTEGER, s TEXT)")
    run(opened, "INSERT INTO t VALUES (?1, ?1), (?2, ?2)", 12345, "9007199254740993")
    assert run(opened, "SELECT i, s FROM t").rows == [(12345, "12345.0"), (9007199254740993, "9007199254740993")]
    assert value(opened, "SELECT typeof(?1)", 1) == "real"


def test_unhex_is_there_in_every_version_of_sqlite(opened: Engine) -> None:
    found = run(opened, "SELECT unhex('00fF'), unhex(''), unhex('0'), unhex('zz'), unhex(NULL)").rows
    assert found == [(b"\x00\xff", b"", None, None, None)]
    assert engine._unhex("00 ff") is None


def test_atan2_is_there_in_every_build_of_sqlite(opened: Engine) -> None:
    found = run(opened, "SELECT atan2(0.0, -1.0), atan2(?1, -1.0), atan2('NaN', -1.0), atan2(NULL, -1.0)", -0.0).rows
    assert found == [(math.pi, -math.pi, None, None)]
    assert [engine._atan2(y, -1.0) for y in (0.0, -0.0, "NaN", None)] == [math.pi, -math.pi, None, None]


def test_a_request_takes_effect_whole_or_not_at_all(opened: Engine) -> None:
    with pytest.raises(sqlite3.OperationalError):
        opened.batch([Statement("CREATE TABLE t (a)"), Statement("INSERT INTO absent VALUES (1)")], NEVER)
    assert value(opened, "SELECT count(*) FROM sqlite_master") == 0


def test_an_abandoned_request_leaves_nothing(opened: Engine) -> None:
    abandoned = threading.Event()
    abandoned.set()
    with pytest.raises(Abandoned):
        opened.batch([Statement("CREATE TABLE t (a)")], abandoned)
    assert value(opened, "SELECT count(*) FROM sqlite_master") == 0


def test_foreign_keys_are_on(opened: Engine) -> None:
    run(opened, "CREATE TABLE p (id INTEGER PRIMARY KEY)")
    run(opened, "CREATE TABLE c (p REFERENCES p)")
    with pytest.raises(sqlite3.IntegrityError):
        run(opened, "INSERT INTO c VALUES (1)")


def test_others_read_while_the_file_is_written_and_see_what_is_committed(opened: Engine, path: Path) -> None:
    run(opened, "CREATE TABLE t (a)")
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM t").fetchone() == (0,)
        run(opened, "INSERT INTO t VALUES (1)")
        assert reader.execute("SELECT count(*) FROM t").fetchone() == (0,)
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM t").fetchone() == (1,)


def test_looking_at_a_file_changes_nothing(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")
    before = path.read_bytes()
    with closing(Engine(path, create=False)) as opened:
        run(opened, "SELECT * FROM t")
    assert (path.read_bytes(), list(path.parent.iterdir())) == (before, [path])
    with pytest.raises(sqlite3.OperationalError):
        Engine(path.with_name("absent"), create=False)
    assert not path.with_name("absent").exists()
