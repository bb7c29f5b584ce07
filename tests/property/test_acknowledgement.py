import pytest
from hypothesis import given
from hypothesis import strategies as st

from walsync.checkpoint.acknowledgement import Acknowledgement
from walsync.lsn import LSN

names = st.sampled_from(["a", "b", "c"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("join"), names, st.integers(0, 50)),
        st.tuples(st.just("acknowledge"), names, st.integers(0, 100)),
        st.tuples(st.just("leave"), names, st.just(0)),
        st.tuples(st.just("set_aside"), names, st.just(0)),
        st.tuples(st.just("take_back"), names, st.just(0)),
    ),
    max_size=60,
)


@given(st.integers(0, 50), steps)
def test_the_confirmed_lsn_never_goes_back_and_never_passes_a_member_that_it_had_not_passed(
    start: int, taken: list[tuple[str, str, int]]
) -> None:
    acknowledgement = Acknowledgement(LSN(start))
    durable: dict[str, int] = {}
    aside: set[str] = set()
    for step, name, number in taken:
        before = acknowledgement.confirmed
        if step == "join" and name not in durable:
            acknowledgement.join(name, LSN(number))
            durable[name] = number
        elif step == "acknowledge" and name in durable:
            acknowledgement.acknowledge(name, LSN(number))
            durable[name] = max(durable[name], number)
        elif step == "leave" and name in durable:
            acknowledgement.leave(name)
            del durable[name]
            aside.discard(name)
        elif step == "set_aside" and name in durable:
            acknowledgement.set_aside(name)
            aside.add(name)
        elif step == "take_back" and name in durable:
            acknowledgement.take_back(name)
            aside.discard(name)
        assert acknowledgement.confirmed >= before
        waited_for = [lsn for known, lsn in durable.items() if known not in aside]
        assert acknowledgement.confirmed == before or acknowledgement.confirmed == min(waited_for)
        assert all(acknowledgement.durable(known) == lsn for known, lsn in durable.items())


def test_a_name_joins_once() -> None:
    acknowledgement = Acknowledgement(LSN(0))
    acknowledgement.join("a", LSN(1))
    with pytest.raises(ValueError, match="member already"):
        acknowledgement.join("a", LSN(2))


def test_nobody_waits_for_a_target_set_aside_nor_goes_back_for_one_taken_back() -> None:
    acknowledgement = Acknowledgement(LSN(0))
    acknowledgement.join("near", LSN(100))
    acknowledgement.join("far", LSN(10))
    acknowledgement.set_aside("far")
    assert acknowledgement.confirmed == LSN(100)
    acknowledgement.take_back("far")
    acknowledgement.acknowledge("near", LSN(200))
    assert acknowledgement.confirmed == LSN(100)
    acknowledgement.acknowledge("far", LSN(150))
    assert acknowledgement.confirmed == LSN(150)


def test_the_slot_forgets_what_was_read_only_where_there_is_no_member() -> None:
    acknowledgement = Acknowledgement(LSN(0))
    acknowledgement.join("a", LSN(1))
    acknowledgement.pass_unclaimed(LSN(50))
    assert acknowledgement.confirmed == LSN(0)
    acknowledgement.leave("a")
    acknowledgement.pass_unclaimed(LSN(50))
    acknowledgement.pass_unclaimed(LSN(40))
    assert acknowledgement.confirmed == LSN(50)


def test_who_leaves_is_waited_for_no_longer() -> None:
    acknowledgement = Acknowledgement(LSN(0))
    acknowledgement.join("near", LSN(100))
    acknowledgement.join("far", LSN(10))
    acknowledgement.leave("far")
    assert acknowledgement.confirmed == LSN(100)


def test_a_stranger_cannot_be_set_aside() -> None:
    with pytest.raises(ValueError, match="no member"):
        Acknowledgement(LSN(0)).set_aside("a")
