import contextlib
import math
import struct

import cbor2
import pytest
from cbor2 import CBORTag
from hypothesis import given, settings
from hypothesis import strategies as st

from walsync.errors import TargetRefused
from walsync.source.pgtype import Kind, PgType
from walsync.target.surrealdb.values import ValueForm, record_id, value_form

INTEGER = PgType(23, "integer")
BIGINT = PgType(20, "bigint")
NUMERIC = PgType(1700, "numeric")
TEXT = PgType(25, "text")
BYTEA = PgType(17, "bytea")
BOOLEAN = PgType(16, "boolean")
FLOAT8 = PgType(701, "double precision")
UUID = PgType(2950, "uuid")
JSON = PgType(114, "json")
JSONB = PgType(3802, "jsonb")
POINT = PgType(600, "point")
TIMESTAMP = PgType(1114, "timestamp without time zone")
TIMESTAMPTZ = PgType(1184, "timestamp with time zone")
INTERVAL = PgType(1186, "interval")
HSTORE = PgType(16500, "ext.hstore")
PAIR = PgType(16600, "public.pair", Kind.COMPOSITE, attributes=(("n", INTEGER), ("id", TEXT)))
RANGE = PgType(3906, "numrange", Kind.RANGE, NUMERIC)
MULTIRANGE = PgType(4532, "nummultirange", Kind.MULTIRANGE, RANGE)
ENUM = PgType(16700, "public.mood", Kind.ENUM)


def array(element: PgType) -> PgType:
    return PgType(0, f"{element.name}[]", Kind.ARRAY, element)


TYPES = [
    *(
        INTEGER,
        BIGINT,
        NUMERIC,
        TEXT,
        BYTEA,
        BOOLEAN,
        FLOAT8,
        UUID,
        JSON,
        JSONB,
        POINT,
        TIMESTAMP,
        TIMESTAMPTZ,
        INTERVAL,
    ),
    *(HSTORE, PAIR, RANGE, MULTIRANGE, ENUM, array(INTEGER), array(PAIR), array(JSONB), array(MULTIRANGE)),
]
FORMS = [value_form("public.t.c", type_) for type_ in TYPES]


def decimal(text: str) -> CBORTag:
    return CBORTag(10, text)


def range_object(**given: object) -> dict[str, object]:
    return {"lo": None, "hi": None, "lo_inc": False, "hi_inc": False, "empty": False, **given}


