import contextlib

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walsync.errors import TargetRefused
from walsync.source.pgtype import Kind, PgType
from walsync.target.d1.values import ValueForm, value_form

INTEGER = PgType(23, "integer")
NUMERIC = PgType(1700, "numeric")
TEXT = PgType(25, "text")
BYTEA = PgType(17, "bytea")
BOOLEAN = PgType(16, "boolean")
FLOAT8 = PgType(701, "double precision")
FLOAT4 = PgType(700, "real")
JSON = PgType(114, "json")
TIMESTAMPTZ = PgType(1184, "timestamp with time zone")
HSTORE = PgType(16500, "ext.hstore")
PAIR = PgType(16600, "public.pair", Kind.COMPOSITE, attributes=(("n", INTEGER), ('b "c"', TEXT)))
RANGE = PgType(3904, "int4range", Kind.RANGE, INTEGER)
ENUM = PgType(16700, "public.mood", Kind.ENUM)
NOTHING = PgType(16800, "public.nothing", Kind.COMPOSITE)


def array(element: PgType) -> PgType:
    return PgType(0, f"{element.name}[]", Kind.ARRAY, element)


TYPES = [
    *(INTEGER, NUMERIC, TEXT, BYTEA, BOOLEAN, FLOAT8, FLOAT4, JSON, TIMESTAMPTZ, HSTORE, PAIR, RANGE, ENUM),
    *(array(each) for each in (INTEGER, FLOAT8, BOOLEAN, PAIR, HSTORE, array(INTEGER))),
]
FORMS = [value_form("public.t.c", type_) for type_ in TYPES]


@pytest.mark.parametrize(
    ("type_", "column_type", "text", "fragment"),
    [
        (INTEGER, "INTEGER", "-2147483648", "-2147483648"),
        (PgType(26, "oid"), "INTEGER", "4294967295", "4294967295"),
        (BOOLEAN, "INTEGER", "t", "1"),
        (NUMERIC, "TEXT", "1.10", '"1.10"'),
        (NUMERIC, "TEXT", "NaN", '"NaN"'),
        (PgType(790, "money"), "TEXT", "-$1,234.50", '"-$1,234.50"'),
        (FLOAT8, "ANY", "5", "5.0"),
        (FLOAT8, "ANY", "-0", "-0.0"),
        (FLOAT8, "ANY", "19.99", "19.99"),
        (FLOAT8, "ANY", "0.1", "0.1"),
        (FLOAT8, "ANY", "0.00012", "[8854437155380585,-66]"),
        (FLOAT8, "ANY", "1e+22", "[2384185791015625,22]"),
        (FLOAT8, "ANY", "5e-324", "[1,-1074]"),
        (FLOAT8, "ANY", "1.7976931348623157e+308", "[9007199254740991,971]"),
        (FLOAT8, "ANY", "-Infinity", '"-Infinity"'),
        (FLOAT4, "ANY", "0.1", "0.1"),
        (BYTEA, "BLOB", "\\x", '""'),
        (BYTEA, "BLOB", "\\x00ff", '"00ff"'),
        (TIMESTAMPTZ, "TEXT", "2024-02-29 12:00:00+00", '"2024-02-29T12:00:00.000000Z"'),
        (TIMESTAMPTZ, "TEXT", "2024-02-29 12:00:00.5+00", '"2024-02-29T12:00:00.500000Z"'),
        (TIMESTAMPTZ, "TEXT", "infinity", '"infinity"'),
        (TIMESTAMPTZ, "TEXT", "0044-03-15 00:00:00+00 BC", '"0044-03-15 00:00:00+00 BC"'),
        (TIMESTAMPTZ, "TEXT", "10000-01-01 00:00:00+00", '"10000-01-01 00:00:00+00"'),
        (JSON, "TEXT", '{ "a":1,"a":"\\u0000"}', '"{ \\"a\\":1,\\"a\\":\\"\\\\u0000\\"}"'),
        (TEXT, "TEXT", "\x01\x7f\u2028😀", '"\\u0001\x7f\u2028😀"'),
        (ENUM, "TEXT", "it's", '"it\'s"'),
        (RANGE, "TEXT", "[1,5)", '"[1,5)"'),
    ],
)
def test_a_value_becomes_a_piece_of_json(type_: PgType, column_type: str, text: str, fragment: str) -> None:
    form = value_form("public.t.c", type_)
    assert form.column_type == column_type
    assert form.encode(text.encode()).decode() == fragment


