import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walsync.pgtext.array import Array, read_array, write_array
from walsync.pgtext.floating import write_float4, write_float8
from walsync.pgtext.hstore import read_hstore, write_hstore
from walsync.pgtext.jsontext import DuplicateKeyError, read_json, write_jsonb
from walsync.pgtext.moment import (
    Interval,
    read_interval,
    read_timestamp,
    write_interval,
    write_timestamp,
)
from walsync.pgtext.record import (
    EMPTY,
    Range,
    read_composite,
    read_multirange,
    read_range,
    write_composite,
    write_multirange,
    write_range,
)

MICROSECONDS_OF_A_DAY = 86_400_000_000
READERS: dict[str, Callable[[str], object]] = {
    "array": read_array,
    "array of box": lambda text: read_array(text, ";"),
    "composite": read_composite,
    "range": read_range,
    "multirange": read_multirange,
    "hstore": read_hstore,
    "timestamp": read_timestamp,
    "interval": read_interval,
    "json": lambda text: read_json(text, str),
}

# Marks more often than letters: a text that is nearly right says most about a reader.
marks = st.text(st.one_of(st.sampled_from('{}[]()",\\=:;>- \t\nNUL0123456789empty'), st.characters()), max_size=40)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
elements = st.none() | texts


def rectangular(lengths: tuple[int, ...]) -> st.SearchStrategy[list[object]]:
    inner: st.SearchStrategy[object] = rectangular(lengths[1:]) if len(lengths) > 1 else elements
    return st.lists(inner, min_size=lengths[0], max_size=lengths[0])


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    lengths = tuple(draw(st.sampled_from([(), (1,), (3,), (2, 2), (1, 3), (2, 1, 2), (1, 1, 1, 1, 1, 2)])))
    bounds = tuple(draw(st.integers(-9, 9)) if draw(st.booleans()) else 1 for _ in lengths)
    return Array(draw(rectangular(lengths)) if lengths else [], bounds)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    if draw(st.booleans()):
        return EMPTY
    return Range(
        draw(elements),
        draw(elements),
        lower_inclusive=draw(st.booleans()),
        upper_inclusive=draw(st.booleans()),
        empty=False,
    )


@pytest.mark.parametrize("reader", READERS)
@given(text=marks)
def test_any_text_is_read_or_raises_a_value_error(reader: str, text: str) -> None:
    with contextlib.suppress(ValueError):
        READERS[reader](text)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "text", ['"' * 100_000, "{" * 100_000, '{"' + "\\" * 100_001, '("' + '"' * 100_001, "[" * 3000]
)
def test_a_long_text_that_is_wrong_costs_no_more_than_one_pass(reader: str, text: str) -> None:
    with pytest.raises((ValueError, RecursionError)):
        READERS[reader](text)


@given(arrays(), st.sampled_from(",;"))
def test_an_array_survives_writing_and_reading(array: Array, delimiter: str) -> None:
    text = write_array(array, delimiter)
    assert read_array(text, delimiter) == array
    assert Array.from_nested(array.nested(str.encode), bytes.decode).items == array.items


@given(st.lists(elements, min_size=1))
def test_a_composite_survives_writing_and_reading(fields: list[str | None]) -> None:
    assert read_composite(write_composite(fields)) == fields


@given(st.lists(ranges()))
def test_ranges_survive_writing_and_reading(several: list[Range]) -> None:
    assert [read_range(write_range(one)) for one in several] == several
    assert read_multirange(write_multirange(several)) == several


@given(st.dictionaries(texts, elements))
def test_an_hstore_survives_writing_and_reading(pairs: dict[str, str | None]) -> None:
    assert read_hstore(write_hstore(pairs)) == pairs


@given(st.integers(-211_813_488_000_000_000, 9_224_318_015_999_999_999))
def test_a_timestamp_survives_writing_and_reading(microseconds: int) -> None:
    text = write_timestamp(microseconds, zone="+00")
    assert read_timestamp(text) == microseconds