@pytest.mark.parametrize(
    ("type_", "text", "expected"),
    [
        (BIGINT, "-9223372036854775808", -(2**63)),
        (BOOLEAN, "t", True),
        (NUMERIC, "1.10", decimal("1.10")),
        (NUMERIC, "79228162514264337593543950335", decimal("79228162514264337593543950335")),
        (NUMERIC, "79228162514264337593543950336", "79228162514264337593543950336"),
        (NUMERIC, "0.0000000000000000000000000001", decimal("0.0000000000000000000000000001")),
        (NUMERIC, "0.00000000000000000000000000010", "0.00000000000000000000000000010"),
        (NUMERIC, "-Infinity", "-Infinity"),
        (FLOAT8, "5", 5.0),
        (UUID, "00112233-4455-6677-8899-aabbccddeeff", CBORTag(37, bytes.fromhex("00112233445566778899aabbccddeeff"))),
        (BYTEA, "\\x00ff", b"\x00\xff"),
        (TIMESTAMPTZ, "1969-12-31 23:59:59.5+00", CBORTag(12, [-1, 500_000_000])),
        (TIMESTAMP, "0044-03-15 00:00:00 BC", CBORTag(12, [-63_517_824_000, 0])),
        (TIMESTAMPTZ, "262142-12-31 23:59:59.999999+00", CBORTag(12, [8_210_266_876_799, 999_999_000])),
        (TIMESTAMPTZ, "262143-01-01 00:00:00+00", "262143-01-01 00:00:00+00"),
        (TIMESTAMPTZ, "-infinity", "-infinity"),
        (INTERVAL, "-1 mons +30 days", {"months": -1, "days": 30, "us": 0}),
        (INTERVAL, "infinity", "infinity"),
        (POINT, "(1.5,-0)", CBORTag(88, [1.5, -0.0])),
        (ENUM, "it's", "it's"),
        (TEXT, "PT5S", "PT5S"),
        (HSTORE, '"a"=>"1", "b"=>NULL', {"a": "1", "b": None}),
        (PAIR, "(1,)", {"n": 1, "id": None}),
        (RANGE, "[1.10,)", range_object(lo=decimal("1.10"), lo_inc=True)),
        (RANGE, "empty", range_object(empty=True)),
        (MULTIRANGE, "{[1,2)}", [range_object(lo=decimal("1"), hi=decimal("2"), lo_inc=True)]),
        (array(INTEGER), "{{1,NULL},{3,4}}", [[1, None], [3, 4]]),
        (array(INTEGER), "[0:1]={1,2}", "[0:1]={1,2}"),
        (array(array(INTEGER)), '{"{1}",NULL}', [[1], None]),
        (array(JSONB), '{"[1, 2]",NULL,"null"}', [[1, 2], None, {"$json": "null"}]),
        (array(JSONB), '{{"[1]"},{"[2]"}}', '{{"[1]"},{"[2]"}}'),
        (JSONB, '{"a": [1, null, 1.10, true]}', {"a": [1, None, decimal("1.10"), True]}),
        (JSONB, '"x"', "x"),
        (JSONB, "null", {"$json": "null"}),
        (JSONB, '{"$json": 1}', {"$json": '{"$json": 1}'}),
        (JSONB, '[{"$json": 1}]', [{"$json": 1}]),
        (JSONB, "9223372036854775807", 2**63 - 1),
        (JSONB, "9223372036854775808", decimal("9223372036854775808")),
        (JSONB, "-9223372036854775808", -(2**63)),
        (JSONB, "1" * 30, {"$json": "1" * 30}),
        (JSONB, "[" * 64 + "]" * 64, None),
        (JSONB, "[" * 65 + "]" * 65, {"$json": "[" * 65 + "]" * 65}),
        (JSON, '{ "b":1e2, "a":1.50 }', {"b": 100, "a": decimal("1.50")}),
        (JSON, '{"a":1,"a":2}', {"$json": '{"a":1,"a":2}'}),
        (JSON, "-0", {"$json": "-0"}),
        (JSON, "-0.0", {"$json": "-0.0"}),
        (JSON, '"\\u0000"', {"$json": '"\\u0000"'}),
        (JSON, '{"\\ud800":1}', {"$json": '{"\\ud800":1}'}),
        (JSON, '"\\u00e4"', "ä"),
        (JSON, "1e99999999999999999999", {"$json": "1e99999999999999999999"}),
        (JSON, "[" * 100_000 + "]" * 100_000, {"$json": "[" * 100_000 + "]" * 100_000}),
    ],
    ids=lambda given: str(given)[:40],
)
def test_a_value_becomes_what_surrealdb_holds_exactly(type_: PgType, text: str, expected: object) -> None:
    form = value_form("public.t.c", type_)
    found = form.encode(text.encode())
    if expected is not None:
        assert (type(found), found) == (type(expected), expected)
    if type_ is not JSON:
        assert form.decode(cbor2.loads(cbor2.dumps(found))) == text.encode()


@pytest.mark.parametrize(
    "text", ["0", "-0", "NaN", "Infinity", "-Infinity", "1", "5e-324", "1.7976931348623157e+308", "0.1"]
)
def test_floats_stay_floats_in_cbor_with_their_bits(text: str) -> None:
    found = cbor2.loads(cbor2.dumps(value_form("c", FLOAT8).encode(text.encode())))
    assert isinstance(found, float)
    expected = float(text)
    assert math.isnan(found) if math.isnan(expected) else struct.pack("<d", found) == struct.pack("<d", expected)


def test_json_comes_back_as_jsonb_prints_it() -> None:
    form = value_form("c", JSON)
    assert form.decode(form.encode(b'{"bb":1, "c" :\t[ 1.50,"\\u00e4"]}')) == '{"c": [1.50, "ä"], "bb": 1}'.encode()
    assert form.decode(form.encode(b'{"bb":1,"bb":2}')) == b'{"bb":1,"bb":2}'


