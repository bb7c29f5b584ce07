import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walsync import row
from walsync.errors import ProtocolError
from walsync.pgoutput import decoder
from walsync.pgoutput import tuple as plain_tuple
from walsync.row import UNCHANGED, Value, tuple_data, write_tuple
from walsync.source import copy_out
from walsync.source.pgtype import PgType
from walsync.target.d1 import row_json, rows
from walsync.target.d1.rows import RowForm
from walsync.target.d1.values import value_form

HAS_COMPILER = (
    shutil.which(sysconfig.get_config_var("CC").split()[0]) is not None
    and Path(sysconfig.get_path("include"), "Python.h").exists()
)

FASTEST_END: Callable[[bytes, int], int] = vars(decoder)["tuple_end"]

tuples = st.lists(st.one_of(st.none(), st.just(UNCHANGED), st.binary(max_size=50)), max_size=20).map(write_tuple)

MOMENTS = [
    b"2026-11-21 06:30:28+00",
    b"2026-11-21 06:30:28.5+00",
    b"2026-11-21 06:30:28.123456+00",
    b"2026-11-21 06:30:28.+00",
    b"12026-11-21 06:30:28+00",
    b"0044-03-15 12:00:00+00 BC",
    b"infinity",
]
COLUMNS = {
    "text": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])).map(str.encode),
    "bigint": st.integers(-(2**63), 2**63 - 1).map(lambda number: b"%d" % number),
    "timestamp with time zone": st.sampled_from(MOMENTS),
    "boolean": st.sampled_from([b"t", b"f"]),
    "bytea": st.binary().map(lambda value: b"\\x" + value.hex().encode()),
    "double precision": st.floats().map(lambda number: repr(number).encode()).filter(lambda text: b"n" not in text),
}
FORM = RowForm([value_form(f"public.t.{name}", PgType(0, name)) for name in COLUMNS])
d1_rows = st.lists(
    st.tuples(*(st.one_of(st.none(), st.just(UNCHANGED), values) for values in COLUMNS.values())).map(write_tuple)
)


def test_the_compiled_twins_are_there_where_they_can_be_built() -> None:
    assert HAS_COMPILER == row.COMPILED == (rows.write_rows is not row_json.write_rows)
    assert copy_out.COMPILED == HAS_COMPILER
    assert (FASTEST_END is not plain_tuple.tuple_end) == HAS_COMPILER


@given(tuples)
def test_both_twins_split_a_tuple_alike(raw: bytes) -> None:
    assert row.read_tuple(raw) == tuple_data.read_tuple(raw)
    assert row.has_unchanged(raw) == tuple_data.has_unchanged(raw)


@given(st.one_of(st.binary(), st.builds(bytes.__add__, st.binary(max_size=3), tuples)), st.integers(0, 5))
def test_both_twins_find_the_same_end_or_the_same_mistake(data: bytes, start: int) -> None:
    ends = []
    for tuple_end in (FASTEST_END, plain_tuple.tuple_end):
        try:
            ends.append(str(tuple_end(data, start)))
        except ProtocolError as error:
            ends.append(str(error))
    assert ends[0] == ends[1]


@given(st.data(), tuples)
def test_both_twins_pick_alike(data: st.DataObject, raw: bytes) -> None:
    size = len(row.read_tuple(raw))
    indexes = tuple(data.draw(st.lists(st.integers(0, size - 1), max_size=4))) if size else ()
    picked = row.pick(raw, indexes)
    assert picked == tuple_data.pick(raw, indexes)
    expected: list[Value] = [row.read_tuple(raw)[index] for index in indexes]
    assert picked == (tuple(expected) if all(isinstance(value, bytes) for value in expected) else None)


@pytest.mark.skipif(not row.COMPILED, reason="Python's own slicing forgives what C must not")
@given(tuples, st.data())
def test_a_tuple_cut_short_is_an_error_and_not_a_look_beyond_its_end(raw: bytes, data: st.DataObject) -> None:
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    with pytest.raises(ValueError, match="cut short"):
        row.read_tuple(cut)


@given(d1_rows)
def test_both_twins_write_the_same_json_for_d1(raw_rows: list[bytes]) -> None:
    written = rows.write_rows(raw_rows, FORM.shapes, FORM.encoders)
    assert written == row_json.write_rows(raw_rows, FORM.shapes, FORM.encoders)
