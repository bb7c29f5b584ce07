import pytest

from walsync.checkpoint.growth import Growth


def seen(*observations: tuple[float, int], window_seconds: float = 60.0) -> Growth:
    growth = Growth(window_seconds)
    for now, byte_count in observations:
        growth.observe(now, byte_count)
    return growth


def test_a_line_has_its_slope() -> None:
    assert seen((1e9, 500), (1e9 + 5, 1000), (1e9 + 10, 1500)).bytes_per_second == pytest.approx(100)


def test_what_falls_by_leaps_grows_as_fast_as_it_does_on_the_whole() -> None:
    saw = [(float(second), 1_000_000 + 100 * (second % 10)) for second in range(0, 1000, 5)]
    slope = seen(*saw, window_seconds=1000).bytes_per_second
    assert slope == pytest.approx(0, abs=1)


def test_what_was_before_the_window_does_not_count() -> None:
    saw = [(0.0, 0), (5.0, 10**12), (100.0, 50), (110.0, 60), (120.0, 70)]
    assert seen(*saw).bytes_per_second == pytest.approx(1)


@pytest.mark.parametrize("saw", [(), ((0.0, 1),), ((0.0, 1), (5.0, 2)), ((5.0, 1), (5.0, 2), (5.0, 3))])
def test_too_little_tells_no_slope(saw: tuple[tuple[float, int], ...]) -> None:
    growth = seen(*saw)
    assert growth.bytes_per_second is None
    assert growth.seconds_until(1) is None


def test_a_limit_is_reached_when_what_is_left_has_come() -> None:
    growing = seen((0.0, 0), (5.0, 50), (10.0, 100))
    assert growing.seconds_until(1000) == pytest.approx(100)
    assert growing.seconds_until(0) == 0
    assert growing.seconds_until(-5) == 0


@pytest.mark.parametrize("last", [0, 100])
def test_a_limit_is_never_reached_by_what_does_not_grow(last: int) -> None:
    assert seen((0.0, 100), (5.0, 100 if last else 50), (10.0, last)).seconds_until(1000) is None
