"""What a type's codec is, and those of scalars: Postgres text <-> a Python object that cbor2 writes for SurrealDB.

Read back, SurrealDB's tags come as `CBORTag`, or as what cbor2 makes of them by itself (uuid).
"""

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from uuid import UUID

from cbor2 import CBORTag

from walsync.pgtext.floating import write_float4, write_float8
from walsync.pgtext.moment import (
    MICROSECONDS,
    Interval,
    read_interval,
    read_timestamp,
    write_interval,
    write_timestamp,
)

DECIMAL_TAG: Final = 10
DATETIME_TAG: Final = 12
UUID_TAG: Final = 37
POINT_TAG: Final = 88

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1
"""Beyond them the engine wraps around without a word."""

_DECIMAL: Final = re.compile(r"-?(\d{1,29})(?:\.(\d{1,28}))?", re.ASCII)
_DECIMAL_MANTISSA_MAX: Final = 2**96 - 1
_NUMERIC: Final = re.compile(r"-?\d+(?:\.\d+)?|NaN|-?Infinity", re.ASCII)
_INTEGER: Final = re.compile(r"-?\d+", re.ASCII)
_FLOAT: Final = re.compile(r"-?(?:\d+(?:\.\d+)?(?:e[+-]\d+)?|Infinity)|NaN", re.ASCII)
_POINT: Final = re.compile(r"\(([^,()]+),([^,()]+)\)")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# The engine's datetime reaches the end of the year 262142 on both sides of the year 0, measured on 2.3.10. Postgres
# begins in 4714 BC, and ends in 294276.
_DATETIME_END_SECONDS: Final = 8_210_266_876_800

_NANOSECONDS: Final = 1000
_BYTEA: Final = "\\x"


class Codec(NamedTuple):
    """A type's two directions; `may_be_list` where a value may become an array, which in an array hides its depth.

    `always_scalar_id` says that every value may stand alone as a record's id: an int, a string or a uuid.
    `equals_others` says that to the engine values of different texts may be equal: 1.10 and 1.1, 0 and -0.
    """

    to_object: Callable[[str], object]
    to_text: Callable[[Any], str]
    may_be_list: bool = False
    always_scalar_id: bool = False
    equals_others: bool = False


def decimal(text: str) -> CBORTag | None:
    """Make a decimal of plain digits where the engine keeps each of them, trailing zeros too; else None."""
    found = _DECIMAL.fullmatch(text)
    if found is None or int(found[1] + (found[2] or "")) > _DECIMAL_MANTISSA_MAX:
        return None
    return CBORTag(DECIMAL_TAG, text)


def _same(text: str) -> str:
    return text


def _integer(text: str) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise ValueError("an integer that is no integer")
    number = int(text)
    if not INTEGER_MIN <= number <= INTEGER_MAX:
        raise ValueError("an integer of more than 64 bits")
    return number


def _boolean(text: str) -> bool:
    if text not in ("t", "f"):
        raise ValueError("a boolean that is no boolean")
    return text == "t"


def _float(text: str) -> float:
    if _FLOAT.fullmatch(text) is None:
        raise ValueError("a float that is no float")
    return float(text)


def _numeric(text: str) -> CBORTag | str:
    number = decimal(text)
    if number is not None:
        return number
    if _NUMERIC.fullmatch(text) is None:
        raise ValueError("a numeric that is no numeric")
    return text


def _numeric_text(found: CBORTag | str) -> str:
    return found if isinstance(found, str) else str(found.value)


def _bytes(text: str) -> bytes:
    found = bytes.fromhex(text[2:])
    if text[:2] != _BYTEA or len(found) * 2 != len(text) - 2:
        raise ValueError("a bytea that is not in hex form")
    return found


def _uuid(text: str) -> CBORTag:
    # As bytes: the engine's CBOR takes them as they are.
    if _UUID.fullmatch(text) is None:
        raise ValueError("a uuid that is no uuid")
    return CBORTag(UUID_TAG, bytes.fromhex(text.replace("-", "")))


def _uuid_text(found: UUID | CBORTag) -> str:
    return str(found if isinstance(found, UUID) else UUID(bytes=found.value))


def _timestamp(text: str) -> CBORTag | str:
    microseconds = read_timestamp(text)
    if microseconds is None or microseconds >= _DATETIME_END_SECONDS * MICROSECONDS:
        return text
    seconds, fraction = divmod(microseconds, MICROSECONDS)
    return CBORTag(DATETIME_TAG, [seconds, fraction * _NANOSECONDS])


def _timestamp_codec(zone: str) -> Codec:
    def to_text(found: CBORTag | str) -> str:
        if isinstance(found, str):
            return found
        seconds, nanoseconds = found.value
        return write_timestamp(seconds * MICROSECONDS + nanoseconds // _NANOSECONDS, zone=zone)

    return Codec(_timestamp, to_text)


def _interval(text: str) -> dict[str, int] | str:
    found = read_interval(text)
    return text if found is None else {"months": found.months, "days": found.days, "us": found.microseconds}


def _interval_text(found: dict[str, int] | str) -> str:
    if isinstance(found, str):
        return found
    return write_interval(Interval(found["months"], found["days"], found["us"]))


def _point(text: str) -> CBORTag:
    found = _POINT.fullmatch(text)
    if found is None:
        raise ValueError("a point that is no point")
    return CBORTag(POINT_TAG, [_float(found[1]), _float(found[2])])


def _point_text(found: CBORTag) -> str:
    x, y = found.value
    return f"({write_float8(x)},{write_float8(y)})"


INTEGER: Final = Codec(_integer, str, always_scalar_id=True)
STRING: Final = Codec(_same, _same, always_scalar_id=True)
"""Also what every type has that is not listed."""

SCALARS: Final = {
    "smallint": INTEGER,
    "integer": INTEGER,
    "bigint": INTEGER,
    "oid": INTEGER,
    "boolean": Codec(_boolean, lambda truth: "t" if truth else "f"),
    "real": Codec(_float, write_float4, equals_others=True),
    "double precision": Codec(_float, write_float8, equals_others=True),
    "numeric": Codec(_numeric, _numeric_text, equals_others=True),
    "bytea": Codec(_bytes, lambda found: _BYTEA + found.hex()),
    "uuid": Codec(_uuid, _uuid_text, always_scalar_id=True),
    "timestamp without time zone": _timestamp_codec(""),
    "timestamp with time zone": _timestamp_codec("+00"),
    "interval": Codec(_interval, _interval_text),
    "point": Codec(_point, _point_text, equals_others=True),
}
