"""Values as wal2json writes them, decided by the type's oid alone: a number stays the text that it is.

A row is written by one template that was made for its table. Where a value needs more than its place in the template
(NULL, an unsent one, a character that JSON escapes), the row is written value by value.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import orjson

from walsync.errors import ProtocolError
from walsync.row import Value

_EXACT: Final = frozenset({21, 23, 20, 26})  # int2, int4, int8, oid: always digits
_SPECIAL: Final = frozenset({700, 701, 1700})  # float4, float8, numeric: also NaN and Infinity
_BOOLEAN: Final = 16
_BYTEA: Final = 17
_NINE: Final = 0x39

_ESCAPED: Final = bytes(range(0x20)) + b'"\\'
"""The bytes that cannot stand in a JSON string as they are."""
_TO_ESCAPE: Final = re.compile(rb'[\x00-\x1f"\\]')
_SHORT: Final = {
    b"\b": b"\\b",
    b"\f": b"\\f",
    b"\n": b"\\n",
    b"\r": b"\\r",
    b"\t": b"\\t",
    b'"': b'\\"',
    b"\\": b"\\\\",
}

Convert: TypeAlias = Callable[[bytes], bytes]

Slow: TypeAlias = Callable[[Sequence[Value]], bytes]
"""Writes a row that the template cannot: given the values of the section's columns, some None or UNCHANGED."""


def quote(text: bytes) -> bytes:
    """Write a JSON string; bytes that are no UTF-8, from a database in SQL_ASCII, stay what they are."""
    try:
        return orjson.dumps(text.decode())
    except UnicodeDecodeError:
        return b'"' + _TO_ESCAPE.sub(_escape, text) + b'"'


def quote_text(text: str) -> bytes:
    """Write a JSON string."""
    return orjson.dumps(text)


class Kind:
    """How the values of one column are written: `place` in a template, and what has to be done before, if anything."""

    def __init__(self, type_oid: int, *, numbers_as_strings: bool) -> None:
        self.convert: Convert | None = None
        self.place = b'"%b"'
        if type_oid in _EXACT and not numbers_as_strings:
            self.place = b"%b"
        elif type_oid in _SPECIAL and not numbers_as_strings:
            self.place, self.convert = b"%b", _number
        elif type_oid == _BOOLEAN:
            self.place, self.convert = b"%b", _boolean
        elif type_oid == _BYTEA:
            self.convert = _without_prefix

    def write(self, value: bytes | None) -> bytes:
        """Write one value."""
        if value is None:
            return b"null"
        text = self.convert(value) if self.convert is not None else value
        return text if self.place == b"%b" else quote(text)


class Section:
    """Some columns of a table's rows, written in one go: `template` has a place for each of them."""

    def __init__(self, width: int, indexes: Sequence[int], kinds: Sequence[Kind], template: bytes, slow: Slow) -> None:
        self._width = width
        self._indexes = None if len(indexes) == width else tuple(indexes)
        self._conversions = [(place, kind.convert) for place, kind in enumerate(kinds) if kind.convert is not None]
        self._takes_backslashes_away = any(kind.convert is _without_prefix for kind in kinds)
        self._template = template
        self._slow = slow

    def write(self, values: list[Value]) -> bytes:
        """Write a row's part; ProtocolError when the row has another number of columns than its relation."""
        if len(values) != self._width:
            raise ProtocolError(f"a row of {len(values)} columns in a table of {self._width}")
        chosen = values if self._indexes is None else [values[index] for index in self._indexes]
        try:
            together = b"".join(chosen)  # type: ignore[arg-type]  # fails on None and UNCHANGED, which is the question
        except TypeError:
            return self._slow(chosen)
        written = chosen
        if self._conversions:
            written = list(chosen)
            for place, convert in self._conversions:
                written[place] = convert(written[place])  # type: ignore[arg-type]  # no None is left
            if self._takes_backslashes_away:
                together = b"".join(written)  # type: ignore[arg-type]
        # One look at all values at once: most rows have nothing to escape.
        if len(together.translate(None, _ESCAPED)) != len(together):
            return self._slow(chosen)
        return self._template % tuple(written)


def literal(text: bytes) -> bytes:
    """Write a text that stands in a template."""
    return text.replace(b"%", b"%%")


def _number(value: bytes) -> bytes:
    # Of what the server writes only NaN and Infinity end with a letter.
    return value if value[-1] <= _NINE else b"null"


def _boolean(value: bytes) -> bytes:
    return b"true" if value == b"t" else b"false"


def _without_prefix(value: bytes) -> bytes:
    return value[2:]


def _escape(found: re.Match[bytes]) -> bytes:
    return _SHORT.get(found[0]) or b"\\u%04x" % found[0][0]
