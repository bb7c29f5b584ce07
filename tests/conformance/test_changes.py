"""What a batch of changes makes of the rows, on every kind of target and on both roads where there are two."""

import pytest
from conformance.bench import START, Tracked
from conformance.stream import Source, batch, make_table, transaction

from walsync.errors import TargetRefused
from walsync.lsn import LSN
from walsync.relation import ReplicaIdentity
from walsync.row import UNCHANGED
from walsync.target.base import Batch
from walsync.transaction.change import Change

USERS = make_table("users", [("id", "integer"), ("name", "text"), ("body", "text")])
PAIRS = make_table("pairs", [("a", "integer"), ("v", "text"), ("b", "text")], ("a", "b"), relid=16385)
LOG = make_table("log", [("at", "integer"), ("line", "text")], (), relid=16386)
SOURCE = Source([USERS, PAIRS, LOG])
BIG = "b" * 5_000

insert, update, delete = SOURCE.insert, SOURCE.update, SOURCE.delete


@pytest.fixture(params=["set-based", "serial"], autouse=True)
def road(request: pytest.FixtureRequest, bench: Tracked) -> None:
    """Run every test on both roads; a target that has but one takes it twice."""
    bench.collapse = request.param == "set-based"


async def write_each(bench: Tracked, *batches: list[Change]) -> None:
    target = await bench.open(USERS, PAIRS, LOG)
    for number, changes in enumerate(batches):
        await target.write(batch(START + number, START + number + 1, *changes))


async def test_inserts_updates_and_deletes_arrive(bench: Tracked) -> None:
    await write_each(
        bench,
        [insert(USERS, "1", "ann", "x"), insert(USERS, "2", "bob", None), insert(USERS, "3", "cid", "")],
        [update(USERS, "1", "ann", "y"), update(USERS, "3", None, "z"), delete(USERS, "2")],
    )
    assert bench.rows(USERS) == [("1", "ann", "y"), ("3", None, "z")]


async def test_a_value_left_out_keeps_the_stored_one(bench: Tracked) -> None:
    await write_each(bench, [insert(USERS, "1", "ann", BIG)], [update(USERS, "1", "anna", UNCHANGED)])
    assert bench.rows(USERS) == [("1", "anna", BIG)]


async def test_a_value_left_out_is_taken_from_an_earlier_change_of_the_batch(bench: Tracked) -> None:
    await write_each(
        bench,
        [insert(USERS, "1", "ann", "old")],
        [update(USERS, "1", "ann", "new"), update(USERS, "1", "anna", UNCHANGED), insert(USERS, "2", "b", BIG)],
        [update(USERS, "1", UNCHANGED, "newer"), update(USERS, "1", "annie", UNCHANGED)],
    )
    assert bench.rows(USERS) == [("1", "annie", "newer"), ("2", "b", BIG)]


async def test_an_update_that_sends_nothing_but_the_key_changes_nothing(bench: Tracked) -> None:
    await write_each(bench, [insert(USERS, "1", "ann", BIG)], [update(USERS, "1", UNCHANGED, UNCHANGED)])
    assert bench.rows(USERS) == [("1", "ann", BIG)]


async def test_a_key_change_moves_the_row_with_what_was_left_out(bench: Tracked) -> None:
    await write_each(bench, [insert(USERS, "1", "ann", BIG)], [update(USERS, "9", "ann", UNCHANGED, old=["1"])])
    assert bench.rows(USERS) == [("9", "ann", BIG)]


async def test_a_patched_row_moves_and_is_patched_again(bench: Tracked) -> None:
    await write_each(
        bench,
        [insert(USERS, "1", "ann", BIG)],
        [
            update(USERS, "1", "anna", UNCHANGED),
            update(USERS, "5", UNCHANGED, UNCHANGED, old=["1"]),
            update(USERS, "6", "six", UNCHANGED, old=["5"]),
        ],
    )
    assert bench.rows(USERS) == [("6", "six", BIG)]


async def test_the_place_of_a_moved_row_may_be_taken_at_once(bench: Tracked) -> None:
    await write_each(
        bench,
        [insert(USERS, "1", "ann", BIG)],
        [update(USERS, "2", "ann", UNCHANGED, old=["1"]), insert(USERS, "1", "new", "small")],
    )
    assert bench.rows(USERS) == [("1", "new", "small"), ("2", "ann", BIG)]


async def test_keys_rotate_by_way_of_a_third(bench: Tracked) -> None:
    await write_each(
        bench,
        [insert(USERS, "1", "one", BIG), insert(USERS, "2", "two", "t" * 5_000)],
        [
            update(USERS, "99", "one", UNCHANGED, old=["1"]),
            update(USERS, "1", "two", UNCHANGED, old=["2"]),
            update(USERS, "2", "one", UNCHANGED, old=["99"]),
        ],
    )
    assert bench.rows(USERS) == [("1", "two", "t" * 5_000), ("2", "one", BIG)]


