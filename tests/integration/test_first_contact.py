"""A target that goes away before its first checkpoint is not taken for one that was wiped."""

from contextlib import suppress
from threading import Event

import psycopg2
from fix_isolation import ROWS, hold, insert, registered, until_dropped, until_near_has
from fix_proxy import Proxy
from fix_replication import Replication, Running

from walsync.status import TargetState


def state_in_registry(apart: Replication) -> str:
    with suppress(psycopg2.errors.UndefinedTable):
        return registered(apart)
    return ""


def close_before(away: Proxy, statement: bytes) -> Event:
    """Close the way to the target when it is asked for this; tells when that was."""
    closed = Event()

    def close() -> None:
        away.go_away()
        closed.set()

    away.on_bytes("to_server", statement, close)
    return closed


async def until_registering(apart: Replication, running: Running) -> None:
    await running.until(lambda: state_in_registry(apart) == "registering", "the registration")
    await running.until(lambda: running.state("near") is TargetState.STREAMING, "the other target to stream")


async def leave_behind(apart: Replication, running: Running) -> None:
    """Wait until the far target is being registered, and change more than the backlog holds."""
    await until_registering(apart, running)
    insert(apart, 1, 100)
    await until_near_has(apart, running, 101)


async def test_a_target_that_goes_away_while_it_is_registered_is_copied_when_it_is_back(
    apart: Replication, away: Proxy
) -> None:
    close_before(away, b"INSERT INTO walsync.checkpoint")
    async with apart.running() as running:
        await leave_behind(apart, running)
        await running.until(lambda: hold(apart) is not None, "the hold slot")
        away.accept()
        await running.until_streaming()
        await until_dropped(apart, running)
        await running.until(lambda: state_in_registry(apart) == "registered", "the registry to know")
        await running.caught_up()
    apart.assert_equal(ROWS)
    assert state_in_registry(apart) == "registered"


async def test_a_target_that_was_never_reached_is_copied_by_a_later_run(apart: Replication, away: Proxy) -> None:
    close_before(away, b"INSERT INTO walsync.checkpoint")
    async with apart.running() as running:
        await leave_behind(apart, running)
        await running.until(lambda: running.state("far") is TargetState.PARKED, "the one to be parked")
        await running.until(lambda: hold(apart) is not None, "the hold slot")
    away.accept()
    await apart.catch_up()
    apart.assert_equal(ROWS)


async def test_a_target_that_is_registered_while_the_main_stream_has_passed_it_is_noted_as_parked(
    apart: Replication, away: Proxy
) -> None:
    close_before(away, b"INSERT INTO walsync.checkpoint")
    async with apart.running() as running:
        await leave_behind(apart, running)
        await running.until(lambda: hold(apart) is not None, "the hold slot")
        closed = close_before(away, b"COPY")
        away.accept()
        await running.until(closed.is_set, "its copy to begin")
        await running.until(lambda: state_in_registry(apart) == "parked", "the target to be noted as parked")
        away.accept()
        await running.until_streaming()
        await running.caught_up()
    apart.assert_equal(ROWS)
