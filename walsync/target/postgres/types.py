"""Which types of the target hold every value of a source's type, unchanged and with the same text."""

import re
from typing import Final, NamedTuple

_TYPE: Final = re.compile(
    r"(?P<name>[^(\[]+?)(?:\((?P<modifiers>[-\d,]+)\))?(?P<rest> with(?:out)? time zone)?(?P<array>(?:\[\])?)"
)

_WIDER: Final = {
    # No real -> double precision: 0.1 would read 0.10000000149011612.
    "smallint": ("integer", "bigint", "numeric"),
    "integer": ("bigint", "numeric"),
    "bigint": ("numeric",),
    "character varying": ("text",),
    "text": ("character varying",),
}
"""To the plain form of the other type, without a limit."""

_LONGER: Final = ("character varying", "bit varying")
_MORE_PRECISE: Final = ("timestamp", "time", "interval")


class _Type(NamedTuple):
    name: str
    modifiers: tuple[int, ...]
    rest: str
    array: str


def holds(target: str, source: str) -> bool:
    """Tell whether `target` holds every value of `source`; both as format_type() writes them.

    Unknown to it means no: the answer for types that are not listed is equality.
    """
    if target == source:
        return True
    wide, narrow = _parse(target), _parse(source)
    if wide is None or narrow is None or (wide.array, wide.rest) != (narrow.array, narrow.rest):
        return False
    if wide.name != narrow.name:
        return not wide.modifiers and wide.name in _WIDER.get(narrow.name, ())
    if wide.name == "numeric":
        return not wide.modifiers or _same_scale(wide.modifiers, narrow.modifiers)
    if wide.name in (*_LONGER, *_MORE_PRECISE):
        return not wide.modifiers or bool(narrow.modifiers and wide.modifiers[0] >= narrow.modifiers[0])
    return False


def _same_scale(wide: tuple[int, ...], narrow: tuple[int, ...]) -> bool:
    """Only more digits before the point: another scale would add zeros or cut."""
    return len(narrow) == len(wide) and wide[1:] == narrow[1:] and wide[0] >= narrow[0]


def _parse(name: str) -> _Type | None:
    found = _TYPE.fullmatch(name)
    if found is None:
        return None
    modifiers = tuple(int(part) for part in (found["modifiers"] or "").split(",") if part)
    return _Type(found["name"], modifiers, found["rest"] or "", found["array"])
