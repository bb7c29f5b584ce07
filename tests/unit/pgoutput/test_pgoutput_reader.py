import pytest

from walsync.errors import ProtocolError
from walsync.pgoutput.reader import Reader


def test_numbers_are_big_endian_and_signed_only_where_the_protocol_says_so() -> None:
    reader = Reader(b"\xff" * (1 + 2 + 4 + 8 + 4 + 8))
    assert (reader.u8(), reader.u16(), reader.u32(), reader.u64()) == (2**8 - 1, 2**16 - 1, 2**32 - 1, 2**64 - 1)
    assert (reader.i32(), reader.i64()) == (-1, -1)
    reader.end()
    assert Reader(b"\x01\x02\x03\x04").u32() == 0x01020304


@pytest.mark.parametrize(("name", "size"), [("u8", 1), ("u16", 2), ("u32", 4), ("i32", 4), ("u64", 8), ("i64", 8)])
def test_a_number_that_is_cut_short_is_refused(name: str, size: int) -> None:
    for length in range(size):
        with pytest.raises(ProtocolError, match="are wanted"):
            getattr(Reader(bytes(length)), name)()


def test_a_string_ends_at_its_nul_and_the_next_read_starts_behind_it() -> None:
    reader = Reader("ü".encode() + b"\0\0\x07")
    assert (reader.string(), reader.string(), reader.u8()) == ("ü", "", 7)
    reader.end()


def test_a_string_without_an_end_is_refused() -> None:
    with pytest.raises(ProtocolError, match="has no end"):
        Reader(b"abc").string()


def test_a_string_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(ProtocolError, match="not UTF-8"):
        Reader(b"\xff\xfe\0").string()


def test_bytes_are_taken_whole_or_refused() -> None:
    assert Reader(b"xabc", 1).bytes(3) == b"abc"
    with pytest.raises(ProtocolError, match="4 bytes are wanted at byte 1"):
        Reader(b"xabc", 1).bytes(4)


def test_bytes_left_over_are_refused() -> None:
    with pytest.raises(ProtocolError, match="2 of 3 bytes are left over"):
        Reader(b"abc", 1).end()
