"""A row's values as they came: raw tuple bytes until somebody reads them, then one value per column in Postgres text.

A raw tuple is pgoutput's TupleData: a 16-bit column count, then per column ``n`` (NULL), ``u`` (unsent TOAST value) or
``t`` with a 32-bit length and the text. The functions here trust their input: `pgoutput.tuple` has checked its bounds.
A snapshot's rows come as lines of COPY text, with a tab between the values and escapes inside them.
"""

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from struct import Struct
from typing import Final, Literal, TypeAlias


class Unchanged(Enum):
    """The type of the one marker below."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged.UNCHANGED
"""A TOAST value that the server did not send because the UPDATE left it alone; it is not NULL."""

Value: TypeAlias = bytes | Literal[Unchanged.UNCHANGED] | None
"""Text in the server's output form and UTF-8, or NULL, or UNCHANGED."""

_COUNT: Final = Struct("!H")
_LENGTH: Final = Struct("!I")
_NULL, _UNCHANGED, _TEXT = b"nut"

_COPY_NULL: Final = b"\\N"
_COPY_SPECIAL: Final = re.compile(rb"[\\\t\n\r]")
_COPY_ESCAPES: Final = {b"\\": b"\\\\", b"\t": b"\\t", b"\n": b"\\n", b"\r": b"\\r"}
_COPY_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_COPY_CHARACTERS: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def read_tuple(raw: bytes) -> list[Value]:
    """Split a checked raw tuple into one value per column."""
    values: list[Value] = []
    # Bound once: every row of every target that reads columns passes here, and this is a third of its time.
    append, length_at = values.append, _LENGTH.unpack_from
    position = 2
    for _ in range(_COUNT.unpack_from(raw)[0]):
        kind = raw[position]
        position += 1
        if kind == _TEXT:
            start = position + 4
            position = start + length_at(raw, position)[0]
            append(raw[start:position])
        else:
            append(None if kind == _NULL else UNCHANGED)
    return values


def write_tuple(values: Sequence[Value]) -> bytes:
    """Join values into a raw tuple: the inverse of `read_tuple`."""
    parts = [_COUNT.pack(len(values))]
    for value in values:
        if value is None:
            parts.append(b"n")
        elif value is UNCHANGED:
            parts.append(b"u")
        else:
            parts.append(b"t" + _LENGTH.pack(len(value)) + value)
    return b"".join(parts)


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
