"""Rows -> the JSON that ``json_each(?1)`` reads: an array of arrays, with what a column's form makes of each value.

`compiled` has a faster twin of `write_rows`. Pure.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from orjson import Fragment, dumps

from walsync.row import UNCHANGED, Value, read_tuple
from walsync.target.d1.values import NULL, Shape

Row: TypeAlias = list[str | Fragment | None]
"""A row on its way into a parameter: text as it is, everything else as a piece of JSON."""

Encode: TypeAlias = Callable[[bytes | None], bytes]

_ZERO: Final = b"0"[0]


def write_rows(rows: Iterable[bytes], shapes: tuple[int, ...], encoders: tuple[Encode, ...]) -> bytes:
    """Write raw tuples as a JSON array of arrays; what an encoder raises comes through.

    Many rows go through one call: a buffer for each would take longer than all the rest.
    """
    special = not_text(shapes, encoders)
    return dumps([encode_row(read_tuple(raw), encoders, special) for raw in rows])


def encode_row(values: Sequence[Value], encoders: Sequence[Encode], special: Sequence[tuple[int, Encode]]) -> Row:
    """Encode a row; what was left out is null. `special` is what `not_text` says.

    Text, which most columns are, takes one call for all of them: a third of the time of a call for each.
    """
    try:
        row = _texts(values)
    except UnicodeDecodeError:
        return [Fragment(NULL if v is UNCHANGED else e(v)) for e, v in zip(encoders, values, strict=True)]
    for index, encode in special:
        value = values[index]
        if isinstance(value, bytes):
            row[index] = Fragment(encode(value))
    return row


def not_text(shapes: Sequence[int], encoders: Sequence[Encode]) -> list[tuple[int, Encode]]:
    """List the columns whose values are not sent as they are, and their encoders."""
    return [
        (index, _quick(encode) if shape == Shape.INTEGER else encode)
        for index, (shape, encode) in enumerate(zip(shapes, encoders, strict=True))
        if shape != Shape.TEXT
    ]


def _texts(values: Sequence[Value]) -> Row:
    try:
        # Postgres' text has no NUL. The types are right: what is no bytes raises TypeError here.
        texts: Row = [*b"\0".join(values).decode().split("\0")]  # type: ignore[arg-type]
    except TypeError:
        texts = []
    if len(texts) == len(values):
        return texts
    return [value.decode() if isinstance(value, bytes) else None for value in values]


def _quick(encode: Encode) -> Encode:
    """Pass the everyday integer as it is: digits, the first of which is no zero."""

    def encode_quickly(value: bytes | None) -> bytes:
        return value if value is not None and value.isdigit() and value[0] != _ZERO else encode(value)

    return encode_quickly
