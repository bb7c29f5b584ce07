from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walsync.life import MOVES, Life
from walsync.status import TargetState

states = st.sampled_from(sorted(set(TargetState) - {TargetState.NOT_RUNNING}))
lives = st.lists(states, min_size=20, max_size=60)  # long enough that each move is tried by many
HAPPEN = {TargetState.RETRYING, TargetState.PARKED, TargetState.NEEDS_SNAPSHOT, TargetState.STOPPED}
"""What may happen to a target at any time: it goes away, is passed, loses what was kept for it, refuses."""


def live(wanted: list[TargetState]) -> list[TargetState]:
    """Return the states that a target has been in, one after the other, where somebody wants it to enter these."""
    life = Life()
    lived = [life.state]
    for state in wanted:
        with suppress(ValueError):
            life.enter(state, "")
        if life.state is not lived[-1]:
            lived.append(life.state)
    return lived


@given(lives)
def test_nothing_counts_as_streaming_that_has_not_caught_up(wanted: list[TargetState]) -> None:
    for was, became in pairwise(live(wanted)):
        if became is TargetState.STREAMING:
            assert was is TargetState.CATCHING_UP
        if was in HAPPEN and became not in HAPPEN:
            assert became in {TargetState.SNAPSHOT, TargetState.CATCHING_UP}


@given(lives)
def test_a_life_begins_once_and_ends_where_the_target_refused(wanted: list[TargetState]) -> None:
    lived = live(wanted)
    assert TargetState.STARTING not in lived[1:]
    assert TargetState.STOPPED not in lived[:-1]


@given(lives, states)
def test_what_happens_is_taken_and_what_is_refused_changes_nothing(
    wanted: list[TargetState], next_: TargetState
) -> None:
    life = Life()
    for state in wanted:
        with suppress(ValueError):
            life.enter(state, "before")
    was, reason = life.state, life.reason
    if next_ is was or (next_ in HAPPEN and was is not TargetState.STOPPED):
        assert life.enter(next_, "now") == (next_ is not was)
        assert (life.state, life.reason) == (next_, "now")
        return
    with suppress(ValueError):
        life.enter(next_, "now")
        was, reason = next_, "now"
    assert (life.state, life.reason) == (was, reason)


@pytest.mark.parametrize("state", sorted(MOVES.keys() - {TargetState.STOPPED}))
def test_every_state_leads_to_streaming_again(state: TargetState) -> None:
    reached = {state}
    while more := {after for one in reached for after in MOVES[one]} - reached:
        reached |= more
    assert TargetState.STREAMING in reached


def test_a_target_that_streams_may_be_copied_by_order_and_one_that_was_released_may_be_back_in_time() -> None:
    assert TargetState.SNAPSHOT in MOVES[TargetState.STREAMING]  # where a table cannot be copied beside the stream
    assert TargetState.CATCHING_UP in MOVES[TargetState.NEEDS_SNAPSHOT]  # before any slot has moved
