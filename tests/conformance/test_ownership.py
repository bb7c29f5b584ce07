"""Who may write to a target, from where, and what a failure leaves behind."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from uuid import uuid4

import pytest
from conformance.bench import START, Tracked
from conformance.stream import TARGET_ID, Source, batch, make_table, writer
from fix_walsync import eventually_async

from walsync.errors import Fenced, TargetRefused, TargetUnavailable
from walsync.lsn import LSN
from walsync.target.base import Checkpoint, TableState, Target

USERS = make_table("users", [("id", "integer"), ("name", "text")])
POSTS = make_table("posts", [("id", "integer"), ("title", "text")], relid=16385)
SOURCE = Source([USERS, POSTS])
STATE = TableState(USERS.relid, "walsync", USERS.definition, LSN(START))
WAIT_SECONDS = 30


async def lines(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def position(target: Target) -> int:
    checkpoint = await target.read_checkpoint()
    assert checkpoint is not None
    return checkpoint.lsn


async def test_a_target_that_was_never_registered_holds_no_checkpoint(bench: Tracked) -> None:
    target = bench.target()
    assert await target.read_checkpoint() is None
    assert await target.table_states() == {}
    with pytest.raises(TargetRefused) as refused:
        await target.claim(writer())
    assert refused.value.code == "WS4002"


async def test_registering_stores_who_and_where(bench: Tracked) -> None:
    target = bench.target()
    await target.register(TARGET_ID, writer(epoch=7, timeline=3), LSN(START))
    expected = Checkpoint(TARGET_ID, writer().system_identifier, 3, 7, LSN(START))
    assert await bench.target().read_checkpoint() == expected
    assert await bench.target("other").read_checkpoint() is None


async def test_registering_under_another_id_is_refused_and_under_the_same_starts_again(bench: Tracked) -> None:
    target = await bench.open(USERS)
    with pytest.raises(TargetRefused) as refused:
        await bench.target().register(uuid4(), writer(epoch=11), LSN(5))
    assert refused.value.code == "WS4003"
    await target.register(TARGET_ID, writer(epoch=11), LSN(5))
    assert await position(target) == 5
    with pytest.raises(Fenced):
        await target.register(TARGET_ID, writer(epoch=10), LSN(6))


async def test_a_claim_raises_a_lower_epoch_and_leaves_an_equal_one(bench: Tracked) -> None:
    first = await bench.open(USERS)
    assert (await bench.target().claim(writer(epoch=11, timeline=2))).epoch == 11
    again = await bench.target().claim(writer(epoch=11, timeline=2))
    assert (again.epoch, again.timeline, again.lsn) == (11, 2, START)
    with pytest.raises(Fenced):
        await first.claim(writer(epoch=10))


async def test_the_second_writer_fences_the_first_off(bench: Tracked) -> None:
    first = await bench.open(USERS)
    second = bench.target()
    await second.claim(writer(epoch=11))
    await second.prepare([USERS])
    await second.write(batch(START, 200, SOURCE.insert(USERS, "1", "second")))
    for attempt in (
        lambda: first.write(batch(START, 200, SOURCE.insert(USERS, "1", "first"))),
        lambda: first.write(batch(200, 300, SOURCE.insert(USERS, "1", "first"))),
        lambda: first.copy(USERS, STATE, lines(b"5\tfirst\n")),
        lambda: first.prepare([POSTS]),
    ):
        # Its session may have been ended as well: then it learns the reason when it claims.
        with pytest.raises((Fenced, TargetUnavailable)):
            await attempt()
        with pytest.raises(Fenced):
            await first.claim(writer())
    assert bench.rows(USERS) == [("1", "second")]


async def test_replaying_a_batch_changes_nothing(bench: Tracked) -> None:
    target = await bench.open(USERS)
    once = batch(START, 200, SOURCE.insert(USERS, "1", "a"))
    await target.write(once)
    await target.write(batch(200, 300, SOURCE.update(USERS, "1", "b")))
    with pytest.raises(TargetUnavailable) as unavailable:
        await target.write(once)
    assert unavailable.value.code == "WS4004"
    assert (await target.claim(writer())).lsn == 300
    assert bench.rows(USERS) == [("1", "b")]


async def test_a_batch_from_elsewhere_changes_nothing(bench: Tracked) -> None:
    target = await bench.open(USERS)
    with pytest.raises(TargetUnavailable):
        await target.write(batch(START + 1, 200, SOURCE.insert(USERS, "1", "a")))
    assert bench.rows(USERS) == []
    assert (await target.claim(writer())).lsn == START


async def test_an_empty_batch_moves_the_checkpoint(bench: Tracked) -> None:
    target = await bench.open(USERS)
    await target.write(batch(START, 200))
    assert await position(target) == 200


async def test_a_wiped_target_is_refused(bench: Tracked) -> None:
    target = await bench.open(USERS)
    bench.database.wipe()
    with pytest.raises(TargetRefused) as refused:
        await target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a")))
    assert refused.value.code == "WS4002"
    assert bench.rows(USERS) == []


@pytest.mark.needs("rows")
async def test_a_refused_row_leaves_neither_rows_nor_checkpoint(bench: Tracked) -> None:
    target = await bench.open(USERS, POSTS)
    bench.database.forbid(POSTS, "title", "poison")
    changes = [SOURCE.insert(USERS, "1", "a"), SOURCE.insert(POSTS, "1", "t"), SOURCE.insert(POSTS, "2", "poison")]
    with pytest.raises(TargetRefused, match=r"public\.posts \(id=2\)") as refused:
        await target.write(batch(START, 200, *changes))
    assert "poison" not in str(refused.value)
    assert (bench.rows(USERS), bench.rows(POSTS)) == ([], [])
    assert await position(target) == START
    await target.write(batch(START, 200, *changes[:2]))
    assert bench.rows(POSTS) == [("1", "t")]


@pytest.mark.needs("taking back")
async def test_an_engine_that_vanishes_in_mid_batch_is_unavailable_and_has_taken_nothing(bench: Tracked) -> None:
    target = await bench.open(USERS)
    bench.database.vanish_while_writing()
    written = batch(START, 200, SOURCE.insert(USERS, "1", "a"))
    with pytest.raises(TargetUnavailable):
        await target.write(written)
    with pytest.raises(TargetUnavailable) as unavailable:
        await target.write(written)
    assert unavailable.value.code == "WS4103"
    assert (await target.claim(writer())).lsn == START
    await target.write(written)
    assert bench.rows(USERS) == [("1", "a")]


@pytest.mark.needs("taking back")
async def test_an_engine_that_vanished_while_idle_is_unavailable_until_claimed_again(bench: Tracked) -> None:
    target = await bench.open(USERS)
    bench.database.vanish()
    with pytest.raises(TargetUnavailable):
        await target.write(batch(START, 200))
    await target.claim(writer())
    await target.write(batch(START, 200))
    assert await position(target) == 200


async def test_a_cancelled_write_takes_nothing_and_leaves_the_target_usable(bench: Tracked) -> None:
    target = await bench.open(USERS)
    written = batch(START, 200, SOURCE.insert(USERS, "1", "a"))
    with bench.database.blocked(USERS) as somebody_waits:
        writing = asyncio.create_task(target.write(written))
        await eventually_async(somebody_waits, WAIT_SECONDS, "the write to wait for the table")
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert not somebody_waits()
        assert (await target.claim(writer())).lsn == START
    assert bench.rows(USERS) == []
    await target.write(written)
    assert bench.rows(USERS) == [("1", "a")]


async def test_a_snapshot_replaces_the_rows_and_is_remembered(bench: Tracked) -> None:
    target = await bench.open(USERS, POSTS)
    await target.write(batch(START, 200, SOURCE.insert(USERS, "9", "old"), SOURCE.insert(POSTS, "9", "kept")))
    assert await target.copy(USERS, STATE, lines(b"1\ta\\tb\n2\t\\N\n", b"", b"3\t\n")) == 3
    assert bench.rows(USERS) == [("1", "a\tb"), ("2", None), ("3", "")]
    assert bench.rows(POSTS) == [("9", "kept")]
    assert await bench.target().table_states() == {"public.users": STATE}
    assert await target.copy(USERS, STATE, lines()) == 0
    assert bench.rows(USERS) == []


@pytest.mark.needs("rows")
async def test_a_table_that_somebody_has_dropped_has_to_be_copied_again(bench: Tracked) -> None:
    target = await bench.open(USERS, POSTS)
    await target.copy(USERS, STATE, lines(b"1\ta\n"))
    await target.copy(POSTS, STATE, lines(b"1\tp\n"))
    bench.database.drop(USERS)
    await target.prepare([USERS, POSTS])
    assert await target.table_states() == {"public.posts": STATE}
    assert (bench.rows(USERS), bench.rows(POSTS)) == ([], [("1", "p")])
    await target.copy(USERS, STATE, lines(b"1\ta\n"))
    assert bench.rows(USERS) == [("1", "a")]


@pytest.mark.needs("taking back")
async def test_a_snapshot_that_breaks_off_leaves_the_old_rows(bench: Tracked) -> None:
    class ReadingFailed(Exception):
        pass

    async def broken() -> AsyncIterator[bytes]:
        yield b"1\tnew\n"
        raise ReadingFailed

    target = await bench.open(USERS)
    await target.write(batch(START, 200, SOURCE.insert(USERS, "9", "old")))
    with pytest.raises(ReadingFailed):
        await target.copy(USERS, STATE, broken())
    assert bench.rows(USERS) == [("9", "old")]
    assert await target.table_states() == {}


async def test_a_snapshot_whose_text_is_broken_is_refused(bench: Tracked) -> None:
    target = await bench.open(USERS)
    with pytest.raises(TargetRefused):
        await target.copy(USERS, STATE, lines(b"not a number\tx\n"))
    assert await target.table_states() == {}


@pytest.mark.needs("taking back")
async def test_a_cancelled_snapshot_leaves_the_old_rows_and_its_source_at_rest(bench: Tracked) -> None:
    started = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        yield b"1\tnew\n"
        started.set()
        await asyncio.Event().wait()

    target = await bench.open(USERS)
    await target.write(batch(START, 200, SOURCE.insert(USERS, "9", "old")))
    chunks = endless()
    copying = asyncio.create_task(target.copy(USERS, STATE, chunks))
    await started.wait()
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    await chunks.aclose()
    assert (await target.claim(writer())).lsn == 200
    assert bench.rows(USERS) == [("9", "old")]


@pytest.mark.needs("sharing")
async def test_forgetting_removes_the_checkpoint_and_keeps_the_rows(bench: Tracked) -> None:
    target = await bench.open(USERS)
    assert await target.copy(USERS, STATE, lines(b"1\ta\n")) == 1
    await bench.target("other").register(uuid4(), writer(), LSN(7))
    await target.forget()
    assert await target.read_checkpoint() is None
    assert await target.table_states() == {}
    assert await bench.target("other").read_checkpoint() is not None
    assert bench.rows(USERS) == [("1", "a")]
