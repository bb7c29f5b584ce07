"""Two targets, of which one goes away: what the tests of isolation share."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from fix_postgres import Database, Server
from fix_proxy import NewLine, Proxy
from fix_replication import Replication, Running, slot_row

from walsync.demo.engines import PostgresServer
from walsync.lsn import LSN
from walsync.status import TargetState

ROWS = "SELECT id, name FROM t ORDER BY id"
COUNT = "SELECT count(*) FROM t"
WIDE = "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(%s::int, %s::int) AS i"


@pytest.fixture
def away(target: Database, line_to: NewLine) -> Proxy:
    """Return the way to a target that can be closed."""
    return line_to(target)


@pytest.fixture
def apart(
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


def on_own_server(
    apart: Replication, server: PostgresServer, new_database: Callable[[Server], Database]
) -> Replication:
    """Let another server be the source: slots, and what WAL they keep, belong to a whole one."""
    source = new_database(server)
    source.execute("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (0, 'before')")
    return replace(apart, source=source)


def insert(replication: Replication, first: int, last: int) -> None:
    """Commit rows, each by itself."""
    for row in range(first, last + 1):
        replication.source.execute(WIDE, row, row)


def rows(replication: Replication, name: str) -> int:
    return int(replication.targets[name].execute(COUNT)[0][0])


def hold(replication: Replication) -> object:
    return slot_row(replication, "confirmed_flush_lsn", "_hold")


def registered(replication: Replication, name: str = "far") -> str:
    """Return where a target is in its life, as the registry has it."""
    return "".join(
        state for (state,) in replication.source.execute("SELECT state FROM walsync.target WHERE name = %s", name)
    )


async def park(replication: Replication, running: Running, away: Proxy, *, first: int = 1, last: int) -> None:
    """Close the way to one target, and change more than the backlog holds."""
    away.go_away()
    insert(replication, first, last)
    await until_near_has(replication, running, last + 1)
    await running.until(lambda: running.state("far") is TargetState.PARKED, "the one to be parked")
    await running.until(lambda: hold(replication) is not None, "the hold slot")
    await running.until(lambda: registered(replication) == "parked", "the registry to know")


async def until_near_has(replication: Replication, running: Running, count: int) -> None:
    await running.until(lambda: rows(replication, "near") == count, "the other target to have all rows")


async def until_dropped(replication: Replication, running: Running) -> None:
    await running.until(lambda: hold(replication) is None, "the hold slot to be dropped")


async def until_passed(replication: Replication, running: Running) -> None:
    """Wait until the main slot no longer holds what the target lacks."""
    lacks = running.progress("far").checkpoint
    await running.until(
        lambda: LSN.parse(slot_row(replication, "confirmed_flush_lsn")) > lacks, "the main slot to move past the target"
    )
