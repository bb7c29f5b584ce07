"""Timestamps as microseconds since 1970 and intervals as months, days and microseconds, and back to the same text."""

import re
from typing import Final, NamedTuple

MICROSECONDS: Final = 1_000_000

_TIMESTAMP: Final = re.compile(r"(\d{4,6})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(\+00)?( BC)?", re.ASCII)
_INTERVAL: Final = re.compile(
    r"(?=.)(?:(-?\d+) years?)?(?: ?([+-]?\d+) mons?)?(?: ?([+-]?\d+) days?)?"
    r"(?: ?([+-])?(\d{2,}):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?",
    re.ASCII,
)
_ERA_DAYS: Final = 146_097  # 400 years of the Gregorian calendar
_EPOCH_SHIFT: Final = 719_468  # days from 0000-03-01 to 1970-01-01


class Interval(NamedTuple):
    """What the server stores of an interval."""

    months: int
    days: int
    microseconds: int


def read_timestamp(text: str) -> int | None:
    """Read a timestamp, with time zone UTC or without; None for infinity and -infinity."""
    if text in ("infinity", "-infinity"):
        return None
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        raise ValueError("a timestamp that is no timestamp")
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    if found[9]:
        year = 1 - year
    days = _days(year, month, day)
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    return seconds * MICROSECONDS + _fraction(found[7])


def write_timestamp(microseconds: int, *, zone: str = "") -> str:
    """Write a timestamp as the server prints it; `zone` is ``+00`` for one with time zone."""
    seconds, fraction = divmod(microseconds, MICROSECONDS)
    days, second = divmod(seconds, 86_400)
    year, month, day = _date(days)
    era = ""
    if year <= 0:
        year, era = 1 - year, " BC"
    clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}{_write_fraction(fraction)}"
    return f"{year:04d}-{month:02d}-{day:02d} {clock}{zone}{era}"


def read_interval(text: str) -> Interval | None:
    """Read an interval; None for infinity and -infinity (17 and later)."""
    if text in ("infinity", "-infinity"):
        return None
    found = _INTERVAL.fullmatch(text)
    if found is None:
        raise ValueError("an interval that is no interval")
    years, months, days, sign, hours, minutes, seconds, fraction = found.groups()
    whole = (int(hours or 0) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)
    microseconds = whole * MICROSECONDS + _fraction(fraction)
    return Interval(
        int(years or 0) * 12 + int(months or 0), int(days or 0), -microseconds if sign == "-" else microseconds
    )


def write_interval(value: Interval) -> str:
    """Write an interval as the server prints it; a plus stands where the part before it is negative."""
    sign = -1 if value.months < 0 else 1
    years, months = (sign * part for part in divmod(abs(value.months), 12))
    parts: list[str] = []
    is_negative = False
    for number, name in ((years, "year"), (months, "mon"), (value.days, "day")):
        if number:
            plus = "+" if is_negative and number > 0 else ""
            parts.append(f"{plus}{number} {name}{'' if number == 1 else 's'}")
            is_negative = number < 0
    if value.microseconds or not parts:
        whole, fraction = divmod(abs(value.microseconds), MICROSECONDS)
        mark = "-" if value.microseconds < 0 else "+" if is_negative else ""
        clock = f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{_write_fraction(fraction)}"
        parts.append(mark + clock)
    return " ".join(parts)


def _fraction(digits: str | None) -> int:
    return int(digits.ljust(6, "0")) if digits else 0


def _write_fraction(microseconds: int) -> str:
    return f".{microseconds:06d}".rstrip("0") if microseconds else ""


def _days(year: int, month: int, day: int) -> int:
    """Count the days since 1970; datetime.date ends at the year 9999. Years begin in March: the leap day is last."""
    if not (1 <= month <= 12 and 1 <= day <= 31):  # noqa: PLR2004 - the calendar's own numbers
        raise ValueError("a date that is no date")
    if month <= 2:  # noqa: PLR2004 - January and February belong to the year before
        year -= 1
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * _ERA_DAYS + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - _EPOCH_SHIFT


def _date(days: int) -> tuple[int, int, int]:
    era, day_of_era = divmod(days + _EPOCH_SHIFT, _ERA_DAYS)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = (shifted + 2) % 12 + 1
    return era * 400 + year_of_era + (month <= 2), month, day_of_year - (153 * shifted + 2) // 5 + 1  # noqa: PLR2004
