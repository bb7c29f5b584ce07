"""Lists as wal2json's options write them: items between commas, a backslash before what would end one."""

import re
from dataclasses import dataclass
from typing import Final

_SPACE: Final = b" \t\n\v\f\r"
_ITEM: Final = re.compile(rb"(?:\\.|[^\\, \t\n\v\f\r])*", re.DOTALL)
_NUMBER: Final = re.compile(rb"[+-]?\d+")
_SCHEMA: Final = re.compile(rb"((?:\\.|[^\\.])*)\.(.*)", re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_OIDS: Final = 2**32


@dataclass(frozen=True, slots=True)
class Pattern:
    """A table, or all tables of a schema, or tables of this name in all schemas: None stands for all."""

    schema: str | None
    table: str | None

    def matches(self, schema: str, table: str) -> bool:
        """Tell whether a table is meant; case matters."""
        return self.schema in (None, schema) and self.table in (None, table)


def read_names(value: str) -> list[bytes]:
    """Split a list; a backslash keeps the next character from ending an item, and stays in it, as in the plugin.

    ValueError when an item is empty or text follows one without a comma.
    """
    items = _split(value)
    if not all(items):
        raise ValueError("an empty item")
    return items


def read_numbers(value: str) -> list[int]:
    """Split a list of numbers of origins; what does not begin with a number is 0, as in the plugin."""
    return [int(found[0]) % _OIDS if (found := _NUMBER.match(item)) else 0 for item in _split(value)]


def read_patterns(value: str) -> list[Pattern]:
    """Split a list of ``schema.table``, where ``*`` stands for all; ValueError for an item without a period."""
    return [_pattern(item) for item in read_names(value)]


def _split(value: str) -> list[bytes]:
    rest = value.encode().lstrip(_SPACE)
    items: list[bytes] = []
    while rest or items:
        found = _ITEM.match(rest)
        item = found[0] if found else b""
        items.append(item)
        rest = rest[len(item) :].lstrip(_SPACE)
        if not rest:
            break
        if not rest.startswith(b","):
            raise ValueError("text after an item")
        rest = rest[1:].lstrip(_SPACE)
    return items


def _pattern(item: bytes) -> Pattern:
    found = _SCHEMA.fullmatch(item)
    if found is None:
        raise ValueError("an item without a period")
    schema, table = found.groups()
    return Pattern(None if schema == b"*" else _unescape(schema), None if table == b"*" else _unescape(table))


def _unescape(name: bytes) -> str:
    return _ESCAPED.sub(rb"\1", name).decode()