async def test_a_row_deleted_and_inserted_again_has_nothing_of_the_old_one(bench: Tracked) -> None:
    await write_each(
        bench,
        [insert(USERS, "1", "ann", "x"), insert(PAIRS, "1", "v", "b")],
        [delete(USERS, "1"), insert(USERS, "1", None, None), delete(PAIRS, "1", "b"), insert(PAIRS, "1", None, "b")],
    )
    assert bench.rows(USERS) == [("1", None, None)]
    assert bench.rows(PAIRS) == [("1", None, "b")]


async def test_a_row_inserted_and_deleted_in_one_batch_leaves_nothing(bench: Tracked) -> None:
    await write_each(bench, [insert(USERS, "1", "ann", "x"), delete(USERS, "1")])
    assert bench.rows(USERS) == []


async def test_composite_keys_name_rows_and_change(bench: Tracked) -> None:
    await write_each(
        bench,
        [insert(PAIRS, "1", "x", "a"), insert(PAIRS, "1", "y", "b"), insert(PAIRS, "2", "z", "a")],
        [
            update(PAIRS, "1", "yy", "b"),
            update(PAIRS, "3", UNCHANGED, "a", old=["2", "a"]),
            delete(PAIRS, "1", "a"),
        ],
    )
    assert bench.rows(PAIRS) == [("1", "yy", "b"), ("3", "z", "a")]


@pytest.mark.needs("tables without a key")
async def test_truncate_alone_empties_its_tables_and_no_others(bench: Tracked) -> None:
    await write_each(
        bench,
        [insert(USERS, "1", "ann", "x"), insert(PAIRS, "1", "v", "b"), insert(LOG, "1", "x")],
        [SOURCE.truncate(USERS, LOG)],
    )
    assert (bench.rows(USERS), bench.rows(PAIRS), bench.rows(LOG)) == ([], [("1", "v", "b")], [])


async def test_truncate_in_the_middle_keeps_what_comes_after(bench: Tracked) -> None:
    await write_each(
        bench,
        [insert(USERS, "1", "ann", "x")],
        [
            insert(USERS, "2", "bob", "x"),
            insert(PAIRS, "1", "v", "b"),
            SOURCE.truncate(USERS),
            insert(USERS, "1", "again", "z"),
            update(USERS, "1", "once more", UNCHANGED),
        ],
    )
    assert (bench.rows(USERS), bench.rows(PAIRS)) == ([("1", "once more", "z")], [("1", "v", "b")])


async def test_a_table_without_key_keeps_equal_rows_apart(bench: Tracked) -> None:
    if not bench.database.takes_tables_without_key:
        with pytest.raises(TargetRefused):
            await bench.open(LOG)
        return
    await write_each(
        bench,
        [insert(LOG, "1", "x"), insert(LOG, "1", "x"), insert(LOG, "1", "x"), insert(LOG, None, None)],
        [delete(LOG, "1", "x"), update(LOG, "1", "(y,\"')", old=["1", "x"]), update(LOG, "2", None, old=[None, None])],
    )
    assert bench.rows(LOG) == [("1", "(y,\"')"), ("1", "x"), ("2", None)]


async def test_an_update_of_a_row_that_is_not_there_puts_it_where_it_is_whole(bench: Tracked) -> None:
    await write_each(bench, [update(USERS, "1", "ann", "x"), update(USERS, "2", "b", "y", old=["7"])])
    assert bench.rows(USERS) == [("1", "ann", "x"), ("2", "b", "y")]


@pytest.mark.needs("rows")
@pytest.mark.parametrize("old", [None, ["7"]], ids=["in place", "moved"])
async def test_an_update_that_needs_a_row_which_is_not_there_is_refused(bench: Tracked, old: list[str] | None) -> None:
    target = await bench.open(USERS)
    with pytest.raises(TargetRefused, match=r"\(id=[17]\)") as refused:
        await target.write(batch(START, 200, insert(USERS, "5", "e", "e"), update(USERS, "1", "a", UNCHANGED, old=old)))
    assert refused.value.code == "WS4301"
    assert bench.rows(USERS) == []


@pytest.mark.needs("rows")
async def test_an_update_that_needs_a_row_which_the_batch_has_removed_is_refused(bench: Tracked) -> None:
    target = await bench.open(USERS)
    await target.write(batch(START, 200, insert(USERS, "1", "a", "x"), insert(USERS, "2", "b", "x")))
    for gone in (delete(USERS, "1"), SOURCE.truncate(USERS)):
        with pytest.raises(TargetRefused) as refused:
            await target.write(batch(200, 300, gone, update(USERS, "1", "a", UNCHANGED)))
        assert refused.value.code == "WS4301"
    assert bench.rows(USERS) == [("1", "a", "x"), ("2", "b", "x")]


