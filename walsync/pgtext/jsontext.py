"""json and jsonb: read without losing a digit, and written as the server prints jsonb."""

import json
from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any, NoReturn, TypeAlias

from walsync.pgtext.hstore import server_order

Number: TypeAlias = Callable[[str], object]
"""What becomes of a number's text; raises ValueError for one that the receiver cannot hold."""


class DuplicateKeyError(ValueError):
    """An object names a key twice: no mapping holds both."""


def read_json(text: str, number: Number) -> object:
    """Read a document; DuplicateKeyError and what `number` raises say that it is one, but cannot be held so.

    ValueError else; RecursionError where it is nested deeper than Python can follow.
    """
    return json.loads(
        text,
        parse_int=number,
        parse_float=number,
        parse_constant=_refuse_constant,
        object_pairs_hook=_object,
    )


def write_jsonb(value: object, number: Callable[[Any], str]) -> str:
    """Write a document as the server prints jsonb; `number` writes what is neither container, text, truth nor NULL."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return encode_basestring(value)
        case Mapping():
            pairs = (
                f"{encode_basestring(key)}: {write_jsonb(value[key], number)}"
                for key in sorted(value, key=server_order)
            )
            return "{" + ", ".join(pairs) + "}"
        case Sequence() if not isinstance(value, bytes):
            return "[" + ", ".join(write_jsonb(item, number) for item in value) + "]"
        case _:
            return number(value)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DuplicateKeyError("a JSON object with a key twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
