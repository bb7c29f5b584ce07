"""A server with too few slots or walsenders: whatever waits for one says so, by its own code, and the others go on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from functools import partial

import psycopg2
import pytest
from fix_isolation import ROWS, insert, on_own_server, park, until_dropped, until_near_has
from fix_postgres import Database, Rows, Server
from fix_proxy import Proxy
from fix_replication import SECONDS, Replication, Running
from fix_walsync import eventually_async
from structlog.testing import capture_logs

from walsync.demo.engines import PostgresServer
from walsync.errors import SourceUnavailable
from walsync.postgres import Connection
from walsync.source.session import open_replication
from walsync.status import TargetState, TargetStatus

FILL = "SELECT pg_create_physical_replication_slot(%s)"
FREE = "SELECT pg_drop_replication_slot(%s)"


@asynccontextmanager
async def taken(source: Database, what: str, number: int = 1) -> AsyncIterator[None]:
    """Let somebody else have slots, or walsenders, until the end of the block."""

    # The server may not have noticed yet that a session has ended, whose the slot or the walsender was.
    def walsender() -> Connection | None:
        with suppress(SourceUnavailable):
            return open_replication(source.dsn, "of somebody else")
        return None

    def slot(name: str) -> Rows:
        with suppress(psycopg2.errors.ConfigurationLimitExceeded):
            return source.execute(FILL, name)
        return []

    with ExitStack() as stack:
        for each in range(number):
            if what == "walsender":
                found = await eventually_async(walsender, SECONDS, "a walsender to be free")
                assert found is not None
                stack.enter_context(closing(found))
            else:
                name = f"others_{each}"
                await eventually_async(partial(slot, name), SECONDS, "a slot to be free")
                stack.callback(source.execute, FREE, name)
        yield


@pytest.mark.parametrize("version", [14, 18])  # they name the setting each in its way
async def test_a_target_that_finds_no_walsender_to_catch_up_on_says_so(
    apart: Replication,
    away: Proxy,
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
    version: int,
) -> None:
    apart = on_own_server(apart, start_server(version, max_wal_senders="2"), new_database)
    async with apart.running() as running:
        await running.until_streaming()
        await park(apart, running, away, last=300)
        async with taken(apart.source, "walsender"):
            away.accept()
            await running.until(partial(lacks_a_walsender, running), "no walsender to be left to catch up on")
            insert(apart, 301, 310)
            await until_near_has(apart, running, 311)
            far = await told_with_an_error(running, "far")
            assert far.last_error is not None
            assert (far.state, far.last_error.code) == (TargetState.PARKED, "WS2901")
            assert "max_wal_senders" in far.last_error.hint
        await running.until_streaming()
        await until_dropped(apart, running)
    apart.assert_equal(ROWS)


async def told_with_an_error(running: Running, name: str) -> TargetStatus:
    """Return what /status says of a target that fails again and again; each attempt begins without an error."""
    async with asyncio.timeout(SECONDS):
        while True:
            found = next(target for target in (await running.status()).targets if target.name == name)
            if found.last_error is not None:
                return found


def lacks_a_walsender(running: Running) -> bool:
    error = running.progress("far").error
    return error is not None and error.code == "WS2901"


@pytest.mark.parametrize("number", [1, 2], ids=["one is left", "none is left"])
@pytest.mark.parametrize(
    ("what", "setting", "code"),
    [("slot", "max_replication_slots", "WS2404"), ("walsender", "max_wal_senders", "WS2901")],
    ids=["slots", "walsenders"],
)
async def test_tables_that_cannot_join_for_want_of_room_are_a_warning_and_join_when_there_is(
    apart: Replication,
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
    what: str,
    setting: str,
    code: str,
    number: int,
) -> None:
    # One for the stream, one for the snapshot, one for what the table is given since.
    apart = on_own_server(apart, start_server(**{setting: "3"}), new_database)
    async with apart.running() as running:
        await running.until_streaming()
        await running.caught_up()
        assert running.pipeline.session is not None
        delivery = running.pipeline.session.deliveries["far"]
        async with taken(apart.source, what, number):
            with capture_logs() as logs:
                delivery.copy_again(["public.t"])
                await running.until(lambda: running.progress("far").joining_error, "the table to find no room")
            assert "table_copied" not in {line["event"] for line in logs}  # it would be for nothing
            warning = (await running.status()).targets[1].warning
            assert warning is not None
            assert warning.code == code
            assert warning.hint
            insert(apart, 1, 3)
            await running.until(lambda: all(has(database, 4) for database in apart.targets.values()), "both to go on")
            assert running.state("far") is TargetState.STREAMING
        await running.until(lambda: delivery.is_complete, "the order to be done")
        await running.caught_up()
        assert (await running.status()).targets[1].warning is None
    apart.assert_equal(ROWS)


def has(database: Database, rows: int) -> bool:
    return bool(database.execute("SELECT count(*) FROM t") == [(rows,)])
