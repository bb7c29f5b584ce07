from hypothesis import given
from hypothesis import strategies as st

from walsync.row import UNCHANGED, Value, read_tuple, write_tuple

values = st.lists(st.one_of(st.none(), st.just(UNCHANGED), st.binary(max_size=50)), max_size=20)


@given(values)
def test_a_tuple_survives_writing_and_reading(row: list[Value]) -> None:
    assert read_tuple(write_tuple(row)) == row


def test_null_unchanged_and_empty_text_are_three_things() -> None:
    assert write_tuple([None, UNCHANGED, b""]) == b"\0\3nut\0\0\0\0"
    assert read_tuple(b"\0\3nut\0\0\0\0") == [None, UNCHANGED, b""]
    assert repr(UNCHANGED) == "UNCHANGED"
