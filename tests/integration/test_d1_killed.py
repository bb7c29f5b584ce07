"""The walsync command with a D1 file as its target, killed again and again, and compared through plain sqlite3."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import yaml
from fix_postgres import Database, Rows
from fix_rounds import CREATE, QUERIES, ROUND, stored
from fix_walsync import Walsync, eventually


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
        before = position(path)
        walsync.start("run")
        for _ in range(5):
            number += 1
            source.execute(ROUND.format(n=number))
        eventually(lambda before=before: position(path) != before, 30, "the checkpoint to move")  # type: ignore[misc]
        source.execute(ROUND.format(n=number + 100))
        walsync.sigkill()
    assert walsync.run("run", "--until-caught-up", "--timeout", "30s") == 0
    assert {name: execute(path, query) for name, query in QUERIES.items()} == stored(source)


def position(path: Path) -> Sequence[object]:
    if not path.exists():
        return ()
    try:
        return execute(path, "SELECT lsn FROM _walsync_checkpoint")
    except sqlite3.OperationalError:
        return ()
