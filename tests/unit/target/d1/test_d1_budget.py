"""The requests of a token: how they are spread, and what an answer says about those that are left."""

import asyncio
from collections.abc import Sequence

import pytest
from fix_rest_api import Clock

from walsync.settings import Secret
from walsync.target.d1.budget import RateBudget, budget_of, retry_after


def busiest(asked: Sequence[float], window: float = 300) -> int:
    return max(sum(at - window < other <= at for other in asked) for at in asked)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(clock: Clock) -> RateBudget:
    return RateBudget(clock, clock.sleep)


async def test_no_five_minutes_see_more_than_a_token_has(budget: RateBudget, clock: Clock) -> None:
    asked = []
    for _ in range(2500):
        await budget.take()
        asked.append(clock.now)
    assert 1000 <= busiest(asked) <= 1200


async def test_a_few_requests_need_not_wait(budget: RateBudget, clock: Clock) -> None:
    for _ in range(60):
        await budget.take()
    assert clock.slept == []


@pytest.mark.parametrize(("targets", "seconds"), [(1, 1 / 3), (6, 2.0), (12, 4.0)])
async def test_flushes_are_as_far_apart_as_the_number_of_regions_asks(
    budget: RateBudget, targets: int, seconds: float
) -> None:
    for _ in range(targets):
        budget.join()
    assert budget.flush_seconds == pytest.approx(seconds)
    flushed_at = await budget.pace(None)
    assert await budget.pace(flushed_at) == pytest.approx(flushed_at + seconds)
    for _ in range(targets - 1):
        budget.leave()
    assert budget.flush_seconds == pytest.approx(1 / 3)


async def test_a_block_holds_everybody_and_ends(budget: RateBudget, clock: Clock) -> None:
    budget.block(retry_after({}))
    assert budget.blocked_seconds == 300
    await asyncio.gather(budget.take(), budget.take())
    assert clock.now == pytest.approx(1300)
    assert budget.blocked_seconds == pytest.approx(0, abs=1e-6)


async def test_what_is_left_is_made_to_last(budget: RateBudget, clock: Clock) -> None:
    budget.learn({"Ratelimit": '"default";r=2;t=100'})
    await budget.take()
    assert clock.now == pytest.approx(1050)
    budget.learn({"Ratelimit": '"default";r=0;t=40'})
    await budget.take()
    assert clock.now == pytest.approx(1090)
    budget.learn({"Ratelimit": '"default";r=1199;t=300'})
    budget.learn({"Ratelimit": "nonsense"})
    budget.learn({})
    assert budget.blocked_seconds == pytest.approx(0, abs=1e-6)


def test_how_long_to_stay_away_is_read_or_assumed() -> None:
    assert [retry_after({"Retry-After": text}) for text in ("17", "Wed, 21 Oct 2026 07:28:00 GMT")] == [17, 300]


def test_targets_with_one_token_share_one_budget() -> None:
    first, same, other = (budget_of(Secret(text)) for text in ("one", "one", "another"))
    assert first is same
    assert first is not other