@given(st.builds(Interval, *[st.integers(-(2**31), 2**31 - 1)] * 2, st.integers(-(2**63), 2**63 - 1)))
def test_an_interval_survives_writing_and_reading(interval: Interval) -> None:
    assert read_interval(write_interval(interval)) == interval


@pytest.mark.parametrize(
    ("text", "items", "bounds"),
    [
        ("{}", [], ()),
        ("{1,NULL,3}", ["1", None, "3"], (1,)),
        ('{"NULL",NULL,"null",""}', ["NULL", None, "null", ""], (1,)),
        ("[2:3][0:1]={{1,2},{3,4}}", [["1", "2"], ["3", "4"]], (2, 0)),
        ("[-1:0]={a,b}", ["a", "b"], (-1,)),
        (r'{"a\"b","c\\d","{}"," "}', ['a"b', "c\\d", "{}", " "], (1,)),
    ],
)
def test_arrays_are_read_as_the_server_prints_them(text: str, items: list[object], bounds: tuple[int, ...]) -> None:
    assert read_array(text) == Array(items, bounds)
    assert write_array(Array(items, bounds)) == text


def test_the_elements_of_a_box_array_keep_their_commas() -> None:
    assert read_array("{(1,1),(0,0);(2,2),(1,1)}", ";").items == ["(1,1),(0,0)", "(2,2),(1,1)"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "}", "{}{}", "{1", "{1,}", "{,1}", "{{1},2}", "{1,{2}}", "{{1},{2,3}}", '{"a}', '{"a"b}', "{{},{}}",
     "[1:2]={1}", "[1:1]={1}", "[0:0][0:0]={1}", "[1:1={1}", "{1}x", "{\\}", "{{{{{{{1}}}}}}}"],
)  # fmt: skip
def test_what_is_no_array_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="array"):
        read_array(text)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("()", [None]),
        ('("")', [""]),
        ('(1,"b c",)', ["1", "b c", None]),
        (r'("a""b\\c",",()")', ['a"b\\c', ",()"]),
        ('("(1,""{""""a"""",2}"")",)', ['(1,"{""a"",2}")', None]),
    ],
)
def test_composites_are_read_as_the_server_prints_them(text: str, fields: list[str | None]) -> None:
    assert read_composite(text) == fields
    assert write_composite(fields) == text


@pytest.mark.parametrize("text", ["", "1,2", "(1,2", "(1 2)", '("a)', "(1)2", "(()", '(a"b")'])
def test_what_is_no_composite_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="composite"):
        read_composite(text)


@pytest.mark.parametrize(
    "text", ["empty", "[1,2)", "(,)", "[,5]", '["2024-01-01 00:00:00",infinity]', '["",a)', '["""","\\\\"]']
)
def test_ranges_are_written_as_they_were_read(text: str) -> None:
    assert write_range(read_range(text)) == text


@pytest.mark.parametrize("text", ["{}", "{[1,2)}", "{(,1],[3,)}", '{["a,b",}]}'])
def test_multiranges_are_written_as_they_were_read(text: str) -> None:
    assert write_multirange(read_multirange(text)) == text


@pytest.mark.parametrize("text", ["", "{", "{[1,2)", "[1,2)", "{[1,2)[3,4)}", "{[1,2),}", "{,}", "{[1,2)}}"])
def test_what_is_no_multirange_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="multirange"):
        read_multirange(text)


def test_hstore_tells_the_text_null_from_null_and_keeps_the_servers_order() -> None:
    text = r'"b"=>NULL, "z"=>"NULL", "aa"=>"\"\\", "ä"=>""'
    pairs = {"b": None, "z": "NULL", "aa": '"\\', "ä": ""}
    assert read_hstore(text) == pairs
    assert write_hstore(dict(reversed(pairs.items()))) == text
    assert read_hstore("") == {}


