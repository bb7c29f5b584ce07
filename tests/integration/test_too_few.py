"""A server with too few slots or walsenders: whatever waits for one says so, by its own code, and the others go on."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial

import pytest
from fix_isolation import ROWS, insert, on_own_server, park, until_dropped, until_near_has
from fix_postgres import Database, Server
from fix_proxy import Proxy
from fix_replication import Replication, Running

from walsync.demo.engines import PostgresServer
from walsync.source.session import open_replication
from walsync.status import TargetState

FILL = "SELECT pg_create_physical_replication_slot(%s)"
FREE = "SELECT pg_drop_replication_slot(%s)"


@contextmanager
def taken(source: Database, what: str, number: int = 1) -> Iterator[None]:
    """Let somebody else have slots, or walsenders, until the end of the block."""
    with ExitStack() as stack:
        for each in range(number):
            if what == "walsender":
                stack.enter_context(closing(open_replication(source.dsn, "of somebody else")))
            else:
                source.execute(FILL, f"others_{each}")
                stack.callback(source.execute, FREE, f"others_{each}")
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
        with taken(apart.source, "walsender"):
            away.accept()
            await running.until(partial(lacks_a_walsender, running), "no walsender to be left to catch up on")
            insert(apart, 301, 310)
            await until_near_has(apart, running, 311)
            far = next(target for target in (await running.status()).targets if target.name == "far")
            assert far.last_error is not None
            assert (far.state, far.last_error.code) == (TargetState.PARKED, "WS2901")
            assert "max_wal_senders" in far.last_error.hint
        await running.until_streaming()
        await until_dropped(apart, running)
    apart.assert_equal(ROWS)


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
        with taken(apart.source, what, number):
            assert running.pipeline.session is not None
            running.pipeline.session.deliveries["far"].copy_again(["public.t"])
            await running.until(lambda: running.progress("far").joining_error, "the table to find no room")
            warning = (await running.status()).targets[1].warning
            assert warning is not None
            assert warning.code == code
            assert warning.hint
            insert(apart, 1, 3)
            await running.until(lambda: all(has(database, 4) for database in apart.targets.values()), "both to go on")
            assert running.state("far") is TargetState.STREAMING
        await running.until(lambda: not running.pipeline.session.deliveries["far"].ordered, "the order to be done")  # type: ignore[union-attr]
        await running.caught_up()
        assert (await running.status()).targets[1].warning is None
    apart.assert_equal(ROWS)


def has(database: Database, rows: int) -> bool:
    return bool(database.execute("SELECT count(*) FROM t") == [(rows,)])
