"""Names of types as wal2json puts them into JSON, and the text of a timestamp."""

import re
from typing import Final

from walsync.source.description import TypeDescription
from walsync.wal2json.values import quote_text

_QUOTED: Final = re.compile(r'"[^"\\\x00-\x1f]*"')

_MICROSECONDS_PER_DAY: Final = 86_400_000_000
_MICROSECONDS: Final = 1_000_000
_DAYS_0000_03_01_TO_2000: Final = 730_425
_JANUARY: Final = 10  # months after March
_INFINITY: Final = {2**63 - 1: "infinity", -(2**63): "-infinity"}


def type_name(described: TypeDescription, *, typmod: bool) -> bytes:
    """Write a type's name: a quoted identifier keeps its quotes as JSON's own, as the plugin does; the rest is escaped.

    The plugin does so with every name that begins with a quote, and breaks the JSON with some.
    """
    name = described.name if typmod else described.plain_name
    return name.encode() if _QUOTED.fullmatch(name) else quote_text(name)


def timestamp(microseconds: int) -> str:
    """Write a commit time, given in microseconds since 2000-01-01 UTC, as the server does in UTC.

    A replication origin may have set any time at all, so Python's own calendar is too short.
    """
    if microseconds in _INFINITY:
        return _INFINITY[microseconds]
    days, time = divmod(microseconds, _MICROSECONDS_PER_DAY)
    year, month, day = _date(days)
    seconds, fraction = divmod(time, _MICROSECONDS)
    digits = f".{fraction:06}".rstrip("0") if fraction else ""
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{digits}+00"
    return f"{year:04}-{month:02}-{day:02} {clock}" if year > 0 else f"{1 - year:04}-{month:02}-{day:02} {clock} BC"


def _date(days_since_2000: int) -> tuple[int, int, int]:
    # Years that begin in March put the leap day last; 400 of them have 146,097 days.
    era, day = divmod(days_since_2000 + _DAYS_0000_03_01_TO_2000, 146_097)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    return year + 400 * era + (month >= _JANUARY), (month + 2) % 12 + 1, day + 1
