"""A stream that goes on further ahead, after a break: what lies between is not in the backlog, whoever asks for it."""

from walsync.backlog.backlog import Backlog, Limits
from walsync.lsn import LSN
from walsync.relation import Relation, ReplicaIdentity
from walsync.transaction.change import Insert, Transaction

RELATION = Relation(1, "public", "t", ReplicaIdentity.DEFAULT, ())
ALL = Limits(100, 100, 10_000)


def commit(lsn: int) -> Transaction:
    return Transaction(1, LSN(lsn), LSN(lsn + 3), 0, (Insert(RELATION, b"", 0),), 10)


def test_who_lacks_what_is_skipped_is_let_go_of_and_cannot_come_back_for_it() -> None:
    backlog = Backlog(10_000, LSN(10))
    assert backlog.attach("parked", LSN(20))
    assert backlog.attach("ahead", LSN(50))
    backlog.append(commit(30))
    assert backlog.skip_to(LSN(50)) == ["parked"]
    assert not backlog.follows("parked")
    backlog.append(commit(60))
    assert not backlog.attach("parked", LSN(49))
    assert [entry.commit_lsn for entry in backlog.take("ahead", ALL)] == [30, 60]
    assert backlog.attach("parked", LSN(50))
    assert [entry.commit_lsn for entry in backlog.take("parked", ALL)] == [60]


def test_what_is_in_hand_stays_so_while_the_stream_goes_on_further_ahead() -> None:
    backlog = Backlog(10_000, LSN(10))
    assert backlog.attach("ahead", LSN(50))
    backlog.append(commit(30))
    assert len(backlog.take("ahead", ALL)) == 1
    assert backlog.skip_to(LSN(50)) == []
    backlog.advance("ahead")
    assert not backlog.attach("late", LSN(40))


def test_a_stream_that_goes_on_where_it_ended_skips_nothing() -> None:
    backlog = Backlog(10_000, LSN(10))
    assert backlog.attach("one", LSN(10))
    backlog.append(commit(30))
    assert backlog.skip_to(LSN(33)) == []
    assert [entry.commit_lsn for entry in backlog.take("one", ALL)] == [30]


def test_who_is_near_enough_to_join_is_not_let_go_of_at_once() -> None:
    backlog = Backlog(1_000, LSN(10))
    assert backlog.is_near(LSN(10))
    assert backlog.attach("ahead", LSN(10))
    assert backlog.attach("keeps the beginning", LSN(10))
    for lsn in range(20, 100, 10):
        backlog.append(commit(lsn))
    assert backlog.is_near(LSN(10))  # nobody has gone on yet
    assert len(backlog.take("ahead", ALL)) == 8
    backlog.advance("ahead")
    assert [backlog.is_near(LSN(lsn)) for lsn in (10, 50, 70, 80, 93)] == [False, False, False, True, True]
    for lsn in (80, 93):
        assert backlog.attach("joins", LSN(lsn))
        assert "joins" not in backlog.laggards()