def test_null_stays_null() -> None:
    for type_ in TYPES:
        form = value_form("public.t.c", type_)
        assert (form.encode(None), form.decode(None)) == (None, None)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (BIGINT, b"9223372036854775808"), (INTEGER, b"1.0"), (BOOLEAN, b"true"), (NUMERIC, b"1e5"), (FLOAT8, b"1_0"),
        (UUID, b"x"), (BYTEA, b"\\000"), (BYTEA, b"00"), (TIMESTAMPTZ, b"tomorrow"), (INTERVAL, b""),
        (INTERVAL, b"P1Y"), (POINT, b"(1,2,3)"), (JSONB, b"{"), (JSON, b"NaN"), (array(INTEGER), b"{x}"),
        (PAIR, b"(1)"), (RANGE, b"[1,2"), (MULTIRANGE, b"[1,2)"), (HSTORE, b"a"),
    ],
)  # fmt: skip
def test_what_is_not_the_text_of_its_type_is_refused(type_: PgType, value: bytes) -> None:
    with pytest.raises(TargetRefused, match=r"public\.t\.c") as refused:
        value_form("public.t.c", type_).encode(value)
    assert refused.value.code == "WS4402"


@pytest.mark.parametrize("type_", TYPES)
def test_what_is_not_utf_8_is_refused(type_: PgType) -> None:
    with pytest.raises(TargetRefused) as refused:
        value_form("public.t.c", type_).encode(b"\xff")
    assert refused.value.code == "WS4401"


@settings(max_examples=1000)
@given(
    form=st.sampled_from(FORMS),
    value=st.binary() | st.text('{}()[]",\\=>:0123456789.e+-NULtf day', max_size=30).map(str.encode),
)
def test_any_bytes_become_cbor_or_are_refused(form: ValueForm, value: bytes) -> None:
    with contextlib.suppress(TargetRefused):
        cbor2.dumps(form.encode(value))


def test_ints_texts_and_uuids_name_a_record_by_themselves() -> None:
    assert record_id("t", [value_form("c", BIGINT)], [b"-1"]) == CBORTag(8, ["t", -1])
    assert record_id("t", [value_form("c", TEXT)], [b"1"]) == CBORTag(8, ["t", "1"])
    uuid = record_id("t", [value_form("c", UUID)], [b"00112233-4455-6677-8899-aabbccddeeff"])
    assert uuid.value[1] == CBORTag(37, bytes.fromhex("00112233445566778899aabbccddeeff"))


def test_other_keys_and_keys_of_several_columns_are_arrays() -> None:
    assert record_id("t", [value_form("c", BOOLEAN)], [b"t"]) == CBORTag(8, ["t", [True]])
    assert record_id("t", [value_form("c", TIMESTAMPTZ)], [b"infinity"]) == CBORTag(8, ["t", ["infinity"]])
    for near in (b"9999-12-31 23:59:59.999999+00", b"0001-01-01 00:00:00+00 BC"):
        assert isinstance(record_id("t", [value_form("c", TIMESTAMPTZ)], [near]).value[1][0], CBORTag)
    for far in (b"10000-01-01 00:00:00+00", b"0002-12-31 23:59:59.999999+00 BC"):
        assert record_id("t", [value_form("c", TIMESTAMPTZ)], [far]) == CBORTag(8, ["t", [far.decode()]])
    forms = [value_form("c", TEXT), value_form("c", BIGINT)]
    assert record_id("t", forms, [b"a", b"1"]) == CBORTag(8, ["t", ["a", 1]])


@pytest.mark.parametrize("text", ["1.10", "1.1", "1.1000"])
def test_equal_decimals_name_the_same_record(text: str) -> None:
    assert record_id("t", [value_form("c", NUMERIC)], [text.encode()]) == CBORTag(8, ["t", [decimal("1.1")]])


@pytest.mark.parametrize(("text", "expected"), [("100", "100"), ("0.00", "0"), ("-10.0", "-10")])
def test_a_decimal_in_a_key_loses_only_zeros_behind_the_point(text: str, expected: str) -> None:
    assert record_id("t", [value_form("c", NUMERIC)], [text.encode()]).value[1] == [decimal(expected)]
