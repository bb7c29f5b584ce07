"""Values on SurrealDB: Postgres text -> a Python object for cbor2, its answer -> the same text, record ids.

Built once per column from its type; docs/targets.md has the table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cbor2 import CBORTag

from walsync.pgtext.array import Array, read_array, write_array
from walsync.pgtext.hstore import read_hstore, write_hstore
from walsync.pgtext.record import (
    EMPTY,
    Range,
    read_composite,
    read_multirange,
    read_range,
    write_composite,
    write_multirange,
    write_range,
)
from walsync.source.pgtype import Kind, PgType
from walsync.target.surrealdb.codec import DATETIME_TAG, DECIMAL_TAG, SCALARS, STRING, Codec
from walsync.target.surrealdb.document import DOCUMENT
from walsync.target.value_guard import guard

RECORD_TAG: Final = 8

_YEAR_0_SECONDS: Final = -62_167_219_200
_YEAR_10000_SECONDS: Final = 253_402_300_800


@dataclass(frozen=True, slots=True)
class ValueForm:
    """How a column's values are sent and read back.

    `encode` gives what cbor2 is to write (NULL is None), and raises TargetRefused for a text that is not of the type.
    `decode` turns what cbor2 made of the engine's answer into Postgres text. `always_scalar_id` is for record ids;
    `equals_others` tells that values of different texts may be equal to the engine.
    """

    encode: Callable[[bytes | None], object]
    decode: Callable[[Any], bytes | None]
    always_scalar_id: bool
    equals_others: bool


def value_form(column: str, type_: PgType) -> ValueForm:
    """Build the form of a column, which messages call `column`; once, it is used for every value."""
    codec = _codec(type_)
    to_text = codec.to_text

    def decode(found: object) -> bytes | None:
        return None if found is None else to_text(found).encode()

    encode = guard(column, type_.name, codec.to_object, None)
    return ValueForm(encode, decode, codec.always_scalar_id, codec.equals_others)


def record_id(table: str, forms: Sequence[ValueForm], key: Sequence[bytes]) -> CBORTag:
    """Name a record by the text of its key columns: an int, string or uuid by itself, all else as an array.

    Equal decimals give one id: 1.10 and 1.1 are the same key to Postgres. A datetime before
    the year 0 or after 9999 is the text: 3.0 takes it into an id, and cannot read the table any more.
    """
    parts = [
        value.decode() if _is_far(part) else part
        for part, value in ((_normalise(form.encode(value)), value) for form, value in zip(forms, key, strict=True))
    ]
    stands_alone = len(forms) == 1 and forms[0].always_scalar_id
    return CBORTag(RECORD_TAG, [table, parts[0] if stands_alone else parts])


def _is_far(part: object) -> bool:
    match part:
        case CBORTag() if part.tag == DATETIME_TAG:
            return not _YEAR_0_SECONDS <= part.value[0] < _YEAR_10000_SECONDS
        case list():
            return any(map(_is_far, part))
        case dict():
            return any(map(_is_far, part.values()))
        case _:
            return False


def _normalise(part: object) -> object:
    if isinstance(part, CBORTag) and part.tag == DECIMAL_TAG and "." in part.value:
        return CBORTag(DECIMAL_TAG, part.value.rstrip("0").rstrip("."))
    return part


def _codec(type_: PgType) -> Codec:
    match type_.kind:
        case Kind.ARRAY if type_.element is not None:
            return _array(type_.element)
        case Kind.COMPOSITE:
            return _composite(type_.attributes)
        case Kind.RANGE if type_.element is not None:
            return _range(type_.element)
        case Kind.MULTIRANGE if type_.element is not None and type_.element.element is not None:
            return _multirange(type_.element.element)
        case Kind.SCALAR:
            return _scalar(type_.name)
        case _:
            return STRING


def _scalar(name: str) -> Codec:
    if name in ("json", "jsonb"):
        return DOCUMENT
    # The extension's type, in whatever schema it was put.
    return _HSTORE if name.endswith(".hstore") else SCALARS.get(name, STRING)


def _array(element: PgType) -> Codec:
    """Nested arrays; a literal as a string where lists do not say all: other lower bounds, elements that are lists."""
    codec, delimiter = _codec(element), element.delimiter

    def to_object(text: str) -> object:
        array = read_array(text, delimiter)
        if not array.starts_at_one or (codec.may_be_list and array.dimensions > 1):
            return text
        return array.nested(codec.to_object)

    def to_text(found: object) -> str:
        if isinstance(found, str):
            return found
        array = Array.from_nested(found, codec.to_text, dimensions=1 if codec.may_be_list else None)
        return write_array(array, delimiter)

    return Codec(to_object, to_text, may_be_list=True, equals_others=codec.equals_others)


def _composite(attributes: Sequence[tuple[str, PgType]]) -> Codec:
    codecs = [(name, _codec(type_)) for name, type_ in attributes]

    def to_object(text: str) -> dict[str, object]:
        fields = read_composite(text) if codecs or text != "()" else []
        return {
            name: None if field is None else codec.to_object(field)
            for (name, codec), field in zip(codecs, fields, strict=True)
        }

    def to_text(found: Mapping[str, Any]) -> str:
        return write_composite(None if found[name] is None else codec.to_text(found[name]) for name, codec in codecs)

    return Codec(to_object, to_text, equals_others=any(codec.equals_others for _, codec in codecs))


def _range(subtype: PgType) -> Codec:
    codec = _codec(subtype)

    def bound(text: str | None) -> object:
        return None if text is None else codec.to_object(text)

    def bound_text(found: object) -> str | None:
        return None if found is None else codec.to_text(found)

    def to_object(text: str) -> dict[str, object]:
        found = read_range(text)
        return {
            "lo": bound(found.lower),
            "hi": bound(found.upper),
            "lo_inc": found.lower_inclusive,
            "hi_inc": found.upper_inclusive,
            "empty": found.empty,
        }

    def to_text(found: Mapping[str, Any]) -> str:
        if found["empty"]:
            return write_range(EMPTY)
        bounds = bound_text(found["lo"]), bound_text(found["hi"])
        return write_range(
            Range(*bounds, lower_inclusive=found["lo_inc"], upper_inclusive=found["hi_inc"], empty=False)
        )

    return Codec(to_object, to_text, equals_others=codec.equals_others)


def _multirange(subtype: PgType) -> Codec:
    codec = _range(subtype)

    def to_object(text: str) -> list[object]:
        return [codec.to_object(write_range(each)) for each in read_multirange(text)]

    def to_text(found: Sequence[Any]) -> str:
        return write_multirange([read_range(codec.to_text(each)) for each in found])

    return Codec(to_object, to_text, may_be_list=True, equals_others=codec.equals_others)


_HSTORE: Final = Codec(read_hstore, write_hstore)
