"""Values that change their text and stay equal as numbers, on every kind of target.

SurrealDB's engine made these tests necessary: it leaves a record alone that equals the one to be written.
"""

import pytest
from conformance.bench import START, Tracked
from conformance.stream import Source, batch, make_table

from walsync.errors import TargetRefused
from walsync.row import UNCHANGED
from walsync.transaction.change import Change

NUMBERS = make_table("numbers", [("id", "integer"), ("n", "numeric"), ("f", "double precision"), ("body", "text")])
PLACES = make_table(
    "places", [("a", "integer"), ("b", "text"), ("n", "numeric"), ("body", "text")], ("a", "b"), relid=16385
)
SOURCE = Source([NUMBERS, PLACES])


@pytest.fixture(params=["set-based", "serial"], autouse=True)
def road(request: pytest.FixtureRequest, bench: Tracked) -> None:
    """Run every test on both roads; a target that has but one takes it twice."""
    bench.collapse = request.param == "set-based"


def zeros(bench: Tracked) -> list[str]:
    return [str(float(text or "")) for _, _, text, _ in bench.rows(NUMBERS)]


async def test_a_zero_changes_its_sign_and_nothing_else(bench: Tracked) -> None:
    target = await bench.open(NUMBERS)
    await target.write(batch(START, 200, *(SOURCE.insert(NUMBERS, str(n), "1", "0", "x") for n in (1, 2, 3))))
    await target.write(batch(200, 300, SOURCE.update(NUMBERS, "2", "1", "-0", "x")))
    assert zeros(bench) == ["0.0", "-0.0", "0.0"]
    gone_and_back: list[Change] = [SOURCE.delete(NUMBERS, "1"), SOURCE.insert(NUMBERS, "1", "1", "-0", "x")]
    await target.write(batch(300, 400, SOURCE.update(NUMBERS, "3", "1", "-0", UNCHANGED), *gone_and_back))
    assert zeros(bench) == ["-0.0", "-0.0", "-0.0"]
    there_and_back = [SOURCE.update(NUMBERS, "1", "2", zero, "x") for zero in ("-0", "0")]
    await target.write(batch(400, 500, *there_and_back))
    assert zeros(bench) == ["0.0", "-0.0", "-0.0"]


@pytest.mark.needs("zeros of decimals")
async def test_a_numeric_changes_its_scale_and_nothing_else(bench: Tracked) -> None:
    target = await bench.open(NUMBERS)
    await target.write(batch(START, 200, *(SOURCE.insert(NUMBERS, str(n), "1.10", "1", "x") for n in (1, 2))))
    changes = [SOURCE.update(NUMBERS, "1", "1.1", "1", "x"), SOURCE.update(NUMBERS, "2", "1.100", "1", UNCHANGED)]
    await target.write(batch(200, 300, *changes))
    assert [n for _, n, _, _ in bench.rows(NUMBERS)] == ["1.1", "1.100"]


@pytest.mark.needs("zeros of decimals")
async def test_a_numeric_changes_its_scale_under_a_key_of_two_columns(bench: Tracked) -> None:
    target = await bench.open(PLACES)
    await target.write(batch(START, 200, *(SOURCE.insert(PLACES, str(a), "b", "1.10", "x") for a in (1, 2, 3))))
    changes = [SOURCE.update(PLACES, "1", "b", "1.1", "x"), SOURCE.update(PLACES, "2", "b", "1.100", UNCHANGED)]
    await target.write(batch(200, 300, *changes))
    assert [n for _, _, n, _ in bench.rows(PLACES)] == ["1.1", "1.100", "1.10"]


@pytest.mark.needs("rows")
async def test_a_row_with_a_key_of_two_columns_may_be_new_where_numbers_are_compared(bench: Tracked) -> None:
    target = await bench.open(PLACES)
    await target.write(batch(START, 200, SOURCE.insert(PLACES, "1", "a", "1.5", "x")))
    changes: list[Change] = [
        SOURCE.update(PLACES, "1", "a", "1.50", UNCHANGED),
        SOURCE.insert(PLACES, "2", "b", "2.5", "y"),
        SOURCE.update(PLACES, "2", "c", "2.5", "y", old=("2", "b", None, None)),
    ]
    await target.write(batch(200, 300, *changes))
    assert sorted(row[:2] for row in bench.rows(PLACES)) == [("1", "a"), ("2", "c")]
    moved = SOURCE.update(PLACES, "9", "z", "1", UNCHANGED, old=("9", "y", None, None))
    with pytest.raises(TargetRefused) as refused:
        await target.write(batch(300, 400, moved))
    assert refused.value.code == "WS4301"