@pytest.mark.needs("rows")
async def test_a_new_row_with_a_hole_is_refused(bench: Tracked) -> None:
    target = await bench.open(USERS)
    with pytest.raises(TargetRefused, match="body") as refused:
        await target.write(batch(START, 200, insert(USERS, "1", "a", UNCHANGED)))
    assert refused.value.code == "WS4303"


async def test_odd_text_and_nulls_arrive_exactly(bench: Tracked) -> None:
    odd = ["", "\\N", "\\", "a\tb\nc\rd\x01\x7f", "%s %(a)s %%", "'quoted\" $1 ?", "ünïcödé 🐘 \u2028", "NULL", "{}"]
    rows = [(str(number), text, None if number % 2 else text) for number, text in enumerate(odd)]
    await write_each(bench, [insert(USERS, *row) for row in rows])
    assert bench.rows(USERS) == rows


async def test_quoted_names_of_tables_and_columns_are_kept(bench: Tracked) -> None:
    odd = make_table(
        'Tïcket "1"', [("Größe", "integer"), ('a "b" %s', "text"), ("id", "text"), ("select", "text")],
        ("Größe",), schema="Odd schéma",
    )  # fmt: skip
    source = Source([odd])
    target = await bench.open(odd)
    await target.write(batch(START, 200, source.insert(odd, "1", "a", "not the key", "c")))
    await target.write(batch(200, 300, source.update(odd, "2", UNCHANGED, "same id", "c", old=["1"])))
    await target.write(batch(300, 400, source.insert(odd, "1", "x", "same id", None), source.delete(odd, "7")))
    assert bench.rows(odd) == [("1", "x", "same id", None), ("2", "a", "same id", "c")]


async def test_tables_of_one_name_in_two_schemas_stay_apart(bench: Tracked) -> None:
    other = make_table("users", [("id", "integer"), ("x", "text")], relid=17000, schema="other")
    source = Source([USERS, other])
    target = await bench.open(USERS, other)
    await target.write(batch(START, 200, source.insert(USERS, "1", "a", "b"), source.insert(other, "1", "z")))
    await target.write(batch(200, 300, source.truncate(USERS)))
    assert (bench.rows(USERS), bench.rows(other)) == ([], [("1", "z")])


async def test_a_full_replica_identity_with_a_key_uses_the_key(bench: Tracked) -> None:
    full = make_table("full", [("id", "integer"), ("v", "text")], relid=17001, identity=ReplicaIdentity.FULL)
    source = Source([full])
    target = await bench.open(full)
    await target.write(batch(START, 200, source.insert(full, "1", "a"), source.insert(full, "2", "b")))
    moved = source.update(full, "3", "c", old=["1", "a"])
    await target.write(batch(200, 300, moved, source.delete(full, "2", "another value")))
    assert bench.rows(full) == [("3", "c")]


async def test_a_document_is_replaced_and_never_merged_with_the_one_before(bench: Tracked) -> None:
    docs = make_table("docs", [("id", "integer"), ("doc", "jsonb"), ("body", "text")], relid=17002)
    source = Source([docs])
    target = await bench.open(docs)
    await target.write(batch(START, 200, source.insert(docs, "1", '{"a": 1, "c": {"d": 1}}', BIG)))
    await target.write(batch(200, 300, source.update(docs, "1", '{"b": 2, "c": {"e": 2}}', UNCHANGED)))
    assert bench.rows(docs) == [("1", '{"b": 2, "c": {"e": 2}}', BIG)]
    await target.write(batch(300, 400, source.update(docs, "2", UNCHANGED, "small", old=["1"])))
    assert bench.rows(docs) == [("2", '{"b": 2, "c": {"e": 2}}', "small")]


async def test_many_transactions_in_one_batch_keep_their_order(bench: Tracked) -> None:
    target = await bench.open(USERS)
    made = [
        transaction(START + number, insert(USERS, "1", "a", "b"), update(USERS, "1", str(number), "b"))
        if number % 2
        else transaction(START + number, delete(USERS, "1"))
        for number in range(1, 52)
    ]
    await target.write(Batch(LSN(START), LSN(START + 51), made))
    assert bench.rows(USERS) == [("1", "51", "b")]


async def test_a_batch_of_ten_thousand_rows_arrives(bench: Tracked) -> None:
    target = await bench.open(USERS)
    inserts = [insert(USERS, str(number), "name", BIG[:50]) for number in range(10_000)]
    await target.write(batch(START, 200, *inserts))
    changes: list[Change] = [update(USERS, str(number), "new", UNCHANGED) for number in range(0, 10_000, 2)]
    changes += [update(USERS, str(number + 100_000), "moved", UNCHANGED, old=[str(number)]) for number in (1, 3)]
    await target.write(batch(200, 300, *changes, *(delete(USERS, str(number)) for number in range(5, 10_000, 2))))
    rows = bench.rows(USERS)
    assert len(rows) == 5_002
    assert {row[1:] for row in rows} == {("new", BIG[:50]), ("moved", BIG[:50])}
