"""A real standby is promoted while walsync runs: nothing is lost and nothing comes twice, or it is found and said."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fix_isolation import hold, insert, park, rows, until_passed
from fix_postgres import Database, Server
from fix_proxy import NewLine, Proxy
from fix_replication import Replication, Running, slot_row
from fix_standby import SLOT, Standby, mark_failover

from walsync.demo.engines import PostgresServer
from walsync.lsn import LSN
from walsync.status import SourceState, TargetState

# Without a key a row that is applied twice stands there twice.
CREATE = """
CREATE TABLE lines (line text); ALTER TABLE lines REPLICA IDENTITY FULL; INSERT INTO lines VALUES ('copied');
CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (0, 'before')
"""
EVERYTHING = ("SELECT line FROM lines ORDER BY line", "SELECT id, name FROM t ORDER BY id")


@pytest.fixture(params=[17, 18])
def standby(
    request: pytest.FixtureRequest,
    start_server: Callable[..., PostgresServer],
    start_standby: Callable[[PostgresServer], Standby],
) -> Standby:
    """A primary that walsync reads from, and its standby, of each version that synchronises slots."""
    return start_standby(start_server(request.param))


@pytest.fixture
def source(standby: Standby, new_database: Callable[[Server], Database]) -> Database:
    """A database on the primary, with rows."""
    database = new_database(standby.primary)
    database.execute(CREATE)
    return database


@pytest.fixture
def replication(source: Database, target: Database, standby: Standby) -> Replication:
    """Its tables, by an address that names both servers."""
    changes: dict[str, dict[str, Any]] = {
        "source": {"dsn": standby.addresses(source, options="-c wal_sender_timeout=2s")},
        "batch": {"idle_checkpoint_seconds": 0.2},
    }
    return Replication(source, {"replica": target}, ["public.lines", "public.t"], changes)


def say(replication: Replication, *lines: str) -> None:
    for line in lines:
        replication.source.execute("INSERT INTO lines VALUES (%s)", line)


def has(replication: Replication, line: str) -> bool:
    return bool(replication.targets["replica"].execute("SELECT 1 FROM lines WHERE line = %s", line))


async def until_line(running: Running, replication: Replication, line: str) -> None:
    await running.until(lambda: has(replication, line), f"the line {line!r} in the target")


async def test_a_failover_to_a_standby_with_the_slot_loses_nothing_and_repeats_nothing(
    replication: Replication, standby: Standby
) -> None:
    standby.set(standby.primary, synchronized_standby_slots=SLOT)
    async with replication.running() as running:
        await running.until_streaming()
        assert slot_row(replication, "failover")
        await standby.until_synchronised(replication.slot)
        say(replication, "before", "the last one before")
        await until_line(running, replication, "the last one before")
        say(replication, *(f"on the way {number}" for number in range(50)))
        standby.fail_over(replication.source)
        say(replication, "after")
        await until_line(running, replication, "after")
        await running.caught_up()
        status = await running.status()
        assert (status.source.timeline, status.source.state) == (2, SourceState.STREAMING)
        assert status.source.last_error is None
        assert running.progress("replica").copied_rows == {}
    replication.assert_equal(*EVERYTHING)
    assert replication.targets["replica"].execute("SELECT timeline FROM walsync.checkpoint") == [(2,)]


async def test_a_target_never_gets_what_the_standbys_lack_where_the_server_is_told_to_wait_for_them(
    replication: Replication, standby: Standby
) -> None:
    standby.set(standby.primary, synchronized_standby_slots=SLOT)
    async with replication.running() as running:
        await running.until_streaming()
        await running.caught_up()
        await standby.until_synchronised(replication.slot)
        await standby.detach()
        say(replication, "lost")
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'WaitForStandbyConfirmation'"
        await running.until(lambda: replication.source.execute(waiting), "the walsender to wait for the standby")
        assert not has(replication, "lost")
        standby.fail_over(replication.source)
        say(replication, "after")
        await until_line(running, replication, "after")
    replication.assert_equal(*EVERYTHING)
    assert not has(replication, "lost")


async def test_a_target_that_has_what_the_failover_lost_stops_and_the_others_go_on(
    replication: Replication,
    standby: Standby,
    target: Database,
    target_server: Server,
    new_database: Callable[[Server], Database],
    line_to: NewLine,
) -> None:
    way = line_to(target)
    both = replace(
        replication,
        targets={"replica": new_database(target_server), "behind": target},
        proxied={"behind": way.dsn(target.name)},
    )
    async with both.running() as running:
        await running.until_streaming()
        await running.caught_up()
        await standby.until_synchronised(both.slot)
        way.go_away()
        await standby.until_replayed()
        await standby.detach()
        say(both, "lost")
        await until_line(running, both, "lost")
        standby.fail_over(both.source)
        way.accept()
        assert await running.until_stopped("replica") == "WS5006"
        say(both, "after")
        await running.until(lambda: ("after",) in target.execute(EVERYTHING[0]), "the other target to go on")
    assert target.execute(EVERYTHING[0]) == both.source.execute(EVERYTHING[0]) == [("after",), ("copied",)]
    assert both.targets["replica"].execute(EVERYTHING[0]) == [("copied",), ("lost",)]


async def test_a_process_waits_behind_a_standby_until_that_is_promoted(
    replication: Replication, standby: Standby
) -> None:
    async with replication.running() as running:
        await running.until_streaming()
        await standby.until_synchronised(replication.slot)
    say(replication, "meanwhile")
    await standby.until_replayed()
    alone = replace(replication, changes={"source": {"dsn": standby.server.dsn(replication.source.name)}})
    async with alone.running() as running:
        error = await running.until(lambda: running.pipeline.source_error, "the standby to be noticed")
        assert error.code == "WS2005"
        assert "target_session_attrs=read-write" in error.hint
        standby.fail_over(replication.source)
        await until_line(running, replication, "meanwhile")
        await running.caught_up()
    alone.assert_equal(*EVERYTHING)


@pytest.mark.parametrize("copied", [True, False], ids=["with the hold slot", "without the hold slot"])
async def test_a_parked_target_comes_back_after_a_failover(
    replication: Replication,
    standby: Standby,
    target: Database,
    target_server: Server,
    new_database: Callable[[Server], Database],
    away: Proxy,
    *,
    copied: bool,
) -> None:
    standby.set(standby.primary, synchronized_standby_slots=SLOT)
    near = new_database(target_server)
    apart = replace(
        replication,
        targets={"near": near, "far": target},
        tables=["public.t"],
        changes={**replication.changes, "backlog": {"max_bytes": "64kB"}},
        proxied={"far": away.dsn(target.name)},
    )
    async with apart.running() as running:
        await running.until_streaming()
        await standby.until_synchronised(apart.slot)  # as it was long before
        await park(apart, running, away, last=200)
        await until_passed(apart, running)
        name = f"{apart.slot}_hold"
        if copied:
            await running.until(lambda: standby.slot(name) is not None, "the standby to know the hold slot")
        else:
            mark_failover(standby.primary, name, failover=False)
            await standby.until_gone(name)
        lacks = running.progress("far").checkpoint
        await running.until(lambda: _confirmed(standby, apart.slot) > lacks, "the slot there to pass the target")
        await standby.until_replayed()
        await standby.detach()
        # One that does not move is copied only if the standby sees it before the main slot has moved further.
        found = standby.slot(name)
        held = found is not None and bool(found[0])
        standby.fail_over(apart.source)
        insert(apart, 201, 210)
        await running.until(lambda: rows(apart, "near") == 211, "the other target to go on")
        away.accept()
        # Not by a query: it would wait for a table that is being copied, and this loop with it.
        await running.until(lambda: running.state("far") is TargetState.STREAMING, "the parked one to stream")
        await running.caught_up()
        assert (running.progress("far").copied_rows == {}) is held
        assert running.progress("near").copied_rows == {}
        await running.until(lambda: hold(apart) is None, "the hold slot to be dropped")
    apart.assert_equal(EVERYTHING[1])


def _confirmed(standby: Standby, slot: str) -> LSN:
    found = standby.slot(slot)
    assert found is not None
    return LSN.parse(found[1])
