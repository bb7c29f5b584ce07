"""The rule of release against every way to leave targets out: who is released has to be, and it frees WAL."""

from dataclasses import replace
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from walsync.checkpoint.release import STEP_BYTES, Member, Release, moves, propose
from walsync.lsn import LSN

END = LSN(64 * STEP_BYTES)
positions = st.integers(0, 4 * 64).map(lambda quarter: LSN(quarter * STEP_BYTES // 4))
limits = st.integers(0, 4 * 64).map(lambda quarter: quarter * STEP_BYTES // 4)


@st.composite
def some_members(draw: st.DrawFn) -> list[Member]:
    """Draw targets; one at work is behind by itself by no more than what was read, wherever that ends."""
    read = draw(positions)
    found = draw(st.lists(st.tuples(positions, st.booleans(), st.booleans()), max_size=6))
    return [
        Member(f"t{index}", durable, (read if at_work else END) - durable, releasable, at_work)
        for index, (durable, releasable, at_work) in enumerate(found)
    ]


def frees(members: list[Member], released: tuple[Member, ...]) -> int:
    """Return how far the lowest position goes up without these."""
    stay = [member.durable for member in members if member not in released]
    return min(stay, default=END) - min(member.durable for member in members)


@given(some_members(), limits)
def test_who_is_released_is_lowest_too_far_behind_and_may_be(members: list[Member], limit: int) -> None:
    release = propose(members, END, limit)
    if release is None:
        return
    released = tuple(member for member in members if member.name in release.names)
    stay = [member.durable for member in members if member not in released]
    assert all(member.may_be_released and member.own_bytes > limit for member in released)
    assert len(released) == 1 or not any(member.is_at_work for member in released)
    assert all(member.durable <= lsn for member in released for lsn in stay)
    assert release.lowest == min(member.durable for member in members)
    assert release.up_to == min(stay, default=END)
    assert frees(members, released) >= STEP_BYTES


@given(some_members(), limits)
def test_nobody_else_could_be_spared_and_nobody_is_forgotten(members: list[Member], limit: int) -> None:
    """No smaller set frees a segment; and where none is proposed, none that may be released would."""
    release = propose(members, END, limit)
    may = [member for member in members if member.may_be_released and member.own_bytes > limit]
    fewest = min(
        (
            size
            for size in range(1, len(may) + 1)
            for one in combinations(may, size)
            if frees(members, one) >= STEP_BYTES and (size == 1 or not any(member.is_at_work for member in one))
        ),
        default=None,
    )
    assert (None if release is None else len(release.names)) == fewest


@given(some_members(), limits, positions, positions)
def test_restart_lsn_has_to_pass_what_the_lowest_target_needs(
    members: list[Member], limit: int, restart: LSN, open_since: LSN
) -> None:
    """A transaction open on the source pins restart_lsn where it began."""
    release = propose(members, END, limit)
    if release is None:
        return
    after = min(release.up_to, open_since)
    with_everybody = min(release.lowest, open_since)
    if moves(release, restart, after):
        assert after - restart >= STEP_BYTES
        assert after - with_everybody >= STEP_BYTES
    if open_since <= release.lowest:
        assert not moves(release, restart, after)


def test_two_that_are_level_are_released_together_or_not_at_all() -> None:
    far, level, near = (
        Member(name, lsn, END - lsn, may_be_released=True, is_at_work=False)
        for name, lsn in (("a", LSN(0)), ("b", LSN(4096)), ("c", END))
    )
    assert propose([near, level, far], END, STEP_BYTES) == Release(("a", "b"), LSN(0), END)
    assert propose([near, replace(level, may_be_released=False), far], END, STEP_BYTES) is None
    assert propose([near, replace(level, is_at_work=True), far], END, STEP_BYTES) is None
    assert propose([near, replace(far, is_at_work=True)], END, STEP_BYTES) == Release(("a",), LSN(0), END)


def test_a_restart_lsn_that_stays_means_that_nothing_moves() -> None:
    release = Release(("a",), LSN(STEP_BYTES), END)
    assert not moves(release, LSN(0), LSN(STEP_BYTES))
    assert not moves(release, LSN(0), LSN(2 * STEP_BYTES - 1))
    assert moves(release, LSN(0), LSN(2 * STEP_BYTES))
