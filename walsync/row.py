"""A row's values as they came: raw tuple bytes until somebody reads them, then one value per column in Postgres text.

A raw tuple is pgoutput's TupleData: a 16-bit column count, then per column ``n`` (NULL), ``u`` (unsent TOAST value) or
``t`` with a 32-bit length and the text. The functions here trust their input: `pgoutput.tuple` has checked its bounds.
"""

from collections.abc import Sequence
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


def read_tuple(raw: bytes) -> list[Value]:
    """Split a checked raw tuple into one value per column."""
    values: list[Value] = []
    position = 2
    for _ in range(_COUNT.unpack_from(raw)[0]):
        kind = raw[position]
        position += 1
        if kind == _TEXT:
            start = position + 4
            position = start + _LENGTH.unpack_from(raw, position)[0]
            values.append(raw[start:position])
        else:
            values.append(None if kind == _NULL else UNCHANGED)
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
