"""What happens at an awkward moment: let go of in the middle of a write, gone again at once, an answer that is lost."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from threading import Event

from fix_isolation import ROWS, hold, insert, park, registered, until_dropped, until_near_has, until_passed
from fix_postgres import Database
from fix_proxy import NewLine, Proxy
from fix_replication import SECONDS, Replication, Running, checkpoint, locked

from walsync.status import TargetState

SLOW = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(NEW.id); RETURN NEW; END $$;
CREATE TRIGGER wait BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION wait();
ALTER TABLE t ENABLE ALWAYS TRIGGER wait
"""
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = %s"


@contextmanager
def held_up(target: Database, row: int) -> Iterator[None]:
    """Let the target, where `SLOW` was run, wait before it inserts this row."""
    connection = target.connect()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (row,))
        yield
        cursor.execute("SELECT pg_advisory_unlock(%s)", (row,))


async def until_held_up(running: Running, target: Database, row: int) -> None:
    await running.until(lambda: target.execute(WAITING, row)[0][0], f"the target to wait at row {row}")


async def test_a_target_let_go_of_in_the_middle_of_a_write_goes_on_where_that_ends(apart: Replication) -> None:
    near, far = apart.targets["near"], apart.targets["far"]
    async with apart.running() as running:
        await running.until_streaming()
        near.execute(SLOW)
        far.execute(SLOW)
        with held_up(far, 2), held_up(near, 36):
            with held_up(far, 1):
                insert(apart, 1, 1)
                await until_held_up(running, far, 1)
                insert(apart, 2, 35)
                await until_near_has(apart, running, 36)
                insert(apart, 36, 40)
                await until_held_up(running, near, 36)
            await until_held_up(running, far, 2)
            insert(apart, 41, 80)
            await running.until(lambda: hold(apart) is not None, "the slow one to be let go of")
        await running.caught_up()
    apart.assert_equal(ROWS)


async def test_a_target_that_goes_again_as_soon_as_it_is_back_is_not_waited_for(
    apart: Replication, away: Proxy
) -> None:
    far = apart.targets["far"]
    async with apart.running() as running:
        registry = ExitStack()
        await running.until_streaming()
        far.execute(SLOW)
        await park(apart, running, away, last=300)
        with held_up(far, 250):
            away.accept()
            await until_held_up(running, far, 250)
            registry.enter_context(locked(apart.source, "walsync.target"))
        await running.until(lambda: running.state("far") is TargetState.STREAMING, "it to be back")
        away.go_away()
        insert(apart, 301, 600)
        await until_near_has(apart, running, 601)
        await running.until(lambda: running.state("far") is TargetState.PARKED, "it to be parked again")
        registry.close()
        await until_passed(apart, running)
        away.accept()
        await running.until_streaming()
        await until_dropped(apart, running)
    apart.assert_equal(ROWS)


async def test_a_hold_slot_whose_creation_was_not_answered_is_found(
    apart: Replication, away: Proxy, line_to: NewLine
) -> None:
    line = line_to(apart.source)
    replication = replace(apart, changes={**apart.changes, "source": {"dsn": line.dsn(apart.source.name)}})
    async with replication.running() as running:
        await running.until_streaming()
        line.on_bytes("to_server", b"pg_copy_logical_replication_slot", lambda: line.hold("to_client"))
        away.go_away()
        insert(apart, 1, 300)
        await running.until(lambda: hold(apart) is not None, "the hold slot")
        line.cut()
        line.resume()
        await until_near_has(apart, running, 301)
        await until_passed(apart, running)
        away.accept()
        await running.until_streaming()
        await running.caught_up()
        await until_dropped(apart, running)
    apart.assert_equal(ROWS)


async def test_a_target_renewed_once_is_not_renewed_by_itself_when_it_is_rewound(
    apart: Replication, away: Proxy
) -> None:
    far = apart.targets["far"]
    async with apart.running() as running:
        await running.until_streaming()
        before = checkpoint(far)
        await park(apart, running, away, last=300)
        await until_passed(apart, running)
        apart.source.execute("SELECT pg_drop_replication_slot(%s)", f"{apart.slot}_hold")
        away.accept()
        await running.until_streaming()
        insert(apart, 301, 310)
        await running.caught_up()
        # After the copy it may have been parked once more, to catch up: as long as that is noted, it may be renewed.
        await until_dropped(apart, running)
        await running.until(lambda: registered(apart) == "registered", "the registry to know that it is back")
        away.go_away()
        far.execute("UPDATE walsync.checkpoint SET lsn = %s", before)
        away.accept()
        insert(apart, 311, 311)
        assert await running.until_stopped("far") == "WS5001"


async def test_a_parked_target_does_not_follow_the_main_stream_over_what_a_reconnect_left_out(
    apart: Replication, away: Proxy, line_to: NewLine
) -> None:
    async with apart.running() as running:
        await running.until_streaming()
        await park(apart, running, away, last=300)
        await until_passed(apart, running)
    # As after a crash before the slot was told: it begins below what the parked one has, and what the other has.
    apart.source.execute("SELECT pg_drop_replication_slot(%s)", apart.slot)
    apart.source.execute("SELECT pg_copy_logical_replication_slot(%s, %s)", f"{apart.slot}_hold", apart.slot)
    line = line_to(apart.source)
    followed = Event()
    line.on_bytes("to_client", b"x" * 1000, lambda: line.cut() if followed.wait(SECONDS) else None)
    away.accept()
    changes = {**apart.changes, "source": {"dsn": line.dsn(apart.source.name)}}
    async with replace(apart, changes=changes).running() as running:
        # The main stream would bring what it lacks: it follows, and the stream breaks before anything was read.
        await running.until(lambda: running.state("far") is TargetState.CATCHING_UP, "the parked one to be back")
        followed.set()
        await running.until_streaming()
        insert(apart, 301, 310)
        await running.caught_up()
        await until_dropped(apart, running)
    apart.assert_equal(ROWS)
