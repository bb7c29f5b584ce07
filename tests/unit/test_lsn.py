import pytest
from hypothesis import given
from hypothesis import strategies as st

from walsync.lsn import LSN


def test_an_lsn_is_written_as_the_server_writes_it() -> None:
    assert str(LSN(0x16_B374D848)) == "16/B374D848"
    assert f"{LSN(255)}" == "0/FF"
    assert repr(LSN(1)) == "LSN(0/1)"


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_every_lsn_survives_its_text_form(value: int) -> None:
    assert LSN.parse(str(LSN(value))) == value


@pytest.mark.parametrize(
    "text", ["", "1", "1/", "/1", "g/1", "1/1/1", "123456789/0", "0/123456789", " 0/1", "0/1\n", "-1/0"]
)
def test_anything_else_is_no_lsn(text: str) -> None:
    with pytest.raises(ValueError, match="is not an LSN"):
        LSN.parse(text)


@pytest.mark.parametrize("value", [-1, 2**64])
def test_an_lsn_has_64_bits(value: int) -> None:
    with pytest.raises(ValueError, match="0 to 2"):
        LSN(value)


def test_positions_compare_as_numbers_not_as_text() -> None:
    assert LSN.parse("0/FF") < LSN.parse("0/100") < LSN.parse("1/0")
