r"""Structures on D1: arrays, composites and hstore as JSON documents, and documents as Postgres' literals again.

JSON holds arrays nested with nulls, composites and hstore as objects in the order of their text. What JSON cannot
hold becomes a JSON string with Postgres' literal: an array whose lower bounds are not 1, or one of several dimensions
whose elements are arrays themselves (through a domain).

Inside, integers and finite floats are JSON numbers with Postgres' own digits, booleans are true and false. Everything
else is a string with the text that a column of its type has, which for bytea is ``\x..`` and for json the document: as
JSON, its null could not be told from NULL.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import orjson

from walsync.pgtext.array import Array, read_array, write_array
from walsync.pgtext.hstore import read_hstore, write_hstore
from walsync.pgtext.record import read_composite, write_composite
from walsync.source.pgtype import Kind, PgType

INTEGERS: Final = frozenset({"smallint", "integer", "bigint", "oid"})
FLOATS: Final = frozenset({"real", "double precision"})
BOOLEANS: Final = {"t": "true", "f": "false"}
TIMESTAMPTZ: Final = "timestamp with time zone"

_INTEGER: Final = re.compile(r"-?(?:0|[1-9]\d{,18})", re.ASCII)
_SURE_DIGITS: Final = 18  # with a sign or without: below 2 ** 63
_FLOAT: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]\d+)?", re.ASCII)
_SPECIAL_FLOATS: Final = frozenset({"NaN", "Infinity", "-Infinity"})
_UTC: Final = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?\+00", re.ASCII)
_ISO: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\.(\d{6})Z", re.ASCII)


class Form(NamedTuple):
    """How a type stands inside a document: its text -> JSON, and what `read` made of that JSON -> its text."""

    to_json: Callable[[str], str]
    to_text: Callable[[Any], str]
    may_be_list: bool = False


def is_document(type_: PgType) -> bool:
    """Tell whether a column of this type holds a document."""
    return type_.kind in (Kind.ARRAY, Kind.COMPOSITE) or is_hstore(type_)


def is_hstore(type_: PgType) -> bool:
    """Tell the extension's type, in whatever schema it was put."""
    return type_.kind is Kind.SCALAR and type_.name.endswith(".hstore")


def form_of(type_: PgType) -> Form:
    """Build a type's form once; it is used for every value."""
    if type_.kind is Kind.ARRAY and type_.element is not None:
        return _array_form(type_.element)
    if type_.kind is Kind.COMPOSITE:
        return _composite_form(type_)
    if is_hstore(type_):
        return Form(lambda text: orjson.dumps(read_hstore(text)).decode(), write_hstore)
    return _SCALARS.get(type_.name, _STRING)


def read(document: str) -> Any:  # noqa: ANN401 - a document may hold anything
    """Read a document; its numbers stay text, so no digit is lost."""
    return json.loads(document, parse_int=str, parse_float=str)


def string(text: str) -> str:
    """Write a JSON string."""
    return orjson.dumps(text).decode()


def integer(text: str) -> str:
    """Check that a text can stand in JSON as it is, and that SQLite reads an integer there."""
    if _INTEGER.fullmatch(text) is None:
        raise ValueError("an integer that is no integer")
    if len(text) > _SURE_DIGITS and not -(2**63) <= int(text) < 2**63:
        raise ValueError("an integer of more than 64 bits")
    return text


def iso_timestamp(text: str) -> str:
    """Write a timestamptz with T, six digits and Z, so that it sorts; infinity, BC and years above 9999 as they are."""
    found = _UTC.fullmatch(text)
    return f"{found[1]}T{found[2]}.{(found[3] or '').ljust(6, '0')}Z" if found else text


def pg_timestamp(text: str) -> str:
    """Write what `iso_timestamp` was given."""
    found = _ISO.fullmatch(text)
    if found is None:
        return text
    fraction = found[3].rstrip("0")
    return f"{found[1]} {found[2]}{'.' if fraction else ''}{fraction}+00"


def _array_form(element: PgType) -> Form:
    form, delimiter = form_of(element), element.delimiter

    def to_json(text: str) -> str:
        array = read_array(text, delimiter)
        if not array.starts_at_one or (form.may_be_list and array.dimensions > 1):
            return string(text)
        return _join(array.nested(form.to_json))

    def to_text(found: object) -> str:
        if isinstance(found, str):
            return found
        array = Array.from_nested(found, form.to_text, dimensions=1 if form.may_be_list else None)
        return write_array(array, delimiter)

    return Form(to_json, to_text, may_be_list=True)


def _join(items: list[Any]) -> str:
    written = ("null" if item is None else _join(item) if isinstance(item, list) else item for item in items)
    return "[" + ",".join(written) + "]"


def _composite_form(type_: PgType) -> Form:
    names = [string(name) for name, _ in type_.attributes]
    forms = [form_of(attribute) for _, attribute in type_.attributes]

    def to_json(text: str) -> str:
        fields = read_composite(text) if forms or text != "()" else []
        pairs = (
            f"{name}:{'null' if field is None else form.to_json(field)}"
            for name, form, field in zip(names, forms, fields, strict=True)
        )
        return "{" + ",".join(pairs) + "}"

    def to_text(found: dict[str, Any]) -> str:
        values = (found[name] for name, _ in type_.attributes)
        return write_composite(
            None if value is None else form.to_text(value) for form, value in zip(forms, values, strict=True)
        )

    return Form(to_json, to_text)


def _float(text: str) -> str:
    if _FLOAT.fullmatch(text):
        return text
    if text in _SPECIAL_FLOATS:
        return f'"{text}"'
    raise ValueError("a float that is no float")


def _boolean(text: str) -> str:
    if text not in BOOLEANS:
        raise ValueError("a boolean that is no boolean")
    return BOOLEANS[text]


def _same(text: str) -> str:
    return text


_NUMBER: Final = Form(integer, _same)
_STRING: Final = Form(string, _same)
_SCALARS: Final = {
    **dict.fromkeys(INTEGERS, _NUMBER),
    **dict.fromkeys(FLOATS, Form(_float, _same)),
    "boolean": Form(_boolean, lambda truth: "t" if truth else "f"),
    TIMESTAMPTZ: Form(lambda text: string(iso_timestamp(text)), pg_timestamp),
}
