"""One target that is away costs the others nothing: it is parked, its WAL is held, and it comes back by itself."""

import pytest
from fix_isolation import ROWS, hold, insert, park, rows, until_dropped, until_near_has, until_passed
from fix_proxy import Proxy
from fix_replication import Replication, checkpoint

from walsync.backlog.backlog import Backlog
from walsync.errors import SourceUnavailable
from walsync.lsn import LSN
from walsync.status import TargetState
from walsync.transaction.change import Transaction


async def test_a_mistake_of_ours_where_changes_are_taken_in_ends_the_process_and_loses_none(
    apart: Replication, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_in = Backlog.append

    def mistaken(backlog: Backlog, transaction: Transaction) -> None:
        if transaction.changes:
            raise ZeroDivisionError("a mistake")
        take_in(backlog, transaction)

    await apart.catch_up()
    insert(apart, 1, 1)
    monkeypatch.setattr(Backlog, "append", mistaken)
    with pytest.raises(ExceptionGroup) as caught:
        async with apart.running() as running:
            await running.until(running.task.done, "the process to end")
    assert caught.group_contains(ZeroDivisionError, match="a mistake")
    monkeypatch.undo()
    await apart.catch_up()
    apart.assert_equal(ROWS)


async def test_a_target_that_is_away_is_parked_and_comes_back_to_exactly_where_it_was(
    apart: Replication, away: Proxy
) -> None:
    async with apart.running() as running:
        await running.until_streaming()
        await park(apart, running, away, last=300)
        assert rows(apart, "far") < 300
        await until_passed(apart, running)
        away.accept()
        await running.until_streaming()
        insert(apart, 301, 310)
        await running.caught_up()
        await until_dropped(apart, running)
    apart.assert_equal(ROWS)


async def test_a_parked_target_is_found_again_by_the_next_run(apart: Replication, away: Proxy) -> None:
    async with apart.running() as running:
        await running.until_streaming()
        await park(apart, running, away, last=300)
    async with apart.running() as running:
        await running.until(lambda: running.state("near") is TargetState.STREAMING, "the other target to stream")
        insert(apart, 301, 310)
        await until_near_has(apart, running, 311)
        assert LSN.parse(str(hold(apart))) <= LSN.parse(checkpoint(apart.targets["far"]))
        away.accept()
        await running.until_streaming()
        await running.caught_up()
        await until_dropped(apart, running)
    apart.assert_equal(ROWS)


async def test_a_hold_slot_that_is_lost_costs_its_target_a_snapshot_and_nobody_else(
    apart: Replication, away: Proxy
) -> None:
    async with apart.running() as running:
        await running.until_streaming()
        await park(apart, running, away, last=300)
        await until_passed(apart, running)
        copied = running.progress("near").copied_rows
        apart.source.execute("SELECT pg_drop_replication_slot(%s)", f"{apart.slot}_hold")
        away.accept()
        await running.until_streaming()
        insert(apart, 301, 310)
        await running.caught_up()
        assert running.progress("far").copied_rows == {"public.t": 301}
        assert running.progress("near").copied_rows == copied
    apart.assert_equal(ROWS)


async def test_a_stream_to_catch_up_on_is_refused_where_no_slot_holds_its_beginning(apart: Replication) -> None:
    async with apart.running() as running:
        await running.until_streaming()
        session = running.pipeline.session
        assert session is not None
        with pytest.raises(SourceUnavailable) as caught:
            await running.pipeline.upstream.open_catch_up(session.prepared, LSN(1))
    assert caught.value.code == "WS2408"
