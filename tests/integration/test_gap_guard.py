"""Each way in which what is stored on both sides can disagree: found at start, by its code, and mended by one command.

It must stop the target that it is about, and that one only; nothing is streamed over a gap.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import yaml
from fix_postgres import Database, Server
from fix_proxy import NewLine
from fix_replication import Command, Replication, checkpoint, locked, slot_row
from fix_walsync import Walsync, eventually

from walsync.errors import ConfigurationError, SourceRefused, TargetRefused
from walsync.status import TargetState

SECONDS = 30.0
TABLE = "SELECT * FROM t ORDER BY id"


@pytest.fixture
def replication(source: Database, target: Database) -> Replication:
    """A target that was in step when walsync stopped."""
    source.execute("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'one')")
    return Replication(source, {"replica": target}, ["public.t"])


async def refused(replication: Replication) -> TargetRefused:
    """Run until the target has stopped, and return why."""
    with pytest.raises(TargetRefused) as caught:
        await replication.catch_up()
    assert "walsync drop --target replica" in caught.value.hint
    return caught.value


def recreate_slot(replication: Replication) -> None:
    replication.source.execute("SELECT pg_drop_replication_slot(%s)", replication.slot)
    replication.source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", replication.slot)


def advance_slot(replication: Replication) -> None:
    replication.source.execute("SELECT pg_replication_slot_advance(%s, pg_current_wal_insert_lsn())", replication.slot)


def restore_target(replication: Replication) -> None:
    replication.targets["replica"].execute("UPDATE walsync.checkpoint SET lsn = lsn - 1000")


def wipe_target(replication: Replication) -> None:
    replication.targets["replica"].execute("DROP SCHEMA walsync CASCADE; DROP TABLE t")


def forget_checkpoint(replication: Replication) -> None:
    replication.targets["replica"].execute("TRUNCATE walsync.checkpoint")


def exchange_target(replication: Replication) -> None:
    replication.targets["replica"].execute("UPDATE walsync.checkpoint SET target_id = gen_random_uuid()")


def forget_registration(replication: Replication) -> None:
    replication.source.execute("TRUNCATE walsync.target")


def follow_another_cluster(replication: Replication) -> None:
    replication.targets["replica"].execute("UPDATE walsync.checkpoint SET system_identifier = '1'")


def follow_a_timeline_that_was_left(replication: Replication) -> None:
    replication.targets["replica"].execute("UPDATE walsync.checkpoint SET timeline = 7")


def be_ahead_of_the_source(replication: Replication) -> None:
    replication.targets["replica"].execute("UPDATE walsync.checkpoint SET lsn = 'F/0'")


GAPS: Mapping[str, tuple[Callable[[Replication], None], str]] = {
    "slot dropped and recreated": (recreate_slot, "WS5001"),
    "slot advanced by hand": (advance_slot, "WS5001"),
    "target restored": (restore_target, "WS5001"),
    "target exchanged for another": (exchange_target, "WS5002"),
    "target wiped": (wipe_target, "WS5003"),
    "checkpoint lost": (forget_checkpoint, "WS5003"),
    "registration lost": (forget_registration, "WS5004"),
    "another cluster": (follow_another_cluster, "WS5005"),
    "a timeline that was left": (follow_a_timeline_that_was_left, "WS5006"),
    "source restored to an earlier point": (be_ahead_of_the_source, "WS5007"),
}


@pytest.mark.parametrize(("break_it", "code"), GAPS.values(), ids=GAPS.keys())
async def test_a_gap_stops_the_target_before_it_takes_anything(
    replication: Replication, break_it: Callable[[Replication], None], code: str
) -> None:
    await replication.catch_up()
    replication.source.execute("INSERT INTO t VALUES (2, 'two')")
    break_it(replication)
    replication.source.execute("INSERT INTO t VALUES (3, 'three')")
    before = slot_row(replication, "confirmed_flush_lsn")
    assert (await refused(replication)).code == code
    assert slot_row(replication, "confirmed_flush_lsn") == before
    if break_it is not wipe_target:
        assert replication.targets["replica"].execute("TABLE t") == [(1, "one")]


async def test_a_gap_of_one_target_does_not_stop_the_others(
    replication: Replication, new_database: Callable[[Server], Database], target_server: Server
) -> None:
    both = replace(replication, targets={**replication.targets, "other": new_database(target_server)})
    await both.catch_up()
    exchange_target(both)
    both.source.execute("INSERT INTO t VALUES (2, 'two')")
    async with both.running() as running:
        assert await running.until_stopped("replica") == "WS5002"
        await running.until(lambda: running.state("other") is TargetState.STREAMING, "the other target to stream")
        await running.until(lambda: len(both.targets["other"].execute("TABLE t")) == 2, "the row in the other target")
        status = await running.status()
        stopped = next(one for one in status.targets if one.name == "replica")
        assert stopped.state is TargetState.STOPPED
        assert stopped.last_error is not None
        assert stopped.last_error.code == "WS5002"
        await running.until(lambda: slot_row(both, "confirmed_flush_lsn", "_hold"), "the hold slot")
        held = slot_row(both, "confirmed_flush_lsn", "_hold")
    assert slot_row(both, "confirmed_flush_lsn", "_hold") == held, "the WAL is kept for the target that has stopped"


async def test_a_slot_that_is_gone_ends_the_process(replication: Replication) -> None:
    await replication.catch_up()
    replication.source.execute("SELECT pg_drop_replication_slot(%s)", replication.slot)
    with pytest.raises(SourceRefused, match="replica") as caught:
        await replication.catch_up()
    assert caught.value.code == "WS5009"
    assert "walsync drop" in caught.value.hint
    assert slot_row(replication, "slot_name") is None, "it is not made again behind the operator's back"


async def test_a_registered_target_that_is_not_configured_ends_the_process(
    replication: Replication, new_database: Callable[[Server], Database], target_server: Server
) -> None:
    await replication.catch_up()
    renamed = replace(replication, targets={"renamed": new_database(target_server)})
    with pytest.raises(ConfigurationError, match="replica") as caught:
        await renamed.catch_up()
    assert (caught.value.code, caught.value.exit_code) == ("WS5008", 2)
    assert "walsync drop --target replica" in caught.value.hint


async def test_a_slot_that_is_recreated_while_it_is_read_is_found_at_the_reconnect(
    replication: Replication, line_to: NewLine
) -> None:
    line = line_to(replication.source)
    through = replace(replication, changes={"source": {"dsn": line.dsn(replication.source.name)}})
    async with through.running() as running:
        await running.until_streaming()
        await running.caught_up()
        line.go_away()  # who came back too early would find no slot at all, or keep it from being dropped
        await running.until(lambda: not slot_row(replication, "active"), "the slot to be free")
        recreate_slot(replication)
        line.accept()
        assert await running.until_stopped("replica") == "WS5001"


def test_drop_mends_it_and_the_next_run_gets_a_new_snapshot(
    replication: Replication,
    walsync_command: Callable[..., Walsync],
    start_command: Callable[[Replication], Command],
) -> None:
    walsync = walsync_command(yaml.safe_dump(replication.content))
    assert walsync.run("run", "--until-caught-up", "--timeout", "30s") == 0
    eventually(lambda: not slot_row(replication, "active"), SECONDS, "the slot to be free")
    advance_slot(replication)
    replication.source.execute("INSERT INTO t VALUES (2, 'two')")
    assert walsync.run("run", "--until-caught-up", "--timeout", "30s") == 1
    assert "WS5001" in walsync.stderr.read_text()

    command = start_command(replication)
    stopped = command.until_state(TargetState.STOPPED)
    assert stopped.last_error is not None
    assert stopped.last_error.code == "WS5001"
    assert "walsync drop --target replica" in stopped.last_error.hint
    assert [line["code"] for line in command.log("target_stopped")] == ["WS5001"]
    command.walsync.terminate()
    assert command.walsync.wait(SECONDS) == 0

    assert walsync.run("drop", "--target", "replica") == 0
    assert walsync.run("run", "--until-caught-up", "--timeout", "30s") == 0
    replication.assert_equal(TABLE)


async def test_another_cluster_behind_the_same_address_is_refused(
    replication: Replication,
    new_database: Callable[[Server], Database],
    postgres_servers: Callable[[int], Server],
) -> None:
    await replication.catch_up()
    other = new_database(postgres_servers(17))  # of another version: servers of one have one identifier here
    other.execute("CREATE TABLE t (id int PRIMARY KEY, name text)")
    moved = Replication(other, replication.targets, ["public.t"], {"source": {"slot": replication.slot}})
    assert (await refused(moved)).code == "WS5005"
    assert checkpoint(replication.targets["replica"]) != "0/0"


async def test_a_target_that_goes_back_while_it_runs_holds_the_slot_from_there(
    replication: Replication, new_database: Callable[[Server], Database], target_server: Server
) -> None:
    """As an asynchronous standby does that takes over from the target: it has less than was acknowledged."""
    replica, slow = replication.targets["replica"], new_database(target_server)
    both = replace(replication, targets={"replica": replica, "slow": slow})
    await both.catch_up()
    async with both.running() as running:
        await running.until_streaming()
        session = running.pipeline.session
        assert session is not None
        acknowledgement = session.acknowledgement
        old = checkpoint(replica)
        with locked(slow, "t"):
            both.source.execute("INSERT INTO t VALUES (2, 'two')")
            # Not in the target alone: walsync hears of it a moment later.
            await running.until(lambda: str(acknowledgement.durable("replica")) != old, "the row in the target")
            with locked(replica, "t"):
                replica.execute("UPDATE walsync.checkpoint SET lsn = %s", old)
                replica.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name LIKE 'walsync%'"
                )
                both.source.execute("INSERT INTO t VALUES (3, 'three')")
                await running.until(lambda: str(acknowledgement.durable("replica")) == old, "the target's own word")
        await running.caught_up()
    both.assert_equal(TABLE)
