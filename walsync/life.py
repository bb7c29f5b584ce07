"""The life of a target: which state may follow which, and why it is in the one it is in. Pure.

starting -> snapshot -> catching_up -> streaming -> snapshot, for tables that cannot be copied beside the stream;
from anywhere: retrying (away), parked (the main stream does not wait for it), needs_snapshot, stopped (refused);
back through snapshot or catching_up, so that nothing counts as streaming which has not caught up.
"""

from collections.abc import Mapping
from typing import Final

from walsync.status import TargetState as State

_ASIDE: Final = frozenset({State.RETRYING, State.PARKED, State.NEEDS_SNAPSHOT, State.STOPPED})
_BACK: Final = frozenset({State.SNAPSHOT, State.CATCHING_UP})

MOVES: Final[Mapping[State, frozenset[State]]] = {
    State.STARTING: _BACK | _ASIDE,
    State.SNAPSHOT: frozenset({State.CATCHING_UP}) | _ASIDE,
    State.CATCHING_UP: _BACK | {State.STREAMING} | _ASIDE,
    State.STREAMING: frozenset({State.SNAPSHOT}) | _ASIDE,
    State.RETRYING: _BACK | _ASIDE,
    State.PARKED: _BACK | _ASIDE,
    State.NEEDS_SNAPSHOT: _BACK | _ASIDE,  # it may be back before the slot has passed what it was released from
    State.STOPPED: frozenset(),
}


class Life:
    """One target's state and the reason why it is in it, which may change while the state stays."""

    def __init__(self) -> None:
        self.state = State.STARTING
        self.reason = "where it stands, and what it has, is looked at"

    def enter(self, state: State, reason: str) -> bool:
        """Move; tells whether the state is another one. ValueError for a move that there is not."""
        was = self.state
        if state is not was and state not in MOVES[was]:
            raise ValueError(f"a target does not go from {was} to {state}")
        self.state, self.reason = state, reason
        return state is not was
