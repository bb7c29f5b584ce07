"""What the chaos run draws: the same for the same seed, with an end for everything, and nothing that cannot be done."""

from collections import Counter
from collections.abc import Iterator

from chaos.schedule import AWAY_AT_ONCE, DOWN_AT_ONCE, TROUBLES, Blow, Cast, Step, draw
from hypothesis import given
from hypothesis import strategies as st

NAMES = ("one", "two", "three", "four", "five")
CAST = Cast(
    troubles={**dict.fromkeys(NAMES[:-1], TROUBLES), NAMES[-1]: (Blow.REFUSE,)},
    tables={"": ("a", "b"), "one": ("c",)},
    copied=dict.fromkeys(NAMES, ("d",)),
)


@given(st.integers(0, 10**6))
def test_a_seed_always_draws_the_same(seed: int) -> None:
    assert draw(seed, CAST, 40) == draw(seed, CAST, 40)


def test_all_that_can_happen_happens_within_some_seeds() -> None:
    assert {step.blow for seed in range(20) for step in draw(seed, CAST, 40)} == set(Blow)


@given(st.integers(0, 10**6))
def test_what_lasts_ends_and_is_never_more_than_there_is_to_go_on_beside(seed: int) -> None:
    troubled, absent, left = set[str](), set[str](), set[tuple[str, str]]()
    steps = draw(seed, CAST, 40)
    for step in steps:
        match step.blow:
            case blow if blow in TROUBLES:
                assert step.target not in troubled | absent
                troubled.add(step.target)
            case Blow.BACK:
                troubled.remove(step.target)
            case Blow.LEAVE_TARGET:
                absent.add(step.target)
            case Blow.JOIN_TARGET:
                assert step.target not in troubled
                absent.remove(step.target)
            case Blow.LEAVE_TABLE | Blow.JOIN_TABLE:
                left ^= {(step.target, step.table)}
            case _:
                pass
        assert len(troubled) <= DOWN_AT_ONCE
        assert len(absent) <= AWAY_AT_ONCE
    assert (troubled, absent, left) == (set(), set(), set())
    assert not [frozen for _, frozen in _with_freezes(steps)][-1]


@given(st.integers(0, 10**6))
def test_a_frozen_process_is_asked_nothing(seed: int) -> None:
    asked = Counter(step.blow for step, frozen in _with_freezes(draw(seed, CAST, 40)) if frozen)
    assert not asked.keys() & {Blow.DRAIN, Blow.LOOK, Blow.SNAPSHOT, Blow.LEAVE_TABLE, Blow.JOIN_TARGET}


def _with_freezes(steps: list[Step]) -> Iterator[tuple[Step, bool]]:
    """Yield the steps, and whether the process is frozen once each is done."""
    frozen = False
    for step in steps:
        frozen = step.blow is Blow.FREEZE or (frozen and step.blow not in {Blow.THAW, Blow.KILL})
        yield step, frozen
