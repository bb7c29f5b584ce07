"""The walsync command with a file as its target, killed again and again: every transaction once, in order, whole."""

import json
from collections.abc import Callable
from pathlib import Path

import fastjsonschema
import yaml
from conformance.bench_lines import Folded, Number
from fix_postgres import Database
from fix_rounds import CREATE, ROUND
from fix_walsync import Walsync, eventually

from walsync.lsn import LSN

SCHEMA = Path(__file__).parents[2] / "docs" / "transaction.schema.json"
KEYS = {"accounts": ("id",), "moves": ("account", "at"), "lines": ()}
COLUMNS = {"accounts": ("id", "owner", "balance", "note"), "moves": ("account", "at", "amount"), "lines": ("line",)}

valid = fastjsonschema.compile(json.loads(SCHEMA.read_text()))


def test_a_file_has_every_transaction_once_whatever_kills_the_command(
    source: Database, walsync_command: Callable[..., Walsync], tmp_path: Path
) -> None:
    path = tmp_path / "changes.jsonl"
    source.execute(CREATE)
    target = {"name": "log", "type": "file", "path": str(path), "rotate_bytes": "100kB"}
    content = {
        "source": {"dsn": source.dsn, "slot": source.name, "tables": ["public.*"]},
        "targets": [target],
        "batch": {"idle_checkpoint_seconds": 0.2},
        "http": {"listen": ""},
    }
    walsync = walsync_command(yaml.safe_dump(content))
    walsync.start("run")
    eventually(path.exists, 30, "the snapshot to begin")
    walsync.sigkill()
    number = 0
    for _ in range(6):
        walsync.start("run")
        for _ in range(5):
            number += 1
            source.execute(ROUND.format(n=number))
        end = source.execute("SELECT pg_current_wal_lsn() - '0/0'")[0][0]
        eventually(lambda end=end: position(path) >= end, 30, "the checkpoint to move")  # type: ignore[misc]
        source.execute(ROUND.format(n=number + 100))
        walsync.sigkill()
    assert walsync.run("run", "--until-caught-up", "--timeout", "30s") == 0
    tables = fold(path)
    for name, columns in COLUMNS.items():
        shown = sorted(tuple(row[column] for column in columns) for row in tables[name].rows)
        listed = ", ".join(f"{column}::text" for column in columns)
        assert shown == sorted(source.execute(f"SELECT {listed} FROM {name}"))
    assert len(list(tmp_path.glob("changes.*.jsonl"))) > 2


def position(path: Path) -> int:
    """Read the checkpoint's LSN."""
    stored = path.with_name(path.name + ".checkpoint")
    return LSN.parse(json.loads(stored.read_bytes())["lsn"]) if stored.exists() else 0


def fold(path: Path) -> dict[str, Folded]:
    """Read all files, in order, and apply what stands there; every line is whole and no commit comes twice."""
    tables = {name: Folded(key) for name, key in KEYS.items()}
    commits: list[int] = []
    for each in [*sorted(path.parent.glob("changes.*.jsonl")), path]:
        for line in each.read_bytes().splitlines():
            valid(json.loads(line))
            found = json.loads(line, parse_int=Number, parse_float=Number)
            if not found.get("snapshot"):
                commits.append(LSN.parse(found["commit_lsn"]))
            for change in found["changes"]:
                tables[change["table"]].apply(change)
    assert commits == sorted(set(commits))
    return tables


def test_stdout_has_every_transaction_and_a_kill_repeats_the_last_ones_at_most(
    source: Database, walsync_command: Callable[..., Walsync], tmp_path: Path
) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0)")
    content = {
        "source": {"dsn": source.dsn, "slot": source.name, "tables": ["public.t"]},
        "targets": [{"name": "out", "type": "stdout", "checkpoint": str(tmp_path / "state" / "out")}],
        "http": {"listen": ""},
    }
    walsync = walsync_command(yaml.safe_dump(content))
    for number in range(1, 4):
        walsync.start("run")
        eventually(lambda number=number: number - 1 in ids(walsync), 30, "the row before")  # type: ignore[misc]
        source.execute(f"INSERT INTO t VALUES ({number})")
        eventually(lambda number=number: number in ids(walsync), 30, "the new row")  # type: ignore[misc]
        walsync.sigkill()
    assert walsync.run("run", "--until-caught-up", "--timeout", "30s") == 0
    assert walsync.run("run", "--until-caught-up", "--timeout", "30s") == 0
    assert set(ids(walsync)) == {0, 1, 2, 3}
    assert list(dict.fromkeys(ids(walsync))) == [0, 1, 2, 3]
    assert ids(walsync).count(0) == 1


def ids(walsync: Walsync) -> list[int]:
    """Read what was printed so far; a line may not be whole yet."""
    lines = walsync.stdout.read_bytes().split(b"\n")[:-1] if walsync.stdout.exists() else []
    return [change["new"]["id"] for line in lines for change in json.loads(line)["changes"] if "new" in change]