@pytest.mark.parametrize(
    ("type_", "text", "document"),
    [
        (array(INTEGER), "{1,NULL,-3}", "[1,null,-3]"),
        (array(INTEGER), "{{1,2},{3,4}}", "[[1,2],[3,4]]"),
        (array(INTEGER), "[0:1]={1,2}", '"[0:1]={1,2}"'),
        (array(INTEGER), "{}", "[]"),
        (array(array(INTEGER)), '{"{1,2}",NULL,"{}"}', "[[1,2],null,[]]"),
        (array(array(INTEGER)), '{{"{1}"},{"{2}"}}', '"{{\\"{1}\\"},{\\"{2}\\"}}"'),
        (array(TEXT), '{NULL,"NULL","a\\"b"}', '[null,"NULL","a\\"b"]'),
        (array(NUMERIC), "{1.10,NaN}", '["1.10","NaN"]'),
        (array(FLOAT8), "{1e+22,-0,NaN,0.1}", '[1e+22,-0,"NaN",0.1]'),
        (array(BOOLEAN), "{t,f}", "[true,false]"),
        (array(BYTEA), '{"\\\\x00ff"}', '["\\\\x00ff"]'),
        (array(JSON), '{"null",NULL,"{\\"a\\": 1}"}', '["null",null,"{\\"a\\": 1}"]'),
        (array(TIMESTAMPTZ), '{"2024-02-29 12:00:00+00"}', '["2024-02-29T12:00:00.000000Z"]'),
        (array(PAIR), '{"(1,)"}', '[{"n":1,"b \\"c\\"":null}]'),
        (PAIR, '(,"x ""y")', '{"n":null,"b \\"c\\"":"x \\"y"}'),
        (NOTHING, "()", "{}"),
        (HSTORE, '"a"=>"1", "b"=>NULL', '{"a":"1","b":null}'),
    ],
)
def test_a_structure_becomes_a_json_document_in_a_string(type_: PgType, text: str, document: str) -> None:
    form = value_form("public.t.c", type_)
    assert form.column_type == "TEXT"
    assert orjson.loads(form.encode(text.encode())) == document
    assert form.decode(document) == text.encode()


def test_null_stays_null() -> None:
    for type_ in TYPES:
        form = value_form("public.t.c", type_)
        assert (form.encode(None), form.decode(None)) == (b"null", None)


def test_an_expression_reads_its_place_in_the_row() -> None:
    assert value_form("c", INTEGER).expression(3) == "value->>3"
    assert value_form("c", BYTEA).expression(0, "old.value") == "unhex(old.value->>0)"
    assert len(value_form("c", FLOAT8).expression(99)) < 1000  # 100 columns of them fit into a statement


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (INTEGER, b"1,2"), (INTEGER, b""), (INTEGER, b"01"), (PgType(20, "bigint"), b"9223372036854775808"),
        (BOOLEAN, b"true"), (FLOAT8, b"1_0"), (FLOAT8, b"nan"),
        (FLOAT8, b"1e-400"),
        (BYTEA, b"\\000"), (BYTEA, b"\\x0"), (BYTEA, b"\\x0 0"), (array(INTEGER), b"{1"), (array(BOOLEAN), b"{x}"),
        (array(FLOAT8), b"{x}"), (PAIR, b"(1)"), (PAIR, b"(1,2,3)"), (HSTORE, b"a=>b"),
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
    value=st.binary() | st.text('{}()[]",\\=>0123456789.e+-NULtf ', max_size=30).map(str.encode),
)
def test_any_bytes_become_valid_json_or_are_refused(form: ValueForm, value: bytes) -> None:
    with contextlib.suppress(TargetRefused):
        orjson.loads(form.encode(value))
