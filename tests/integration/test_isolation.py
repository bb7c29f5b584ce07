"""One target that is away costs the others nothing: it is parked, its WAL is held, and it comes back by itself."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from fix_postgres import Database, Server
from fix_proxy import Proxy
from fix_replication import Replication, Running, slot_row
from psycopg2.extensions import parse_dsn

from walsync.lsn import LSN
from walsync.status import TargetState

ROWS = "SELECT id, name FROM t ORDER BY id"
COUNT = "SELECT count(*) FROM t"
BACKLOG_BYTES = 64 * 1024
WIDE = "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(%s::int, %s::int) AS i"


@pytest.fixture
def away(target: Database, new_proxy: Callable[[str, int], Proxy]) -> Proxy:
    """Return the way to a target that can be closed."""
    parts = parse_dsn(target.dsn)
    return new_proxy(parts["host"], int(parts["port"]))


@pytest.fixture
def replication(
    source: Database,
    target: Database,
    target_server: Server,
    new_database: Callable[[Server], Database],
    away: Proxy,
) -> Replication:
    """Two targets, one of them behind the proxy, and a backlog of the smallest size."""
    source.execute("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (0, 'before')")
    near = new_database(target_server)
    plain = Replication(source, {"near": near, "far": target}, ["public.t"], {"backlog": {"max_bytes": "64kB"}})
    return replace(plain, proxied={"far": away.dsn(target.name)})


def insert(replication: Replication, first: int, last: int) -> None:
    """Commit rows, each by itself."""
    for row in range(first, last + 1):
        replication.source.execute(WIDE, row, row)


def rows(replication: Replication, name: str) -> int:
    return int(replication.targets[name].execute(COUNT)[0][0])


def hold(replication: Replication) -> object:
    return slot_row(replication, "confirmed_flush_lsn", "_hold")


async def park(replication: Replication, running: Running, away: Proxy, *, last: int) -> None:
    """Close the way to one target, and change more than the backlog holds."""
    away.refuse()
    away.cut()
    insert(replication, 1, last)
    await running.until(lambda: rows(replication, "near") == last + 1, "the other target to have all rows")
    await running.until(lambda: running.state("far") is TargetState.PARKED, "the one to be parked")
    await running.until(lambda: hold(replication) is not None, "the hold slot")


async def until_passed(replication: Replication, running: Running) -> None:
    """Wait until the main slot no longer holds what the target lacks."""
    lacks = running.progress("far").checkpoint
    await running.until(
        lambda: LSN.parse(slot_row(replication, "confirmed_flush_lsn")) > lacks, "the main slot to move past the target"
    )


async def test_a_target_that_is_away_is_parked_and_comes_back_to_exactly_where_it_was(
    replication: Replication, away: Proxy
) -> None:
    async with replication.running() as running:
        await running.until_streaming()
        await park(replication, running, away, last=300)
        assert rows(replication, "far") < 300
        await until_passed(replication, running)
        away.accept()
        await running.until_streaming()
        insert(replication, 301, 310)
        await running.caught_up()
        await running.until(lambda: hold(replication) is None, "the hold slot to be dropped")
    replication.assert_equal(ROWS)


async def test_a_parked_target_is_found_again_by_the_next_run(replication: Replication, away: Proxy) -> None:
    async with replication.running() as running:
        await running.until_streaming()
        await park(replication, running, away, last=300)
        held = hold(replication)
    async with replication.running() as running:
        await running.until(lambda: running.state("near") is TargetState.STREAMING, "the other target to stream")
        insert(replication, 301, 310)
        await running.until(lambda: rows(replication, "near") == 311, "the other target to have all rows")
        assert hold(replication) == held
        away.accept()
        await running.until_streaming()
        await running.caught_up()
        await running.until(lambda: hold(replication) is None, "the hold slot to be dropped")
    replication.assert_equal(ROWS)


async def test_a_hold_slot_that_is_lost_costs_its_target_a_snapshot_and_nobody_else(
    replication: Replication, away: Proxy
) -> None:
    async with replication.running() as running:
        await running.until_streaming()
        await park(replication, running, away, last=300)
        await until_passed(replication, running)
        copied = running.progress("near").copied_rows
        replication.source.execute("SELECT pg_drop_replication_slot(%s)", f"{replication.slot}_hold")
        away.accept()
        await running.until_streaming()
        insert(replication, 301, 310)
        await running.caught_up()
        assert running.progress("far").copied_rows == {"public.t": 301}
        assert running.progress("near").copied_rows == copied
    replication.assert_equal(ROWS)
