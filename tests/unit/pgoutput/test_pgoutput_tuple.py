import pytest

from walsync.errors import ProtocolError
from walsync.pgoutput.tuple import tuple_end
from walsync.row import UNCHANGED, Value, has_unchanged, write_tuple

SERVER_MOST_COLUMNS = 1600
WIRE_MOST_COLUMNS = 2**16 - 1


@pytest.mark.parametrize(
    "values",
    [
        [],
        [None],
        [b""],
        [UNCHANGED, b"text", None],
        [b"v"] * SERVER_MOST_COLUMNS,
        [None] * WIRE_MOST_COLUMNS,
        [b"x" * 70_000],
    ],
)
def test_a_tuple_ends_behind_its_last_column_wherever_it_starts(values: list[Value]) -> None:
    raw = write_tuple(values)
    assert tuple_end(raw, 0) == len(raw)
    assert tuple_end(b"before" + raw + b"after", 6) == 6 + len(raw)


def test_a_tuple_cut_anywhere_is_refused() -> None:
    raw = write_tuple([b"text", None, UNCHANGED, b""])
    for length in range(len(raw)):
        with pytest.raises(ProtocolError, match="cut short"):
            tuple_end(raw[:length], 0)


@pytest.mark.parametrize("length", [b"\0\0\0\5", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff"])
def test_a_text_longer_than_the_message_is_refused(length: bytes) -> None:
    with pytest.raises(ProtocolError, match="cut short"):
        tuple_end(b"\0\1t" + length + b"abcd", 0)


@pytest.mark.parametrize("kind", [b"b", b"T", b"\0", b"\xff"])
def test_a_column_that_is_neither_null_unchanged_nor_text_is_refused(kind: bytes) -> None:
    with pytest.raises(ProtocolError, match="a column's kind"):
        tuple_end(b"\0\1" + kind + b"\0\0\0\1x", 0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], False), ([b"u", None], False), ([b"a", UNCHANGED], True), ([UNCHANGED], True), ([b"uuu", b"u"], False)],
)
def test_an_unchanged_column_is_told_from_the_letter_in_a_value(values: list[Value], *, expected: bool) -> None:
    assert has_unchanged(write_tuple(values)) is expected
