"""Composites, ranges and multiranges: three forms with one way of quoting."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

# A quote inside quotes is doubled, and so is a backslash; the server reads a backslash before anything else too.
_QUOTED: Final = r'"((?:[^"\\]++|""|\\.)*+)"'
_FIELD: Final = re.compile(rf'(?:{_QUOTED}|([^(),"\\ \t\n\r\v\f]*+))([,)])', re.DOTALL)
_BOUND: Final = rf'(?:{_QUOTED}|([^()\[\],"\\ \t\n\r\v\f]*+))'
_RANGE: Final = re.compile(rf"empty|([\[(]){_BOUND},{_BOUND}([\])])", re.DOTALL)

_ESCAPED: Final = re.compile(r'""|\\(.)', re.DOTALL)
_TO_DOUBLE: Final = re.compile(r'["\\]')
_FIELD_NEEDS_QUOTES: Final = re.compile(r'[(),"\\ \t\n\r\v\f]|\A\Z')
_BOUND_NEEDS_QUOTES: Final = re.compile(r'[()\[\],"\\ \t\n\r\v\f]|\A\Z')


class Range(NamedTuple):
    """A range; a bound that is None is infinite, and an empty range has no bounds."""

    lower: str | None
    upper: str | None
    lower_inclusive: bool
    upper_inclusive: bool
    empty: bool


EMPTY: Final = Range(None, None, lower_inclusive=False, upper_inclusive=False, empty=True)


def read_composite(text: str) -> list[str | None]:
    """Read a composite's attributes; ``()`` is one NULL, as for a type with one attribute."""
    if text[:1] != "(":
        raise ValueError("a composite that does not begin with a parenthesis")
    fields: list[str | None] = []
    position, mark = 1, ","
    while mark == ",":
        found = _FIELD.match(text, position)
        if found is None:
            raise ValueError("a composite that is no composite")
        fields.append(_part(found[1], found[2]))
        position, mark = found.end(), found[3]
    if position != len(text):
        raise ValueError("a composite with text behind it")
    return fields


def write_composite(fields: Iterable[str | None]) -> str:
    """Write a composite as the server prints it."""
    return "(" + ",".join(_write(field, _FIELD_NEEDS_QUOTES) for field in fields) + ")"


def read_range(text: str) -> Range:
    """Read a range, of whatever subtype."""
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ValueError("a range that is no range")
    return _range(found)


def write_range(value: Range) -> str:
    """Write a range as the server prints it."""
    if value.empty:
        return "empty"
    opening, closing = "[" if value.lower_inclusive else "(", "]" if value.upper_inclusive else ")"
    lower, upper = (_write(bound, _BOUND_NEEDS_QUOTES) for bound in (value.lower, value.upper))
    return f"{opening}{lower},{upper}{closing}"


def read_multirange(text: str) -> list[Range]:
    """Read a multirange."""
    if text == "{}":
        return []
    ranges: list[Range] = []
    position = 0
    while position < len(text) - 1:
        found = _RANGE.match(text, position + 1)
        if found is None or text[position] != ("," if ranges else "{"):
            break
        ranges.append(_range(found))
        position = found.end()
    if not ranges or text[position:] != "}":
        raise ValueError("a multirange that is no multirange")
    return ranges


def write_multirange(ranges: Sequence[Range]) -> str:
    """Write a multirange as the server prints it."""
    return "{" + ",".join(map(write_range, ranges)) + "}"


def _range(found: re.Match[str]) -> Range:
    if found[1] is None:
        return EMPTY
    return Range(
        _part(found[2], found[3]),
        _part(found[4], found[5]),
        lower_inclusive=found[1] == "[",
        upper_inclusive=found[6] == "]",
        empty=False,
    )


def _part(quoted: str | None, plain: str) -> str | None:
    if quoted is None:
        return plain or None
    return _ESCAPED.sub(lambda found: found[1] or '"', quoted) if '"' in quoted or "\\" in quoted else quoted


def _write(part: str | None, needs_quotes: re.Pattern[str]) -> str:
    if part is None:
        return ""
    return '"' + _TO_DOUBLE.sub(r"\g<0>\g<0>", part) + '"' if needs_quotes.search(part) else part
