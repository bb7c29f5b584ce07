import asyncio

import pytest

from walsync.interruptible import Interruptible


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_work_that_is_not_interrupted_ends_by_itself() -> None:
    done = []

    async def work() -> None:
        done.append(1)

    interruptible = Interruptible()
    assert await interruptible.do(work)
    async with interruptible.interrupted():
        assert done == [1]
    assert await interruptible.do(work)


async def test_interrupted_work_has_ended_inside_the_block_and_none_begins() -> None:
    interruptible, ended, began = Interruptible(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await for_ever()
        finally:
            await asyncio.sleep(0)  # to end takes a moment
            ended.set()

    working = asyncio.create_task(interruptible.do(work))
    await began.wait()
    async with interruptible.interrupted():
        assert ended.is_set()
        began.clear()
        again = asyncio.create_task(interruptible.do(work))
        assert await working is False
        assert not began.is_set()
    await began.wait()
    again.cancel()
    with pytest.raises(asyncio.CancelledError):
        await again


async def test_work_may_be_given_time_to_end_by_itself() -> None:
    interruptible, may_end = Interruptible(), asyncio.Event()

    async def work() -> None:
        await may_end.wait()

    working = asyncio.create_task(interruptible.do(work))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(may_end.set)
    async with interruptible.interrupted(after=3600.0):
        assert await working, "it came to its end"


async def test_work_that_is_being_interrupted_may_be_interrupted_once_more() -> None:
    interruptible, ending, may_end = Interruptible(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            await for_ever()
        finally:
            ending.set()
            await may_end.wait()

    async def interrupt() -> None:
        async with interruptible.interrupted():
            assert may_end.is_set()

    working = asyncio.create_task(interruptible.do(work))
    await asyncio.sleep(0)
    first = asyncio.create_task(interrupt())
    await ending.wait()
    second = asyncio.create_task(interrupt())
    await asyncio.sleep(0)
    may_end.set()
    await asyncio.gather(first, second)
    assert await working is False


async def test_a_timeout_of_the_work_itself_is_its_own() -> None:
    async def work() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await Interruptible().do(work)
