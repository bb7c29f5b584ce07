"""json and jsonb as SurrealDB objects: the same document, down to the last digit, or the text itself.

A document keeps what jsonb keeps. Integers are ints up to 64 bits, other numbers decimals with all their digits. What
SurrealDB cannot hold so goes as ``{"$json": "<the text>"}``: a number that fits neither, -0, a key twice, an escaped
NUL or half a surrogate pair (json only), deep nesting, an object that itself has ``$json`` as its only key, and null
by itself, which would read as NULL. json loses its white space and the order of its keys, as a cast to jsonb does.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

from cbor2 import CBORTag

from walsync.pgtext.jsontext import DuplicateKeyError, read_json, write_jsonb
from walsync.target.surrealdb.codec import INTEGER_MAX, INTEGER_MIN, Codec, decimal

TEXT_KEY: Final = "$json"

_MOST_LEVELS: Final = 64
"""The engine drops a row that is nested about 120 levels deep, and reads no CBOR of 256; a batch has its own levels."""

_SURE_DIGITS: Final = 18  # with a sign or without: below 2 ** 63
_MOST_DIGITS: Final = 64  # of a number's text; more than a decimal holds, few enough to write out


class _UnfitError(ValueError):
    """A valid document that SurrealDB cannot hold."""


def _read(text: str) -> object:
    try:
        document = read_json(text, _number)
    except (_UnfitError, DuplicateKeyError, RecursionError):
        return {TEXT_KEY: text}
    if document is None or (isinstance(document, dict) and document.keys() == {TEXT_KEY}):
        return {TEXT_KEY: text}
    if ("\\u" in text or text.count("[") + text.count("{") > _MOST_LEVELS) and not _fits(document, _MOST_LEVELS):
        return {TEXT_KEY: text}
    return document


def _write(found: object) -> str:
    if isinstance(found, Mapping) and found.keys() == {TEXT_KEY}:
        return str(found[TEXT_KEY])
    return write_jsonb(found, _number_text)


def _number(text: str) -> int | CBORTag:
    if text.removeprefix("-").isdigit() and len(text) <= _SURE_DIGITS and text != "-0":
        return int(text)
    if len(text) > _MOST_DIGITS:
        raise _UnfitError("a number with more digits than a decimal has")
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise _UnfitError("a number with an exponent out of all range") from None
    if (not number and number.is_signed()) or not -_MOST_DIGITS < number.adjusted() < _MOST_DIGITS:
        raise _UnfitError("a number out of the range of a decimal")
    plain = format(number, "f")
    if "." not in plain and INTEGER_MIN <= int(plain) <= INTEGER_MAX:
        return int(plain)
    found = decimal(plain)
    if found is None:
        raise _UnfitError("a number with more digits than a decimal has")
    return found


def _number_text(found: int | CBORTag) -> str:
    return str(found.value if isinstance(found, CBORTag) else found)


def _fits(value: object, levels: int) -> bool:
    """Tell whether all strings are such as Postgres would store, and nothing is nested deeper than `levels`."""
    match value:
        case str():
            return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
        case dict():
            return levels > 0 and all(_fits(key, 1) and _fits(item, levels - 1) for key, item in value.items())
        case list():
            return levels > 0 and all(_fits(item, levels - 1) for item in value)
        case _:
            return True


DOCUMENT: Final = Codec(_read, _write, may_be_list=True, equals_others=True)