@pytest.mark.parametrize(
    "text", ["a", '"a"', '"a"=>', '"a"=>b', '"a"=>"b",', '"a"=>"b", ', '"a"=>"1", "a"=>"2"', ' "a"=>"b"']
)
def test_what_is_no_hstore_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="hstore"):
        read_hstore(text)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"), (-0.0, "-0"), (1.0, "1"), (-1.5, "-1.5"), (0.0001, "0.0001"), (0.00001, "1e-05"),
        (5e-324, "5e-324"), (1e14, "100000000000000"), (1e15, "1e+15"), (1.25e300, "1.25e+300"),
        (float("nan"), "NaN"), (float("-inf"), "-Infinity"),
        # 8.41e21 and 3.105696044239097e16 lie halfway between two doubles: the server does not rely on who rounds how.
        (8.41e21, "8.409999999999999e+21"), (3.105696044239097e16, "3.1056960442390968e+16"),
    ],
)  # fmt: skip
def test_doubles_are_written_as_the_server_prints_them(number: float, text: str) -> None:
    assert write_float8(number) == text


def test_a_float4_gets_its_exponent_earlier() -> None:
    assert [write_float4(number) for number in (123456.0, 1234567.0, 0.1, 1e-45)] == [
        "123456",
        "1.234567e+06",
        "0.1",
        "1e-45",
    ]


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("1970-01-01 00:00:00", 0),
        ("1969-12-31 23:59:59.999999", -1),
        ("2000-02-29 12:00:00", 951_825_600_000_000),
        ("0001-01-01 00:00:00", -719_162 * MICROSECONDS_OF_A_DAY),
        ("0001-12-31 00:00:00 BC", -719_163 * MICROSECONDS_OF_A_DAY),
        ("4714-11-24 00:00:00 BC", -2_440_588 * MICROSECONDS_OF_A_DAY),
        ("294276-12-31 23:59:59.999999", 9_224_318_015_999_999_999),
    ],
)
def test_timestamps_of_all_eras_are_counted_in_microseconds(text: str, microseconds: int) -> None:
    assert read_timestamp(text) == microseconds
    assert write_timestamp(microseconds) == text


@pytest.mark.parametrize(
    "text", ["", "2024-13-01 00:00:00", "2024-00-01 00:00:00", "2024-01-01", "2024-01-01 00:00:00+05:30"]
)
def test_what_is_no_timestamp_in_utc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        read_timestamp(text)


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("00:00:00", Interval(0, 0, 0)),
        ("1 year 2 mons -3 days +04:05:06.5", Interval(14, -3, 14_706_500_000)),
        ("-1 years -2 mons +3 days -04:05:06.789", Interval(-14, 3, -14_706_789_000)),
        ("-1 mons +00:00:01", Interval(-1, 0, 1_000_000)),
        ("1 mon -1 days", Interval(1, -1, 0)),
        ("2562047788:00:54.775807", Interval(0, 0, 2**63 - 1)),
        ("-2562047788:00:54.775808", Interval(0, 0, -(2**63))),
    ],
)
def test_intervals_keep_months_days_and_time_apart(text: str, interval: Interval) -> None:
    assert read_interval(text) == interval
    assert write_interval(interval) == text


def test_infinity_is_no_number_of_microseconds() -> None:
    assert [read_timestamp("infinity"), read_interval("-infinity")] == [None, None]


def test_json_is_read_with_every_digit_and_written_as_jsonb() -> None:
    document = read_json('{"bb":[1.10,null,"\\u00e4\\n\\u0001"],"a":1e2,"":true}', str.upper)
    assert document == {"bb": ["1.10", None, "ä\n\x01"], "a": "1E2", "": True}
    assert (
        write_jsonb({"bb": [1, None, "ä\n\x01"], "a": 2, "": True}, str)
        == '{"": true, "a": 2, "bb": [1, null, "ä\\n\\u0001"]}'
    )


def test_a_json_object_with_a_key_twice_is_no_mapping() -> None:
    with pytest.raises(DuplicateKeyError):
        read_json('{"a":1,"a":1}', str)
