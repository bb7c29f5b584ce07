"""A real source into SurrealDB's engine through the command, killed again and again, read back with plain CBOR."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest
import yaml
from cbor2 import CBORTag
from fix_postgres import Database
from fix_replication import Replication, slot_row
from fix_walsync import Walsync, eventually
from surrealdb._surrealdb_ext import AsyncEmbeddedDB

from walsync.lsn import LSN, ZERO

KILLS = 5
TRANSACTIONS = 30
SECONDS = 60
TABLES = """
CREATE TABLE users (id int PRIMARY KEY, name text, doc jsonb, body text);
ALTER TABLE users ALTER body SET STORAGE EXTERNAL;
CREATE TABLE log (line text, at timestamptz);
ALTER TABLE log REPLICA IDENTITY FULL;
CREATE SCHEMA other;
CREATE TABLE other.users (a int, b text, n numeric, PRIMARY KEY (b, a));
INSERT INTO users SELECT i, 'user ' || i, jsonb_build_object('n', i), repeat('x', 3000) FROM generate_series(1, 500) i;
INSERT INTO log SELECT 'line ' || i, now() FROM generate_series(1, 50) i;
"""
# The body is never sent again; every transaction adds one line, so that one applied twice or lost is seen.
CHANGES = """
UPDATE users SET name = name || '.', doc = doc || '{"seen": true}' WHERE id % 7 = %(n)s % 7;
UPDATE users SET id = id + 100000 WHERE id = %(n)s;
INSERT INTO users VALUES (%(n)s + 1000, 'new', '{}', NULL);
DELETE FROM users WHERE id = %(n)s + 990;
INSERT INTO log VALUES ('change', '2026-01-01');
INSERT INTO other.users VALUES (%(n)s, 'b', 1.10) ON CONFLICT DO NOTHING;
UPDATE other.users SET n = CASE n::text WHEN '1.1' THEN 1.10 ELSE 1.1 END WHERE a % 3 = %(n)s % 3;
"""
LARGE = """
INSERT INTO log SELECT 'large', '2026-01-01' FROM generate_series(1, 2500);
UPDATE users SET doc = '{"large": 1}';
"""


def read(directory: Path, *tables: str) -> list[list[dict[str, Any]]]:
    """Read whole tables as docs/targets.md tells people to."""

    async def ask() -> list[list[dict[str, Any]]]:
        database = AsyncEmbeddedDB(f"surrealkv://{directory}")
        await database.connect()
        for method, params in (
            ("use", ["app", "app"]),
            ("query", ["; ".join(f"SELECT * FROM {table}" for table in tables), {}]),
        ):
            answer = await database.execute(cbor2.dumps({"id": "1", "method": method, "params": params}))
        return [slot["result"] for slot in cbor2.loads(answer)["result"]]

    return asyncio.run(ask())


@pytest.fixture
def replication(source: Database) -> Replication:
    source.execute(TABLES)
    return Replication(source, {}, ["public.*", "other.*"])


def start(replication: Replication, walsync_command: Callable[..., Walsync], directory: Path) -> Walsync:
    graph = {
        "name": "graph",
        "type": "surrealdb",
        "url": f"surrealkv://{directory}",
        "namespace": "app",
        "database": "app",
    }
    return walsync_command(yaml.safe_dump({**replication.content, "targets": [graph]}))


def test_every_transaction_is_there_once_after_many_kills(
    replication: Replication, walsync_command: Callable[..., Walsync], tmp_path: Path
) -> None:
    directory = tmp_path / "graph"
    walsync = start(replication, walsync_command, directory)
    for kill in range(KILLS):
        before = confirmed(replication)
        walsync.start("run")
        for number in range(kill * TRANSACTIONS, (kill + 1) * TRANSACTIONS):
            replication.source.execute(CHANGES.replace("%(n)s", str(number + 1)))
        replication.source.execute(LARGE)
        eventually(lambda before=before: confirmed(replication) > before, SECONDS, "the target to move on")  # type: ignore[misc]
        walsync.sigkill()
    assert walsync.run("run", "--until-caught-up", "--timeout", f"{SECONDS}s", timeout=2 * SECONDS) == 0, walsync.output
    compare(replication.source, directory)


def confirmed(replication: Replication) -> LSN:
    """Tell what the slot has been told to be durable."""
    lsn = slot_row(replication, "confirmed_flush_lsn")
    return LSN.parse(lsn) if lsn else ZERO  # while it is being created it has none


def compare(source: Database, directory: Path) -> None:
    users, log, others, own = read(directory, "users", "log", "other__users", "_walsync")
    assert sorted((row["id"].value[1], row["name"], row["doc"], row["body"]) for row in users) == source.execute(
        "SELECT id, name, doc, body FROM users ORDER BY id"
    )
    lines = source.execute("SELECT line, extract(epoch FROM at)::bigint FROM log WHERE line IN ('change', 'large')")
    found = [(row["line"], row["at"].value[0]) for row in log if row["line"] in ("change", "large")]
    assert sorted(found) == sorted((line, int(at)) for line, at in lines)
    assert len(log) == len(lines) + 50
    assert sorted((row["a"], row["b"], row["n"]) for row in others) == sorted(
        (a, b, CBORTag(10, str(n))) for a, b, n in source.execute("SELECT a, b, n FROM other.users")
    )
    assert [row["id"].value[1] for row in others] == [(row["a"], row["b"]) for row in others]
    assert {row["kind"] for row in own} == {"checkpoint", "table_state"}
