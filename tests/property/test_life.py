import pytest
from hypothesis import given
from hypothesis import strategies as st

from walsync.life import MOVES, Life
from walsync.status import TargetState

states = st.sampled_from(sorted(set(TargetState) - {TargetState.NOT_RUNNING}))


@given(st.lists(states))
def test_a_life_follows_the_moves_and_knows_the_latest_reason(wanted: list[TargetState]) -> None:
    life = Life()
    for number, state in enumerate(wanted):
        before, reason = life.state, life.reason
        if state is not before and state not in MOVES[before]:
            with pytest.raises(ValueError, match="does not go"):
                life.enter(state, "never")
            assert (life.state, life.reason) == (before, reason)
        else:
            assert life.enter(state, str(number)) == (state is not before)
            assert life.state is state
            assert life.reason == str(number)


def test_every_state_but_stopped_leads_to_streaming_and_only_catching_up_leads_there_directly() -> None:
    assert [state for state, after in MOVES.items() if TargetState.STREAMING in after] == [TargetState.CATCHING_UP]
    for state in MOVES.keys() - {TargetState.STOPPED}:
        reached = {state}
        while more := {after for one in reached for after in MOVES[one]} - reached:
            reached |= more
        assert TargetState.STREAMING in reached
    assert TargetState.SNAPSHOT in MOVES[TargetState.STREAMING]  # by order, where it cannot be beside the stream
    assert TargetState.CATCHING_UP in MOVES[TargetState.NEEDS_SNAPSHOT]  # released, and back before any slot has moved
    assert not MOVES[TargetState.STOPPED]
