"""TRUNCATE reaches into transactions that began before it: a table that waits for its copy may lose its rows to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from fix_postgres import Database
from fix_replication import Replication, Running, locked

TABLES = """
CREATE TABLE a (id int PRIMARY KEY);
CREATE TABLE b (id int PRIMARY KEY, n int, body text);
"""
ROWS = """
ALTER TABLE b ALTER COLUMN body SET STORAGE EXTERNAL;
INSERT INTO a VALUES (1), (2);
INSERT INTO b SELECT i, i, repeat(md5(i::text), 200) FROM generate_series(1, 5) AS i;
"""


@pytest.fixture
def replication(source: Database, target: Database) -> Replication:
    """Prepare two tables, of which `a` is copied first."""
    source.execute(TABLES + ROWS)
    target.execute(TABLES)
    # One transaction at a time: the one before the TRUNCATE is written by itself.
    return Replication(source, {"replica": target}, ["public.a", "public.b"], {"batch": {"transactions": 1}})


async def test_a_table_that_is_truncated_before_its_turn_is_copied_under_a_new_snapshot(
    replication: Replication, source: Database, target: Database
) -> None:
    async with replication.running() as running:
        async with _copied_but_b(running, target):
            # It leaves `body` out, so the target needs the row, which the old snapshot has and can no longer show.
            source.execute("UPDATE b SET n = 0 WHERE id = 3")
            source.execute("TRUNCATE b")
            source.execute("INSERT INTO b VALUES (6, 6, 'new')")
        await running.until_streaming()
        await running.caught_up()

    replication.assert_equal("SELECT * FROM a ORDER BY id", "SELECT * FROM b ORDER BY id")


async def test_a_table_that_was_copied_can_be_truncated_while_others_still_wait(
    replication: Replication, source: Database, target: Database
) -> None:
    async with replication.running() as running:
        async with _copied_but_b(running, target):
            source.execute("SET lock_timeout = '5s'; TRUNCATE a; INSERT INTO a VALUES (3)")
        await running.until_streaming()
        await running.caught_up()

    replication.assert_equal("SELECT * FROM a ORDER BY id", "SELECT * FROM b ORDER BY id")


@asynccontextmanager
async def _copied_but_b(running: Running, target: Database) -> AsyncIterator[None]:
    """Hold the copy of `b` up on the target, and begin when it is the next."""
    with locked(target, "b"):
        await running.until(partial(_waits, target), "the copy of b to begin")
        yield


def _waits(target: Database) -> bool:
    waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'b'::regclass"
    return target.execute(waiting) != []
