import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walsync.source.description import TypeDescription
from walsync.wal2json.names import timestamp, type_name

EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("microseconds", "expected"),
    [
        (0, "2000-01-01 00:00:00+00"),
        (-1, "1999-12-31 23:59:59.999999+00"),
        (59_600_000, "2000-01-01 00:00:59.6+00"),
        (2**63 - 1, "infinity"),
        (-(2**63), "-infinity"),
        (-211813488000000000, "4714-11-24 00:00:00+00 BC"),
        (9223371331199999999, "294276-12-31 23:59:59.999999+00"),
    ],
)
def test_a_time_is_written_as_the_server_writes_it(microseconds: int, expected: str) -> None:
    assert timestamp(microseconds) == expected


@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_a_time_is_what_the_calendar_says(moment: dt.datetime) -> None:
    microseconds = (moment - EPOCH) // dt.timedelta(microseconds=1)
    day, _, clock = timestamp(microseconds).partition(" ")
    assert day == f"{moment.year:04}-{moment.month:02}-{moment.day:02}"
    assert dt.time.fromisoformat(clock) == moment.timetz()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("integer", b'"integer"'),
        ('"Mood Six"', b'"Mood Six"'),
        ('"Mood Six"[]', b'"\\"Mood Six\\"[]"'),
        ('"S x".t', b'"\\"S x\\".t"'),
        ('"two""quotes"', b'"\\"two\\"\\"quotes\\""'),
        ('"back\\slash"', b'"\\"back\\\\slash\\""'),
    ],
)
def test_a_quoted_name_keeps_its_quotes_as_jsons_only_where_that_is_json(name: str, expected: bytes) -> None:
    assert type_name(TypeDescription(1, name, "plain"), typmod=True) == expected
    assert type_name(TypeDescription(1, name, "plain"), typmod=False) == b'"plain"'
