from collections.abc import Iterator, Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from walsync.lsn import LSN
from walsync.relation import Relation, ReplicaIdentity
from walsync.row import write_tuple
from walsync.target.base import Batch
from walsync.target.slices import Limits, Reached, Slice, weigh
from walsync.target.slices import cut as cut_transactions
from walsync.transaction.change import Change, Delete, Insert, Transaction, Truncate, Update

RELATION = Relation(1, "public", "t", ReplicaIdentity.DEFAULT, ())
WIDE = Limits(1_000, 1_000_000)


def insert(lsn: int, size: int = 4) -> Insert:
    return Insert(RELATION, write_tuple([b"x" * size]), lsn)


def transaction(commit_lsn: int, *lsns: int) -> Transaction:
    return Transaction(1, LSN(commit_lsn), LSN(commit_lsn + 8), 0, tuple(insert(lsn) for lsn in lsns), 100)


def batch(*transactions: Transaction) -> Batch:
    return Batch(LSN(10), LSN(10_000), transactions)


def cut(whole: Batch, reached: Reached, limits: Limits) -> Iterator[Slice]:
    return cut_transactions(whole.transactions, whole.position, reached, limits)


def lsns(one: Slice) -> list[int]:
    return [change.lsn for part in one.transactions for change in part.changes]


def test_a_batch_that_fits_is_one_slice_and_takes_its_position() -> None:
    (one,) = cut(batch(transaction(100, 50, 51), transaction(200, 150)), Reached(LSN(10)), WIDE)
    assert (one.before, one.after, lsns(one)) == (Reached(LSN(10)), Reached(LSN(10_000)), [50, 51, 150])


def test_an_empty_batch_is_one_empty_slice() -> None:
    assert list(cut(batch(), Reached(LSN(10)), WIDE)) == [Slice(Reached(LSN(10)), Reached(LSN(10_000)), [])]


def test_whole_transactions_stay_whole() -> None:
    made = [transaction(100, 50, 51), transaction(200, 150, 151), transaction(300, 250)]
    slices = list(cut(batch(*made), Reached(LSN(10)), Limits(3, 1_000_000)))
    assert [lsns(one) for one in slices] == [[50, 51], [150, 151, 250]]
    assert [one.after for one in slices] == [Reached(LSN(108)), Reached(LSN(10_000))]


def test_a_large_transaction_is_cut_where_the_lsn_rises() -> None:
    made = [transaction(100, 50), transaction(200, 150, 151, 151, 151, 152, 153), transaction(300, 250)]
    slices = list(cut(batch(*made), Reached(LSN(10)), Limits(2, 1_000_000)))
    assert [lsns(one) for one in slices] == [[50], [150], [151, 151, 151], [152, 153], [250]]
    assert [one.after for one in slices] == [
        Reached(LSN(108)),
        Reached(LSN(108), 200, 150),
        Reached(LSN(108), 200, 151),
        Reached(LSN(208)),
        Reached(LSN(10_000)),
    ]


def test_bytes_cut_as_well_as_changes() -> None:
    large = Transaction(1, LSN(100), LSN(108), 0, (insert(50, 600), insert(51, 600), insert(52, 10)), 100)
    slices = list(cut(batch(large), Reached(LSN(10)), Limits(100, 1_000)))
    assert [lsns(one) for one in slices] == [[50], [51, 52]]


def test_an_open_transaction_goes_on_after_its_last_change() -> None:
    reached = Reached(LSN(10), 200, 151)
    slices = list(cut(batch(transaction(200, 150, 151, 151, 152), transaction(300, 250)), reached, WIDE))
    assert [lsns(one) for one in slices] == [[152, 250]]


def test_an_open_transaction_stays_open_while_it_lies_ahead() -> None:
    reached = Reached(LSN(10), 200, 151)
    assert reached.at(LSN(200)) == Reached(LSN(200), 200, 151)
    assert reached.at(LSN(201)) == Reached(LSN(201))


def test_the_weight_of_a_change_is_that_of_its_rows() -> None:
    assert weigh(Truncate((RELATION,), cascade=False, restart_identity=False, lsn=1)) == 0
    assert weigh(Update(RELATION, b"1234", b"12", 1)) == 6
    assert weigh(Update(RELATION, None, b"12", 1)) == 2
    assert weigh(Delete(RELATION, b"123", 1)) == 3


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    position = 10
    made = []
    for rises in draw(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=12), max_size=6)):
        changes: list[Change] = []
        for rise in rises:
            position += rise
            changes.append(insert(position, draw(st.integers(0, 40))))
        position += 10
        made.append(Transaction(1, LSN(position), LSN(position + 8), 0, tuple(changes), 100))
        position += 10
    return Batch(LSN(10), LSN(position), made)


def changes_of(slices: Sequence[Slice]) -> list[Change]:
    return [change for one in slices for part in one.transactions for change in part.changes]


@given(batches(), st.integers(1, 6), st.integers(1, 120), st.data())
def test_going_on_after_any_slice_brings_every_change_once(
    whole: Batch, changes: int, size_bytes: int, data: st.DataObject
) -> None:
    limits = Limits(changes, size_bytes)
    slices = list(cut(whole, Reached(whole.previous), limits))
    everything = [change for one in whole.transactions for change in one.changes]
    assert changes_of(slices) == everything
    assert slices[-1].after == Reached(whole.position)
    assert all(one.after == other.before for one, other in pairwise(slices))

    stopped = data.draw(st.integers(0, len(slices) - 1))
    reached = slices[stopped].after
    # What the stream sends again: the transactions that commit at or above the checkpoint.
    again = [one for one in whole.transactions if one.commit_lsn >= reached.lsn]
    rest = list(cut(Batch(reached.lsn, whole.position, again), reached, limits))
    assert changes_of(slices[: stopped + 1]) + changes_of(rest) == everything
