"""The token bucket: time is passed in, and over any span no more passes than the rate and what was saved up."""

from hypothesis import given
from hypothesis import strategies as st

from walsync.snapshot.throttle import TokenBucket


def test_who_has_taken_waits_until_that_is_earned() -> None:
    bucket = TokenBucket(1000)
    assert bucket.take(500, now=10.0) == 0.5
    assert bucket.take(500, now=10.5) == 0.5
    assert bucket.take(500, now=12.0) == 0.0


def test_two_that_take_at_once_wait_for_both() -> None:
    bucket = TokenBucket(1000)
    assert bucket.take(1000, now=0.0) == 1.0
    assert bucket.take(1000, now=0.0) == 2.0


def test_a_pause_saves_up_one_second_and_no_more() -> None:
    bucket = TokenBucket(1000)
    bucket.take(0, now=0.0)
    assert bucket.take(3000, now=3600.0) == 2.0


@given(st.integers(1, 10**6), st.lists(st.tuples(st.integers(0, 10**7), st.floats(0, 100)), min_size=1, max_size=30))
def test_who_waits_as_told_stays_below_the_rate(rate: int, takes: list[tuple[int, float]]) -> None:
    bucket, now, taken = TokenBucket(rate), 0.0, 0
    for size, pause in takes:
        now += bucket.take(size, now)
        taken += size
        assert taken <= rate * (now + 1) * (1 + 1e-6) + 1
        now += pause
