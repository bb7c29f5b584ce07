"""Raw tuples in Python: split, picked from and written. `compiled` has a faster twin of all that reads."""

from collections.abc import Sequence
from struct import Struct
from typing import Final

from walsync.row.value import UNCHANGED, Value

_COUNT: Final = Struct("!H")
_LENGTH: Final = Struct("!I")
_NULL, _UNCHANGED, _TEXT = b"nut"
_AFTER_TEXT: Final = 5  # the kind and the length before a text


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


def pick(raw: bytes, indexes: tuple[int, ...]) -> tuple[bytes, ...] | None:
    """Take the texts at `indexes` out of a checked raw tuple; None where one of them is NULL or UNCHANGED."""
    found: dict[int, bytes] = {}
    position = 2
    for index in range(max(indexes, default=-1) + 1):
        if raw[position] != _TEXT:
            position += 1
            continue
        start = position + _AFTER_TEXT
        position = start + _LENGTH.unpack_from(raw, position + 1)[0]
        if index in indexes:
            found[index] = raw[start:position]
    return tuple(found[index] for index in indexes) if len(found) == len(set(indexes)) else None


def has_unchanged(raw: bytes) -> bool:
    """Tell whether a checked raw tuple leaves out an unchanged TOAST value."""
    if b"u" not in raw:
        return False
    position = 2
    for _ in range(_COUNT.unpack_from(raw)[0]):
        kind = raw[position]
        if kind == _UNCHANGED:
            return True
        position += 1 if kind == _NULL else _AFTER_TEXT + _LENGTH.unpack_from(raw, position + 1)[0]
    return False


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
