"""What a real server prints goes through D1's JSON and SQL into SQLite, and comes back as the same text."""

import random
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from random import Random

import pytest
from property.value_families import FAMILIES, Family, describe, printed, texts

from walsync.errors import TargetRefused
from walsync.postgres import Connection
from walsync.row import UNCHANGED, Value
from walsync.source.pgtype import PgType
from walsync.target.d1.values import VALUE_BYTES, ValueForm, value_form

BYTEA = PgType(17, "bytea")
TEXT = PgType(25, "text")
FLOAT8 = PgType(701, "double precision")
LARGEST_BYTEA = 999_997


@pytest.fixture
def d1() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, VALUE_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 100_000)
    if sqlite3.sqlite_version_info < (3, 41):
        connection.create_function("unhex", 1, lambda digits: None if digits is None else bytes.fromhex(digits))
    yield connection
    connection.close()


def store(d1: sqlite3.Connection, form: ValueForm, fragments: Sequence[bytes]) -> list[object]:
    d1.execute("DROP TABLE IF EXISTS t")
    d1.execute(f"CREATE TABLE t (i INTEGER PRIMARY KEY, v {form.column_type}) STRICT")
    for start in range(0, len(fragments), 100):
        chunk = enumerate(fragments[start : start + 100], start)
        rows = b",".join(b"[%d,%s]" % (i, fragment) for i, fragment in chunk)
        d1.execute(
            f"INSERT INTO t SELECT value->>0, {form.expression(1)} FROM json_each(?1)", ((b"[%s]" % rows).decode(),)
        )
    return [stored for (stored,) in d1.execute("SELECT v FROM t ORDER BY i")]


def encode(form: ValueForm, value: Value) -> bytes:
    assert value is not UNCHANGED
    return form.encode(value)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_value_comes_back_as_the_same_text(
    family: Family, values_session: Connection, d1: sqlite3.Connection
) -> None:
    values = texts(values_session, family, Random(random.getrandbits(64)))
    form = value_form(f"public.t.{family.name}", describe(values_session, family.name))
    stored = store(d1, form, [encode(form, value) for value in values])
    assert [form.decode(each) for each in stored] == values


def test_every_double_is_stored_with_its_very_bits(values_session: Connection, d1: sqlite3.Connection) -> None:
    patterns = [random.getrandbits(64) for _ in range(5000)]
    patterns += [random.getrandbits(random.randint(1, 52)) for _ in range(500)]  # subnormals
    patterns += [0, 1 << 63, 1, (1 << 63) + 1, 0x7FEF << 48, 0x7FEFFFFFFFFFFFFF, 0x0010000000000000, 0x000FFFFFFFFFFFFF]
    patterns = [bits for bits in patterns if bits >> 52 & 0x7FF != 0x7FF]
    doubles = [struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in patterns]
    values = printed(values_session, "double precision", [repr(double) for double in doubles])
    form = value_form("public.t.f", FLOAT8)
    stored = store(d1, form, [encode(form, value) for value in values])
    assert [struct.unpack("<Q", struct.pack("<d", each))[0] for each in stored] == patterns


def test_short_decimals_are_stored_with_their_very_bits(d1: sqlite3.Connection) -> None:
    numbers = [f"{random.randrange(10 ** random.randint(1, 11))}.{random.randrange(10**4):04d}" for _ in range(5000)]
    form = value_form("public.t.f", FLOAT8)
    stored = store(d1, form, [form.encode(number.encode()) for number in numbers])
    assert stored == [float(number) for number in numbers]


def test_the_largest_value_fits_into_a_parameter_and_the_next_is_refused(d1: sqlite3.Connection) -> None:
    form = value_form("public.files.body", BYTEA)
    largest = b"\\x" + b"ff" * LARGEST_BYTEA
    row = (b"[[%s]]" % form.encode(largest)).decode()
    assert d1.execute(f"SELECT {form.expression(0)} FROM json_each(?1)", (row,)).fetchall() == [
        (b"\xff" * LARGEST_BYTEA,)
    ]
    with pytest.raises(TargetRefused, match=r"public\.files\.body") as refused:
        form.encode(largest + b"ff")
    assert refused.value.code == "WS4403"


def test_a_text_that_escapes_make_too_large_is_refused() -> None:
    form = value_form("public.posts.body", TEXT)
    assert len(form.encode(b"a" * (VALUE_BYTES - 6))) == VALUE_BYTES - 4
    with pytest.raises(TargetRefused) as refused:
        form.encode(b'"' * (VALUE_BYTES // 2))
    assert refused.value.code == "WS4403"
