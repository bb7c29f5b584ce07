"""Values on D1: Postgres text -> a piece of JSON and the SQL that stores it, and the stored value -> the same text.

A row travels as an array inside the one JSON parameter of ``json_each(?1)``. What SQLite has no type for is TEXT in
Postgres' output form, and structures are TEXT holding JSON. docs/targets.md has the table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

import orjson

from walsync.errors import TargetRefused
from walsync.pgtext.floating import write_float4, write_float8
from walsync.source.pgtype import PgType
from walsync.target.d1 import double
from walsync.target.d1.document import (
    INTEGERS,
    TIMESTAMPTZ,
    form_of,
    integer,
    is_document,
    iso_timestamp,
    pg_timestamp,
    read,
)
from walsync.target.value_guard import guard

VALUE_BYTES: Final = 2_000_000
"""D1's limit for a string, a blob and a row; for the JSON parameter too, so a whole row has to fit into one."""

NULL: Final = b"null"
"""The piece of JSON that stands for NULL."""

_BRACKETS: Final = len("[[]]")
_HEX: Final = "\\x"


class Shape(IntEnum):
    """What a row's writer may do itself, without the column's encoder; `compiled` knows them by number."""

    OTHER = 0
    TEXT = 1
    """The value's own text as a JSON string."""
    INTEGER = 2
    """Its own digits."""
    TIMESTAMPTZ = 3
    """As `document.iso_timestamp` writes it, as a JSON string."""


@dataclass(frozen=True, slots=True)
class ValueForm:
    """How a column's values are sent, stored and read back.

    `column_type` is its type in a STRICT table. `encode` gives the piece of JSON, and raises TargetRefused for what D1
    cannot take. `decode` turns what SQLite stores into Postgres text: a REAL as float, a BLOB as bytes. `shape` says
    what the pieces look like, so that a whole row can be written at once.
    """

    column_type: str
    encode: Callable[[bytes | None], bytes]
    decode: Callable[[Any], bytes | None]
    _expression: Callable[[int, str], str]
    shape: Shape

    def expression(self, index: int, row: str = "value") -> str:
        """Write the SQL for the value at `index` of the JSON array `row`."""
        return self._expression(index, row)


class _Storage(NamedTuple):
    column_type: str
    to_json: Callable[[str], bytes]
    to_text: Callable[[Any], str]
    expression: Callable[[int, str], str]
    shape: Shape = Shape.OTHER


def value_form(column: str, type_: PgType) -> ValueForm:
    """Build the form of a column, which messages call `column`; once, it is used for every value."""
    storage = _document(type_) if is_document(type_) else _SCALARS.get(type_.name, _TEXT)
    encode = guard(column, type_.name, storage.to_json, NULL)
    if storage.column_type in ("TEXT", "BLOB"):
        encode = _bounded(column, encode)
    to_text = storage.to_text

    def decode(stored: object) -> bytes | None:
        return None if stored is None else to_text(stored).encode()

    return ValueForm(storage.column_type, encode, decode, storage.expression, storage.shape)


def _document(type_: PgType) -> _Storage:
    form = form_of(type_)
    return _Storage(
        "TEXT", lambda text: orjson.dumps(form.to_json(text)), lambda stored: form.to_text(read(stored)), _extract
    )


def _bounded(column: str, encode: Callable[[bytes | None], bytes]) -> Callable[[bytes | None], bytes]:
    """Refuse what does not fit into a parameter by itself; the row as a whole is the statement's to check."""

    def bounded(value: bytes | None) -> bytes:
        encoded = encode(value)
        if len(encoded) + _BRACKETS > VALUE_BYTES:
            raise TargetRefused(
                "WS4403",
                f"{column}: a value has {len(encoded)} bytes as JSON, and D1 takes {VALUE_BYTES}",
                hint="leave this column out with `columns`, or keep large values elsewhere",
            )
        return encoded

    return bounded


def _extract(index: int, row: str) -> str:
    return f"{row}->>{index}"


def _unhex(index: int, row: str) -> str:
    return f"unhex({row}->>{index})"


def _integer(text: str) -> bytes:
    return integer(text).encode()


def _boolean(text: str) -> bytes:
    if text not in ("t", "f"):
        raise ValueError("a boolean that is no boolean")
    return b"1" if text == "t" else b"0"


def _boolean_text(stored: int) -> str:
    return "t" if stored else "f"


def _double(text: str) -> bytes:
    return double.to_json(text).encode()


def _float4_text(stored: float | str) -> str:
    return stored if isinstance(stored, str) else write_float4(stored)


def _float8_text(stored: float | str) -> str:
    return stored if isinstance(stored, str) else write_float8(stored)


def _hex(text: str) -> bytes:
    # fromhex checks the digits; SQLite's unhex would answer NULL for wrong ones.
    if text[:2] != _HEX or len(bytes.fromhex(text[2:])) * 2 != len(text) - 2:
        raise ValueError("a bytea that is not in hex form")
    return f'"{text[2:]}"'.encode()


def _hex_text(stored: bytes) -> str:
    return _HEX + stored.hex()


_INTEGER: Final = _Storage("INTEGER", _integer, str, _extract, Shape.INTEGER)
_TEXT: Final = _Storage("TEXT", orjson.dumps, str, _extract, Shape.TEXT)
_SCALARS: Final = {
    **dict.fromkeys(INTEGERS, _INTEGER),
    "boolean": _Storage("INTEGER", _boolean, _boolean_text, _extract),
    # REAL would turn the text NaN away; ANY keeps each value as it comes.
    "real": _Storage("ANY", _double, _float4_text, double.expression),
    "double precision": _Storage("ANY", _double, _float8_text, double.expression),
    "bytea": _Storage("BLOB", _hex, _hex_text, _unhex),
    TIMESTAMPTZ: _Storage(
        "TEXT", lambda text: orjson.dumps(iso_timestamp(text)), pg_timestamp, _extract, Shape.TIMESTAMPTZ
    ),
}
