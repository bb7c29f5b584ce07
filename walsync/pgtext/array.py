"""Arrays: nested lists with the text of each element, NULL as None, and the lower bounds."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple, Self, TypeAlias

Items: TypeAlias = list[Any]
"""Text or None, or lists of the same depth and length."""

MAX_DIMENSIONS: Final = 6
"""The server's own limit (MAXDIM)."""

_BOUNDS: Final = re.compile(r"((?:\[-?\d{1,10}:-?\d{1,10}\])++)=")
_LOWER: Final = re.compile(r"\[(-?\d+):")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_TO_ESCAPE: Final = re.compile(r'["\\]')
_PLAIN_STOPS: Final = '{}"\\'


class Array(NamedTuple):
    """Elements in nested lists, and a lower bound per dimension; an empty array has no dimension."""

    items: Items
    lower_bounds: tuple[int, ...]

    @property
    def dimensions(self) -> int:
        """How deep the lists are nested."""
        return len(self.lower_bounds)

    @property
    def starts_at_one(self) -> bool:
        """Whether nested lists alone say all; the usual case."""
        return all(bound == 1 for bound in self.lower_bounds)

    def nested(self, from_text: Callable[[str], Any]) -> list[Any]:
        """Give the nested lists with every element made into something else; NULL stays None."""
        return _nested(self.items, from_text)

    @classmethod
    def from_nested(cls, found: object, to_text: Callable[[Any], str], *, dimensions: int | None = None) -> Self:
        """Undo `nested`; `dimensions` is given where elements may be lists themselves."""
        items, depth = _texts(found, to_text, dimensions)
        return cls(items, (1,) * depth)


def _nested(items: Items, from_text: Callable[[str], Any]) -> list[Any]:
    return [
        None if item is None else _nested(item, from_text) if isinstance(item, list) else from_text(item)
        for item in items
    ]


def _texts(found: object, to_text: Callable[[Any], str], levels: int | None) -> tuple[Any, int]:
    if levels == 0 or not isinstance(found, list | tuple):
        return (None if found is None else to_text(found)), 0
    texts = [_texts(item, to_text, None if levels is None else levels - 1) for item in found]
    return [item for item, _ in texts], texts[0][1] + 1 if texts else 0


def read_array(text: str, delimiter: str = ",") -> Array:
    """Read an array; `delimiter` is the element type's (``;`` for box)."""
    bounds = _BOUNDS.match(text)
    if bounds is not None:
        return _read_bounded(text, bounds, delimiter)
    body = text[1:-1]
    if text[:1] == "{" and text[-1:] == "}" and body and not any(stop in body for stop in _PLAIN_STOPS):
        return Array(_read_plain(body, delimiter), (1,))
    items, dimensions = _read_nested(text, delimiter)
    return Array(items, (1,) * dimensions)


def write_array(array: Array, delimiter: str = ",") -> str:
    """Write an array as the server prints it."""
    body = _write_items(array.items, _needs_quotes(delimiter), delimiter)
    if array.starts_at_one:
        return body
    bounds = []
    level: Any = array.items
    for lower in array.lower_bounds:
        bounds.append(f"[{lower}:{lower + len(level) - 1}]")
        level = level[0]
    return f"{''.join(bounds)}={body}"


def _read_bounded(text: str, bounds: re.Match[str], delimiter: str) -> Array:
    items, dimensions = _read_nested(text[bounds.end() :], delimiter)
    lower_bounds = tuple(map(int, _LOWER.findall(bounds[1])))
    array = Array(items, lower_bounds)
    if len(lower_bounds) != dimensions or write_array(array, delimiter) != text:
        raise ValueError("the bounds of an array do not fit its elements")
    return array


def _read_plain(body: str, delimiter: str) -> Items:
    """Read one dimension without quotes, the usual case, in one call."""
    items: Items = [None if item == "NULL" else item for item in body.split(delimiter)]
    if "" in items:
        raise ValueError("an array with an element without text")
    return items


def _read_nested(text: str, delimiter: str) -> tuple[Items, int]:
    """Read tokens: a value or a list may stand where `expects_item`, a delimiter or the end of a list elsewhere."""
    outside: Items = []
    stack: list[Items] = [outside]
    expects_item = True
    position, scan = 0, _tokens(delimiter)
    while position < len(text):
        token = scan.match(text, position)
        if token is None or (position > 0 and len(stack) == 1):
            raise ValueError("an array that is no array")
        position = token.end()
        mark = token[1]
        if mark == "{" and expects_item and len(stack) <= MAX_DIMENSIONS:
            stack[-1].append([])
            stack.append(stack[-1][-1])
        elif mark == "}" and len(stack) > 1 and (not expects_item or not stack[-1]):
            stack.pop()
            expects_item = False
        elif mark == delimiter and not expects_item and len(stack) > 1:
            expects_item = True
        elif mark is None and expects_item and len(stack) > 1:
            stack[-1].append(_element(token))
            expects_item = False
        else:
            raise ValueError("an array with a mark in the wrong place")
    if len(stack) > 1 or not outside:
        raise ValueError("an array that does not end")
    return outside[0], len(_lengths(outside[0]))


def _element(token: re.Match[str]) -> str | None:
    quoted, plain = token[2], token[3]
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted
    return None if plain == "NULL" else plain


def _lengths(items: Items) -> tuple[int, ...]:
    """Measure each dimension; all lists of a dimension have the same length."""
    if not items:
        return ()
    if not isinstance(items[0], list):
        if any(isinstance(item, list) for item in items):
            raise ValueError("an array of elements and lists")
        return (len(items),)
    inner = {_lengths(item) if isinstance(item, list) else () for item in items}
    if len(inner) != 1 or inner == {()}:
        raise ValueError("an array of lists that differ in length")
    return (len(items), *inner.pop())


@lru_cache
def _tokens(delimiter: str) -> re.Pattern[str]:
    escaped = re.escape(delimiter)
    return re.compile(rf'([{{}}{escaped}])|"((?:[^"\\]++|\\.)*+)"|([^{{}}"\\{escaped} \t\n\r\v\f]++)', re.DOTALL)


@lru_cache
def _needs_quotes(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf'[{{}}"\\{re.escape(delimiter)} \t\n\r\v\f]|\A(?i:null)?\Z')


def _write_items(items: Items, needs_quotes: re.Pattern[str], delimiter: str) -> str:
    written = (
        "NULL"
        if item is None
        else _write_items(item, needs_quotes, delimiter)
        if isinstance(item, list)
        else _quote(item)
        if needs_quotes.search(item)
        else item
        for item in items
    )
    return "{" + delimiter.join(written) + "}"


def _quote(item: str) -> str:
    return '"' + _TO_ESCAPE.sub(r"\\\g<0>", item) + '"'
