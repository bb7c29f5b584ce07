"""What the server has too little of: WAL that slots may keep, slots; and targets that are slow, or away together."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import yaml
from fix_isolation import ROWS, hold, insert, on_own_server, park, until_dropped, until_near_has, until_passed
from fix_postgres import Database, Server
from fix_proxy import NewLine, Proxy
from fix_replication import Replication, Running, locked, slot_row, uncommitted
from fix_walsync import Walsync

from walsync.demo.engines import PostgresServer
from walsync.lsn import LSN
from walsync.observer import Observer
from walsync.status import LastError, TargetState

FILL = "SELECT pg_create_physical_replication_slot(%s)"
FREE = "SELECT pg_drop_replication_slot(%s)"


async def source_error(running: Running) -> LastError | None:
    return (await running.status()).source.last_error


async def test_a_hold_slot_that_the_server_invalidates_costs_its_target_a_snapshot_and_nobody_else(
    apart: Replication,
    away: Proxy,
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
) -> None:
    server = start_server(18, max_slot_wal_keep_size="48MB", min_wal_size="32MB")
    apart = on_own_server(apart, server, new_database)
    async with apart.running() as running:
        await running.until_streaming()
        await park(apart, running, away, last=300)
        await until_passed(apart, running)
        last = 300
        while hold(apart) is not None and last < 320:
            last += 1
            insert(apart, last, last)
            [(now,)] = apart.source.execute("SELECT pg_current_wal_lsn()")
            apart.source.execute("SELECT pg_switch_wal()")
            await running.until(
                lambda now=now: LSN.parse(slot_row(apart, "confirmed_flush_lsn")) >= LSN.parse(now),  # type: ignore[misc]
                "the main slot to move",
            )
            apart.source.execute("CHECKPOINT")
            if slot_row(apart, "wal_status", "_hold") == "lost":
                await running.until(lambda: hold(apart) is None, "the lost slot to be dropped")
        assert hold(apart) is None
        assert running.state("near") is TargetState.STREAMING
        copied = running.progress("near").copied_rows
        away.accept()
        await running.until_streaming()
        insert(apart, last + 1, last + 10)
        await running.caught_up()
        assert running.progress("far").copied_rows == {"public.t": last + 1}
        assert running.progress("near").copied_rows == copied
    apart.assert_equal(ROWS)


async def test_too_few_slots_delay_the_target_that_is_away_and_are_said(
    apart: Replication,
    away: Proxy,
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
) -> None:
    server = start_server(18, max_replication_slots="3")
    apart = on_own_server(apart, server, new_database)
    async with apart.running() as running:
        await running.until_streaming()
        apart.source.execute(FILL, "one")
        apart.source.execute(FILL, "two")
        away.go_away()
        insert(apart, 1, 300)
        await until_near_has(apart, running, 301)
        assert running.pipeline.session is not None
        keeper = running.pipeline.session.hold
        await running.until(lambda: keeper.error, "the hold slot to be refused")
        said = await source_error(running)
        assert said is not None
        assert said.code == "WS2404"
        apart.source.execute(FREE, "one")
        await running.until(lambda: hold(apart) is not None, "the hold slot")
        await until_passed(apart, running)
        assert await source_error(running) is None
        away.accept()
        await running.until(lambda: code(running, "far") == "WS2404", "no slot to be left to catch up through")
        insert(apart, 301, 310)
        await until_near_has(apart, running, 311)
        apart.source.execute(FREE, "two")
        await running.until_streaming()
        await until_dropped(apart, running)
    apart.assert_equal(ROWS)


def code(running: Running, name: str) -> str | None:
    error = running.progress(name).error
    return error.code if error is not None else None


async def test_a_target_that_is_slow_delays_nobody_and_catches_up(apart: Replication) -> None:
    async with apart.running() as running:
        await running.until_streaming()
        with locked(apart.targets["far"], "t"):
            insert(apart, 1, 300)
            await running.until(
                lambda: running.progress("near").position > running.progress("far").position, "one to be ahead"
            )
            await until_near_has(apart, running, 301)
            await until_passed(apart, running)
        await running.caught_up()
        await running.until_streaming()
        await until_dropped(apart, running)
    apart.assert_equal(ROWS)


async def test_a_target_that_hangs_in_a_write_is_parked_and_its_lag_counts_from_when_it_had_everything(
    apart: Replication, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with apart.running() as running:
        await running.until_streaming()
        await running.caught_up()
        [(began,)] = apart.source.execute("SELECT extract(epoch FROM clock_timestamp())::float")
        with locked(apart.targets["far"], "t"):
            insert(apart, 1, 300)
            await until_near_has(apart, running, 301)
            await running.until(lambda: running.state("far") is TargetState.PARKED, "the one that hangs to be parked")
            insert(apart, 301, 301)
            [(ended,)] = apart.source.execute("SELECT extract(epoch FROM clock_timestamp())::float")
            await until_near_has(apart, running, 302)
            near, far = (await running.status()).targets
            assert (near.name, near.state) == ("near", TargetState.STREAMING)
            assert (far.state, far.is_ready, far.last_error) == (TargetState.PARKED, False, None)
            assert "a write hangs" in far.reason
            assert far.lag_seconds is not None
            assert began <= running.progress("far").complete_at <= ended
            assert 0 < far.lag_seconds <= time.time() - began
            observer = Observer(running.pipeline)
            assert observer.health() == []
            monkeypatch.setattr("walsync.observer._STUCK_SECONDS", 0.0)
            assert "target far has taken nothing" in " ".join(observer.health())
        await running.caught_up()
        await running.until_streaming()
        await until_dropped(apart, running)
    apart.assert_equal(ROWS)


async def test_the_reason_of_a_parked_target_is_what_it_waits_for_now(
    apart: Replication,
    away: Proxy,
    line_to: NewLine,
    target_server: Server,
    new_database: Callable[[Server], Database],
) -> None:
    other = new_database(target_server)
    line = line_to(other)
    targets = {**apart.targets, "other": other}
    changes = {"backlog": {"max_bytes": "64kB", "catch_up_streams": 1}}
    apart = replace(apart, targets=targets, proxied={**apart.proxied, "other": line.dsn(other.name)}, changes=changes)
    async with apart.running() as running:
        assert all(target.reason for target in (await running.status()).targets)
        await running.until_streaming()
        await park(apart, running, away, last=300)
        line.go_away()
        insert(apart, 301, 600)
        await running.until(lambda: running.state("other") is TargetState.PARKED, "the other to be parked, further on")
        await running.until(lambda: "WS4101" in reason(running, "far"), "word that it cannot be reached")
        with uncommitted(other, "INSERT INTO t VALUES (301)"):
            line.accept()
            await running.until(lambda: running.state("other") is TargetState.CATCHING_UP, "the other to catch up")
            away.accept()
            await running.until(lambda: "waits for one of its own" in reason(running, "far"), "the reason to be of now")
            assert running.state("far") is TargetState.PARKED
        await running.until_streaming()
    apart.assert_equal(ROWS)


def reason(running: Running, name: str) -> str:
    return running.progress(name).life.reason


async def test_drop_removes_the_hold_slot_and_the_next_run_one_that_nobody_needs(
    apart: Replication, away: Proxy, walsync_command: Callable[..., Walsync]
) -> None:
    config = yaml.safe_dump(apart.content)
    async with apart.running() as running:
        await running.until_streaming()
        await park(apart, running, away, last=300)
    assert walsync_command(config).run("drop", "--target", "far") == 0
    assert hold(apart) is not None
    near = replace(apart, targets={"near": apart.targets["near"]})
    async with near.running() as running:
        await running.until_streaming()
        await until_dropped(apart, running)
    apart.targets["far"].execute("DELETE FROM walsync.checkpoint")
    away.accept()
    async with apart.running() as running:
        await running.until_streaming()
        await park(apart, running, away, first=301, last=600)
    assert walsync_command(config).run("drop") == 0
    assert slot_row(apart, "slot_name") is None
    assert hold(apart) is None
