import asyncio
from dataclasses import dataclass
from statistics import median

import pytest

from walsync.backlog.backlog import Limits
from walsync.lsn import LSN
from walsync.right_of_way import Ahead, Between, RightOfWay

ALL = Limits(transactions=1000, changes=20_000, size_bytes=1 << 20)


@dataclass
class Clock:
    """Stands still until it is moved."""

    seconds: float = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def way(clock: Clock) -> RightOfWay:
    return RightOfWay(clock)


def between(way: RightOfWay) -> Between:
    """Make the turn of a target that the main stream does not get away from."""
    return Between(way, ALL, lambda: (LSN(0), LSN(0)))


async def write(turn: Ahead | Between, clock: Clock, seconds: float, changes: int) -> None:
    async with turn.taking(changes):
        clock.seconds += seconds


async def use(way: RightOfWay) -> None:
    async with Ahead(way, ALL).taking(1):
        assert way.is_in_use


async def test_who_catches_up_takes_what_there_is_while_nobody_else_is_at_work(way: RightOfWay, clock: Clock) -> None:
    turn = between(way)
    await write(turn, clock, 5.0, ALL.changes)
    assert turn.limits == ALL


async def test_it_takes_small_steps_while_the_main_stream_is_in_use_and_a_second_longer(
    way: RightOfWay, clock: Clock
) -> None:
    turn = between(way)
    await use(way)
    assert turn.limits.changes < 1000
    assert (turn.limits.transactions, turn.limits.size_bytes) == (ALL.transactions, ALL.size_bytes)
    clock.seconds += 1.1
    assert turn.limits == ALL


async def test_steps_shrink_while_their_changes_take_long_and_grow_again(way: RightOfWay, clock: Clock) -> None:
    turn = between(way)
    seen = []
    for per_change in (1e-3, 1e-6):
        for _ in range(20):
            await use(way)
            changes = turn.limits.changes
            await write(turn, clock, 0.001 + per_change * changes, changes)
        seen.append(turn.limits.changes)
    few, many = seen
    assert few <= 64
    assert many >= 4000


async def test_steps_are_large_where_the_way_to_the_target_is_long(way: RightOfWay, clock: Clock) -> None:
    turn = between(way)
    for _ in range(20):
        await use(way)
        changes = turn.limits.changes
        await write(turn, clock, 0.1 + 1e-5 * changes, changes)
    assert turn.limits.changes >= 5000


async def test_a_batch_that_was_small_for_want_of_changes_does_not_make_the_next_ones_larger(
    way: RightOfWay, clock: Clock
) -> None:
    turn = between(way)
    await use(way)
    before = turn.limits.changes
    await write(turn, clock, 0.001, 5)
    await use(way)
    assert turn.limits.changes == before


async def test_somebody_who_waits_goes_on_while_the_main_stream_is_at_work(way: RightOfWay, clock: Clock) -> None:
    turn = between(way)
    async with Ahead(way, ALL).taking(1):
        await asyncio.wait_for(write(turn, clock, 60.0, 1), 30)
        await asyncio.wait_for(asyncio.to_thread(way.give_way, 60.0), 30)


async def test_a_write_that_fails_leaves_the_way(way: RightOfWay, clock: Clock) -> None:
    with pytest.raises(OSError, match="gone"):
        async with Ahead(way, ALL).taking(1):
            raise OSError("gone")
    clock.seconds += 2
    assert not way.is_in_use


@pytest.mark.parametrize(("arriving", "fewest", "most"), [(50_000, 128, 1000), (1_000, 16, 64)])
async def test_steps_are_longer_where_short_ones_do_not_bring_a_target_nearer(
    way: RightOfWay, clock: Clock, arriving: int, fewest: int, most: int
) -> None:
    """A change of 100 bytes takes 0.5 ms, 10 ms go to the way to the target, and other changes come all the time."""
    started, position = clock.seconds, 0

    def stands() -> tuple[LSN, LSN]:
        return LSN(position), LSN(10_000_000 + int(arriving * (clock.seconds - started)))

    turn = Between(way, ALL, stands)
    behind, taken = [], []
    for _ in range(2_000):
        await use(way)
        changes = turn.limits.changes
        position += 100 * changes
        taken.append(changes)
        await write(turn, clock, 0.01 + 0.0005 * changes, changes)
        clock.seconds += 0.02  # others were let pass
        behind.append(stands()[1] - stands()[0])
        if behind[-1] <= 0:
            break
    assert behind[-1] < behind[0] / 2
    assert fewest <= median(taken) <= most


def test_nobody_waits_where_somebody_does_not_get_nearer(way: RightOfWay, clock: Clock) -> None:
    assert way.wait_seconds(0.005) == pytest.approx(0.015)
    assert way.wait_seconds(60.0) == 0.02
    way.hurry()
    assert way.wait_seconds(60.0) == 0
    clock.seconds += 2
    assert way.wait_seconds(60.0) == 0.02
