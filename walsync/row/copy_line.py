"""A snapshot's row as it comes: a line of COPY text, split into values and written again."""

import re
from collections.abc import Iterable
from typing import Final

from walsync.row.value import UNCHANGED, Value

_COPY_NULL: Final = b"\\N"
_COPY_SPECIAL: Final = re.compile(rb"[\\\t\n\r]")
_COPY_ESCAPES: Final = {b"\\": b"\\\\", b"\t": b"\\t", b"\n": b"\\n", b"\r": b"\\r"}
_COPY_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_COPY_CHARACTERS: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def read_copy_line(line: bytes) -> list[Value]:
    """Split a line of COPY text, with its newline or without, into one value per column; at least one column."""
    fields = line.removesuffix(b"\n").split(b"\t")
    if b"\\" not in line:
        return list(fields)
    return [_unescape(field) if b"\\" in field else field for field in fields]


def write_copy_line(values: Iterable[Value]) -> bytes:
    """Write a line of COPY text; an UNCHANGED value is NULL there, its reader has to know which ones are."""
    return b"\t".join(map(_copy_field, values)) + b"\n"


def _unescape(field: bytes) -> bytes | None:
    if field == _COPY_NULL:
        return None
    # Any other character stands for itself, says the manual.
    return _COPY_ESCAPED.sub(lambda found: _COPY_CHARACTERS.get(found[1], found[1]), field)


def _copy_field(value: Value) -> bytes:
    if value is None or value is UNCHANGED:
        return _COPY_NULL
    if _COPY_SPECIAL.search(value) is None:
        return value
    return _COPY_SPECIAL.sub(lambda found: _COPY_ESCAPES[found[0]], value)
