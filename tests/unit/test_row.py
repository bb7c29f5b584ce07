from hypothesis import given
from hypothesis import strategies as st

from walsync.row import UNCHANGED, Value, read_copy_line, read_tuple, write_copy_line, write_tuple

values = st.lists(st.one_of(st.none(), st.just(UNCHANGED), st.binary(max_size=50)), max_size=20)


@given(values)
def test_a_tuple_survives_writing_and_reading(row: list[Value]) -> None:
    assert read_tuple(write_tuple(row)) == row


def test_null_unchanged_and_empty_text_are_three_things() -> None:
    assert write_tuple([None, UNCHANGED, b""]) == b"\0\3nut\0\0\0\0"
    assert read_tuple(b"\0\3nut\0\0\0\0") == [None, UNCHANGED, b""]
    assert repr(UNCHANGED) == "UNCHANGED"


def test_copy_text_is_unescaped_as_the_server_escapes_it() -> None:
    line = b"1\t\\N\t\t\\\\N\ta\\tb\\nc\\rd\\be\\ff\\vg\\\\h\t\xc3\xa4\n"
    assert read_copy_line(line) == [b"1", None, b"", b"\\N", b"a\tb\nc\rd\be\ff\vg\\h", "ä".encode()]


def test_a_line_of_copy_text_needs_no_newline_at_its_end() -> None:
    assert read_copy_line(b"a\tb") == read_copy_line(b"a\tb\n") == [b"a", b"b"]


@given(st.lists(st.none() | st.binary(max_size=20), min_size=1))
def test_a_line_of_copy_text_survives_writing_and_reading(row: list[Value]) -> None:
    assert read_copy_line(write_copy_line(row)) == row


@given(st.binary().filter(lambda line: b"\n" not in line[:-1]))
def test_any_line_of_copy_text_is_read(line: bytes) -> None:
    assert len(read_copy_line(line)) == line.count(b"\t") + 1
