"""A lane that cannot go on: its followers try again where that may help, and no mistake of ours is hidden."""

import asyncio

import pytest

from walsync.backlog.backlog import Backlog
from walsync.catch_up import Lane
from walsync.errors import SourceRefused, SourceUnavailable
from walsync.lsn import LSN
from walsync.source.settings import SourceSettings
from walsync.upstream import Upstream


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (SourceUnavailable("WS2002", "gone"), SourceUnavailable),
        (SourceRefused("WS2003", "refused", hint="walsync check"), SourceRefused),
        (asyncio.CancelledError(), SourceUnavailable),
        (ZeroDivisionError("a mistake"), ZeroDivisionError),
    ],
)
async def test_followers_are_told_what_ended_a_lane(error: BaseException, raised: type[Exception]) -> None:
    upstream = Upstream(SourceSettings.model_validate({"dsn": "postgresql://nowhere/db", "tables": ["public.t"]}))
    lane = Lane(upstream, Backlog(100_000, LSN(10)), lambda _: None)
    told: list[str] = []
    assert lane.follow("one", LSN(10), lambda: told.append("one"))
    lane.raise_error()
    told.clear()
    lane.fail(error)
    assert told == ["one"]
    with pytest.raises(raised):
        lane.raise_error()
    assert not lane.follow("two", LSN(10), lambda: None)
