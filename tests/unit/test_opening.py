import asyncio
import threading
from dataclasses import dataclass, field

import pytest

from walsync.opening import opened


@dataclass
class Session:
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self) -> None:
        self.closed.set()


async def test_what_is_opened_is_returned_open() -> None:
    assert not (await opened(Session)).closed.is_set()


async def test_what_nobody_waits_for_any_more_is_closed_when_it_is_open() -> None:
    may_open, session = threading.Event(), Session()
    waiting = asyncio.create_task(opened(lambda: session if may_open.wait(30) else Session()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not session.closed.is_set()
    may_open.set()
    await session.closed.wait()


async def test_an_error_is_that_of_the_function() -> None:
    def fail() -> Session:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await opened(fail)
