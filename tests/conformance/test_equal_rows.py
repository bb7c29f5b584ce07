"""Rows that come and go within one batch, on every kind of target: equal ones, and those that a TRUNCATE ends.

SurrealDB's engine made these tests necessary: once a transaction has deleted a record, its scans lose others.
"""

from collections import Counter
from random import Random

import pytest
from conformance.bench import START, Tracked
from conformance.stream import Source, batch, make_table

from walsync.errors import TargetRefused
from walsync.relation import ReplicaIdentity
from walsync.transaction.change import Change

COLUMNS = [("id", "integer"), ("name", "text")]
USERS = make_table("users", COLUMNS)
LOG = make_table("log", [("at", "integer"), ("line", "text")], (), relid=16386)
ALTERED = make_table("users", COLUMNS, identity=ReplicaIdentity.FULL)
"""The same table after ALTER TABLE users REPLICA IDENTITY FULL: a batch that holds both shapes is written in steps."""

SOURCE, AFTER = Source([USERS, LOG]), Source([ALTERED, LOG])


@pytest.fixture(params=["set-based", "serial"], autouse=True)
def road(request: pytest.FixtureRequest, bench: Tracked) -> None:
    """Run every test on both roads; a target that has but one takes it twice."""
    bench.collapse = request.param == "set-based"


async def write_each(bench: Tracked, *batches: list[Change]) -> None:
    target = await bench.open(USERS, LOG)
    for number, changes in enumerate(batches):
        await target.write(batch(START + number, START + number + 1, *changes))


def users(*ids: int) -> list[Change]:
    return [SOURCE.insert(USERS, str(number), "a") for number in ids]


@pytest.mark.needs("tables without a key")
async def test_equal_rows_go_one_after_the_other_in_one_transaction(bench: Tracked) -> None:
    gone = SOURCE.delete(LOG, "1", "x")
    await write_each(
        bench,
        [SOURCE.insert(LOG, "1", "x")] * 5,
        [gone, gone, SOURCE.update(LOG, "2", "y", old=["1", "x"]), gone],
    )
    assert bench.rows(LOG) == [("1", "x"), ("2", "y")]


@pytest.mark.needs("tables without a key")
async def test_zeros_of_two_signs_are_two_rows_of_a_table_without_a_key(bench: Tracked) -> None:
    zeros = make_table("zeros", [("n", "double precision")], (), relid=16387)
    source = Source([zeros])
    target = await bench.open(zeros)
    values = ["0", "-0", "NaN", "0", "-0", "NaN", "1.5"]
    await target.write(batch(START, 200, *[source.insert(zeros, value) for value in values]))
    changes: list[Change] = [
        source.delete(zeros, "-0"),
        source.update(zeros, "0", old=["-0"]),
        source.delete(zeros, "NaN"),
    ]
    await target.write(batch(200, 300, *changes))
    assert sorted(str(float(text or "")) for (text,) in bench.rows(zeros)) == ["0.0", "0.0", "0.0", "1.5", "nan"]


@pytest.mark.needs("tables without a key")
async def test_equal_rows_go_before_and_after_a_table_changes_its_shape(bench: Tracked) -> None:
    gone = SOURCE.delete(LOG, "1", "x")
    await write_each(
        bench,
        [*users(1), *[SOURCE.insert(LOG, "1", "x")] * 5],
        [gone, SOURCE.update(USERS, "1", "b"), AFTER.update(ALTERED, "1", "c", old=["1", "b"]), gone, gone],
    )
    assert (bench.rows(USERS), bench.rows(LOG)) == ([("1", "c")], [("1", "x")] * 2)


@pytest.mark.needs("tables without a key")
async def test_truncate_leaves_nothing_of_a_table_whose_rows_were_deleted_before(bench: Tracked) -> None:
    await write_each(
        bench,
        [*users(1, 2, 3, 4, 5), *[SOURCE.insert(LOG, "1", "x")] * 5],
        [
            SOURCE.delete(USERS, "2"),
            SOURCE.delete(LOG, "1", "x"),
            *users(6),
            SOURCE.truncate(USERS, LOG),
            *users(2, 7),
            SOURCE.insert(LOG, "1", "x"),
        ],
    )
    assert (bench.rows(USERS), bench.rows(LOG)) == ([("2", "a"), ("7", "a")], [("1", "x")])


@pytest.mark.needs("tables without a key")
async def test_truncate_leaves_nothing_of_a_table_that_has_changed_its_shape(bench: Tracked) -> None:
    await write_each(
        bench,
        [*users(1, 2, 3, 4, 5), *[SOURCE.insert(LOG, "1", "x")] * 5],
        [
            SOURCE.delete(USERS, "2"),
            SOURCE.delete(LOG, "1", "x"),
            SOURCE.insert(LOG, "2", "y"),
            SOURCE.update(USERS, "6", "moved", old=["3"]),
            AFTER.insert(ALTERED, "8", "b"),
            AFTER.truncate(ALTERED, LOG),
            AFTER.insert(ALTERED, "6", "c"),
        ],
    )
    assert (bench.rows(USERS), bench.rows(LOG)) == ([("6", "c")], [])


@pytest.mark.needs("tables without a key")
@pytest.mark.needs("rows")
async def test_a_row_that_a_truncate_has_ended_cannot_be_deleted_again(bench: Tracked) -> None:
    target = await bench.open(LOG)
    await target.write(batch(START, 200, *[SOURCE.insert(LOG, "1", "x")] * 2))
    with pytest.raises(TargetRefused) as refused:
        await target.write(batch(200, 300, SOURCE.truncate(LOG), SOURCE.delete(LOG, "1", "x")))
    assert refused.value.code == "WS4304"
    assert bench.rows(LOG) == [("1", "x")] * 2


@pytest.mark.needs("tables without a key")
@pytest.mark.parametrize("seed", range(5))
async def test_any_changes_of_rows_without_a_key_leave_what_they_leave_on_the_source(bench: Tracked, seed: int) -> None:
    random, rows = Random(seed), Counter[tuple[str, str]]()
    batches: list[list[Change]] = [[] for _ in range(8)]
    for changes in batches:
        for _ in range(random.choice((1, 3, 30))):
            changes.append(_change(random, rows))
    await write_each(bench, *batches)
    assert bench.rows(LOG) == sorted(rows.elements())


def _change(random: Random, rows: Counter[tuple[str, str]]) -> Change:
    """Make a change at random, in `rows` too."""
    new, old = (str(random.randint(1, 3)), "x"), random.choice(sorted(rows.elements()) or [("", "")])
    match random.random():
        case number if number < 0.03:
            rows.clear()
            return SOURCE.truncate(LOG)
        case number if number < 0.4 or not rows.total():
            rows[new] += 1
            return SOURCE.insert(LOG, *new)
        case number if number < 0.7:
            rows[old] -= 1
            rows[new] += 1
            return SOURCE.update(LOG, *new, old=old)
        case _:
            rows[old] -= 1
            return SOURCE.delete(LOG, *old)
