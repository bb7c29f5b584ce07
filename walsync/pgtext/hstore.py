"""hstore: pairs of text, of which the server prints every one in quotes and in its own order."""

import re
from collections.abc import Mapping
from typing import Final

_QUOTED: Final = r'"((?:[^"\\]++|\\.)*+)"'
_PAIR: Final = re.compile(rf"{_QUOTED}=>(?:{_QUOTED}|NULL)(, |\Z)", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_TO_ESCAPE: Final = re.compile(r'["\\]')


def read_hstore(text: str) -> dict[str, str | None]:
    """Read the pairs, in the order of the text."""
    pairs: dict[str, str | None] = {}
    position, mark = 0, ", " if text else ""
    while mark:
        found = _PAIR.match(text, position)
        if found is None:
            raise ValueError("an hstore that is no hstore")
        key, value, mark = found.groups()
        if _unescape(key) in pairs:
            raise ValueError("an hstore with a key twice")
        pairs[_unescape(key)] = None if value is None else _unescape(value)
        position = found.end()
    return pairs


def write_hstore(pairs: Mapping[str, str | None]) -> str:
    """Write pairs as the server prints them: short keys first, then by their bytes."""
    return ", ".join(
        f"{_quote(key)}=>{'NULL' if value is None else _quote(value)}"
        for key, value in sorted(pairs.items(), key=lambda pair: server_order(pair[0]))
    )


def server_order(key: str) -> tuple[int, bytes]:
    """Sort keys as hstore and jsonb do."""
    encoded = key.encode()
    return len(encoded), encoded


def _unescape(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def _quote(text: str) -> str:
    return '"' + _TO_ESCAPE.sub(r"\\\g<0>", text) + '"'
