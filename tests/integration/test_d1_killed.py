"""The walsync command with a D1 file as its target, killed again and again, and compared through plain sqlite3."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml
from fix_postgres import Database
from fix_walsync import Walsync, eventually

Rows = list[tuple[Any, ...]]

CREATE = """
CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance numeric, note text);
CREATE TABLE moves (account int, at bigint, amount numeric, PRIMARY KEY (account, at));
CREATE TABLE lines (line text); ALTER TABLE lines REPLICA IDENTITY FULL;
ALTER TABLE accounts ALTER note SET STORAGE EXTERNAL;
INSERT INTO accounts SELECT i, 'owner ' || i, i, repeat('note ', 1000) FROM generate_series(1, 50) AS i
"""
ROUND = """
INSERT INTO moves SELECT i, {n} * 100 + i, i * 0.10 FROM generate_series(1, 50) AS i;
UPDATE accounts SET balance = balance + {n} WHERE id % 3 = {n} % 3;
UPDATE accounts SET id = id + 1000 WHERE id % 7 = {n} % 7 AND id < 1000;
UPDATE accounts SET id = id - 1000 WHERE id % 5 = {n} % 5 AND id > 1000 AND id - 1000 NOT IN (SELECT id FROM accounts);
DELETE FROM moves WHERE at % 11 = {n} % 11;
INSERT INTO lines SELECT 'line ' || i % 3 FROM generate_series(1, 5) AS i;
DELETE FROM lines WHERE ctid IN (SELECT ctid FROM lines WHERE line = 'line 1' LIMIT 1)
"""


def execute(path: Path, sql: str) -> Rows:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(sql).fetchall()


def test_the_command_keeps_a_file_equal_to_the_source_whatever_kills_it(
    source: Database, walsync_command: Callable[..., Walsync], tmp_path: Path
) -> None:
    path = tmp_path / "local.sqlite"
    source.execute(CREATE)
    content = {
        "source": {"dsn": source.dsn, "slot": source.name, "tables": ["public.*"]},
        "targets": [{"name": "local", "type": "d1", "url": f"sqlite://{path}"}],
        "http": {"listen": ""},
    }
    walsync = walsync_command(yaml.safe_dump(content))
    number = 0
    for _ in range(4):
        walsync.start("run")
        for _ in range(5):
            number += 1
            source.execute(ROUND.format(n=number))
        before = position(path)
        eventually(lambda before=before: position(path) != before, 30, "the checkpoint to move")  # type: ignore[misc]
        source.execute(ROUND.format(n=number + 100))
        walsync.sigkill()
    assert walsync.run("run", "--until-caught-up", "--timeout", "30s") == 0
    assert contents(path) == {
        "accounts": source.execute("SELECT id, owner, balance::text, note FROM accounts ORDER BY 1"),
        "moves": source.execute("SELECT account, at, amount::text FROM moves ORDER BY 1, 2"),
        "lines": source.execute("SELECT line FROM lines ORDER BY 1"),
    }


def position(path: Path) -> Sequence[object]:
    if not path.exists():
        return ()
    try:
        return execute(path, "SELECT lsn FROM _walsync_checkpoint")
    except sqlite3.OperationalError:
        return ()


def contents(path: Path) -> dict[str, Rows]:
    return {
        "accounts": execute(path, "SELECT id, owner, balance, note FROM accounts ORDER BY 1"),
        "moves": execute(path, "SELECT account, at, amount FROM moves ORDER BY 1, 2"),
        "lines": execute(path, "SELECT line FROM lines ORDER BY 1"),
    }
