"""Reads a SurrealDB directory with the engine and CBOR alone, and writes what it stores as text."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import cbor2
from acceptance.reading import Form, Part, Stored, array, base_type, element, integer, string
from acceptance.zoo import Column, Table
from cbor2 import CBORTag
from fix_surrealdb import PASSWORD, USER, SurrealServer
from surrealdb._surrealdb_ext import AsyncEmbeddedDB

TABLE, RECORD, DECIMAL, DATETIME, POINT = 7, 8, 10, 12, 88
OWN: Final = {"_walsync", "_walsync_stage"}
UNIX_EPOCH_JULIAN_DAY: Final = 2_440_588
LAST_YEAR: Final = 262_142
DECIMAL_PLACES, DECIMAL_MANTISSA_BITS = 28, 96
DEEPEST: Final = 64
YEAR_0, YEAR_10000 = -62_167_219_200, 253_402_300_800
ALONE: Final = {"smallint", "integer", "bigint", "uuid", "text", "varchar"}
"""The key types of the zoo that are a record's id as they are."""


@dataclass(frozen=True)
class SurrealDBDirectory:
    """A target of type surrealdb on disk."""

    name: str
    path: Path
    parts: Sequence[Part]

    @property
    def entry(self) -> dict[str, object]:
        """What stands in `targets`."""
        return {
            "name": self.name,
            "type": "surrealdb",
            "url": f"surrealkv://{self.path}",
            "namespace": "app",
            "database": "app",
            "tables": [part.entry for part in self.parts],
        }

    def form(self, column: Column) -> Form:
        """Say how the values of a column are compared."""
        return _form(base_type(column))

    def rows(self, part: Part) -> list[Stored]:
        """Read a table; every record has these fields and no other, and the id that its key makes."""
        (records,) = self._query("SELECT * FROM $table", table=CBORTag(TABLE, part.name))
        return [_row(part, record) for record in records]

    def leftovers(self) -> list[str]:
        """Find tables that nobody asked for, staged rows, other checkpoints, and tables that are not complete."""
        described, staged, own = self._query(
            "INFO FOR DB STRUCTURE; SELECT * FROM _walsync_stage; SELECT * FROM _walsync"
        )
        expected = {part.name for part in self.parts} | OWN
        lines = [
            f"{self.name}: table {name}" for name in sorted({each["name"] for each in described["tables"]} ^ expected)
        ]
        if staged:
            lines.append(f"{self.name}: {len(staged)} staged chunks")
        complete = [record for record in own if record.get("kind") == "table_state"]
        others = [(record["slot"], record["target"]) for record in own if record not in complete]
        if others != [("walsync", self.name)]:
            lines.append(f"{self.name}: checkpoints {others}")
        if len(complete) != len(self.parts):
            lines.append(f"{self.name}: {len(complete)} complete tables of {len(self.parts)}")
        return lines

    def _query(self, sql: str, **variables: object) -> list[Any]:
        slots = asyncio.run(_ask(f"surrealkv://{self.path}", sql, variables))
        assert all(slot["status"] == "OK" for slot in slots), slots
        return [slot["result"] for slot in slots]


async def _ask(url: str, sql: str, variables: Mapping[str, object]) -> list[dict[str, Any]]:
    database = AsyncEmbeddedDB(url)
    await database.connect()
    answer = b""
    for method, parameters in (("use", ["app", "app"]), ("query", [sql, variables])):
        answer = await database.execute(cbor2.dumps({"id": "1", "method": method, "params": parameters}))
    slots: list[dict[str, Any]] = cbor2.loads(answer)["result"]
    return slots


def _row(part: Part, record: Mapping[str, Any]) -> Stored:
    fields = dict(record)
    identity = fields.pop("id")
    assert (identity.tag, identity.value[0]) == (RECORD, part.name), identity
    _, key = identity.value
    names = [column.name for column in part.table.columns]
    if "id" in names:
        fields["id"] = key if _stands_alone(part.table) and part.table.key == ("id",) else fields.pop("id_")
    assert fields.keys() == set(names), f"{part.name}: {sorted(fields)}"
    _check_id(part.table, key, fields)
    return tuple(fields[name] for name in names)


def _check_id(table: Table, key: object, fields: Mapping[str, Any]) -> None:
    if not table.key:
        assert isinstance(key, tuple), key  # cbor2 makes tuples inside of tags
        assert [type(each) for each in key] == [str, UUID], key
        return
    parts = [_unsigned(_plain(fields[column.name])) for column in table.key_columns]
    found = _unsigned(_plain(key))
    if isinstance(found, list):  # a moment of another year than 0 to 9999 is text there
        found = [
            part if _is_far(part) and isinstance(each, str) else each for each, part in zip(found, parts, strict=True)
        ]
    assert found == (parts[0] if _stands_alone(table) else parts), f"{table.name}: {key} for {parts}"


def _unsigned(part: object) -> object:
    """Take 0 and -0 for one key, as Postgres does, and 3.x."""
    if isinstance(part, list):
        return [_unsigned(each) for each in part]
    return "0.0" if part == "-0.0" else part


def _is_far(part: object) -> bool:
    match part:
        case (tag, (int(seconds), _)) if tag == DATETIME:
            return not YEAR_0 <= seconds < YEAR_10000
        case _:
            return False


def _stands_alone(table: Table) -> bool:
    return len(table.key) == 1 and base_type(table.key_columns[0]) in ALONE


def _plain(found: object) -> object:
    """Make equal decimals equal, and floats that are equal in every bit."""
    if isinstance(found, list | tuple):
        return [_plain(each) for each in found]
    if isinstance(found, CBORTag):
        return found.tag, Decimal(found.value) if found.tag == DECIMAL else found.value
    return repr(found) if isinstance(found, float) else found


def _form(type_: str) -> Form:
    if type_.endswith("[]"):
        element_text = _form(type_.removesuffix("[]")).text
        return Form(lambda found: array(found, element_text), cast=type_)
    return _FORMS.get(type_, Form(string))


def _boolean(found: object) -> str:
    assert isinstance(found, bool), found
    return "t" if found else "f"


def _double(found: object) -> str:
    assert isinstance(found, float), found
    return repr(found)


def _fits_decimal(number: Decimal) -> bool:
    with localcontext(prec=1_000):
        exponent = number.as_tuple().exponent
        return (
            isinstance(exponent, int)
            and exponent >= -DECIMAL_PLACES
            and abs(int(number.scaleb(max(0, -exponent)))) < 2**DECIMAL_MANTISSA_BITS
        )


def _numeric(found: object) -> str:
    is_decimal = isinstance(found, CBORTag)
    if isinstance(found, CBORTag):
        assert found.tag == DECIMAL, found
        found = found.value
    assert _fits_decimal(Decimal(string(found))) is is_decimal, found
    return string(found)


def _bytes(found: object) -> str:
    assert isinstance(found, bytes), found
    return f"\\x{found.hex()}"


def _uuid(found: object) -> str:
    assert isinstance(found, UUID), found
    return str(found)


def _timestamp(found: object) -> str:
    """Name the day by its Julian number, which Postgres reads, and which has no years to end."""
    if isinstance(found, str):
        assert "infinity" in found or int(found.partition("-")[0]) > LAST_YEAR, found
        return found
    assert isinstance(found, CBORTag), found
    assert found.tag == DATETIME, found
    seconds, nanoseconds = found.value
    days, second = divmod(seconds, 86_400)
    microseconds, rest = divmod(nanoseconds, 1_000)
    assert rest == 0, found
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{microseconds:06}"
    return f"J{UNIX_EPOCH_JULIAN_DAY + days} {clock}"


def _moment(found: object) -> str:
    text = _timestamp(found)
    return f"{text}+00" if text.startswith("J") else text


def _interval(found: object) -> str:
    assert isinstance(found, dict), found
    assert found.keys() == {"months", "days", "us"}, found
    time = int(integer(found["us"]))
    seconds, microseconds = divmod(abs(time), 1_000_000)
    sign = "-" if time < 0 else ""
    # Not in microseconds alone: up to Postgres 14 no more than 32 bits of them are read.
    clock = f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{microseconds:06}"
    return f"{integer(found['months'])} mons {integer(found['days'])} days {clock}"


def _point(found: object) -> str:
    assert isinstance(found, CBORTag), found
    assert found.tag == POINT, found
    x, y = found.value
    return f"({_double(x)},{_double(y)})"


def _address(found: object) -> str:
    assert isinstance(found, dict), found
    assert found.keys() == {"street", "number"}, found
    return f"({element(string(found['street']))},{integer(found['number'])})"


def _integer_range(found: object) -> str:
    return _range(found, "", "")


def _moment_range(found: object) -> str:
    return _range(found, '"', "+00")


def _range(found: object, mark: str, zone: str) -> str:
    assert isinstance(found, dict), found
    assert found.keys() == {"lo", "hi", "lo_inc", "hi_inc", "empty"}, found
    if found["empty"]:
        return "empty"
    text = _moment if zone else integer
    lower, upper = ("" if found[end] is None else f"{mark}{text(found[end])}{mark}" for end in ("lo", "hi"))
    return f"{'[' if found['lo_inc'] else '('}{lower},{upper}{']' if found['hi_inc'] else ')'}"


def _multirange(found: object) -> str:
    assert isinstance(found, list), found
    return "{" + ",".join(map(_integer_range, found)) + "}"


class _NoDocumentError(Exception):
    """What SurrealDB is to keep as text."""


def _stored_json(found: object) -> str:
    """Write a stored document; what is kept as text stays apart from what is not."""
    if isinstance(found, dict) and found.keys() == {"$json"}:
        return f"text {string(found['$json'])}"
    return f"document {_dump(found)}"


def _source_json(text: str) -> str:
    """Write a json or jsonb of the source as the documentation says that it is stored."""
    try:
        document = json.loads(text, object_pairs_hook=_object, parse_int=_number, parse_float=_number)
        if document is None or (isinstance(document, dict) and document.keys() == {"$json"}):
            return f"text {text}"
        return f"document {_dump(document)}"
    except _NoDocumentError:
        return f"text {text}"


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise _NoDocumentError
    return dict(pairs)


def _number(text: str) -> object:
    number = Decimal(text)
    if number.is_zero() and number.is_signed():
        raise _NoDocumentError
    plain = f"{number:f}"
    if "." not in plain and -(2**63) <= int(plain) < 2**63:
        return int(plain)
    if not _fits_decimal(Decimal(plain)):
        raise _NoDocumentError
    return CBORTag(DECIMAL, plain)


def _dump(found: object, levels: int = DEEPEST) -> str:
    match found:
        case dict():
            _go_down(levels)
            return "{" + ",".join(f"{_dump(name)}:{_dump(found[name], levels - 1)}" for name in sorted(found)) + "}"
        case list():
            _go_down(levels)
            return "[" + ",".join(_dump(each, levels - 1) for each in found) + "]"
        case CBORTag():
            assert found.tag == DECIMAL, found
            return f"decimal {found.value}"
        case str() | bool() | int() | None:
            return json.dumps(found, ensure_ascii=False)
        case _:
            raise AssertionError(found)


def _go_down(levels: int) -> None:
    if levels <= 0:
        raise _NoDocumentError


_JSON: Final = Form(_stored_json, of_source=_source_json)
_FORMS: Final = {
    **dict.fromkeys(("smallint", "integer", "bigint"), Form(integer)),
    "boolean": Form(_boolean),
    # The double nearest to the text of a real, so that is what is compared.
    "real": Form(_double, cast="float8", expression="{}::text::float8::text"),
    "double precision": Form(_double, cast="float8"),
    **dict.fromkeys(("numeric", "app.percent"), Form(_numeric)),
    "bytea": Form(_bytes),
    "uuid": Form(_uuid),
    "timestamp": Form(_timestamp, cast="timestamp"),
    "timestamptz": Form(_moment, cast="timestamptz"),
    "interval": Form(_interval, cast="interval"),
    "json": _JSON,
    "jsonb": _JSON,
    "int4range": Form(_integer_range),
    "int4multirange": Form(_multirange),
    "tstzrange": Form(_moment_range, cast="tstzrange"),
    "point": Form(_point, cast="point"),
    "app.address": Form(_address, cast="app.address"),
}
"""What is not listed is Postgres' own text."""


@dataclass(frozen=True)
class SurrealDBServed(SurrealDBDirectory):
    """A target of type surrealdb behind a server, which walsync reaches by way of another port: a proxy's."""

    server: SurrealServer = field(kw_only=True)
    port: int = field(kw_only=True)

    @property
    def entry(self) -> dict[str, object]:
        """What stands in `targets`."""
        user = {"username": USER, "password": PASSWORD}
        return {**super().entry, **user, "url": self.server.url_at(self.port)}

    def position(self) -> object:
        """Return how far it is, once it was reached."""
        return self._query("SELECT lsn, open_commit_lsn, last_change_lsn FROM _walsync WHERE kind != 'table_state'")

    def form(self, column: Column) -> Form:
        """Say how the values of a column are compared; 3.x drops the last zeros of decimals."""
        form = super().form(column)
        if self.server.version == "2.3":
            return form
        if base_type(column) in ("numeric", "numeric[]", "app.percent"):
            return form._replace(of_source=lambda text: _NUMERIC.sub(lambda one: _short_numeric(one[0]), text))
        of_source = form.of_source
        return form._replace(of_source=lambda text: _DECIMALS.sub(lambda one: _short(one[0]), of_source(text)))

    def _query(self, sql: str, **variables: object) -> list[Any]:
        return self.server.execute(sql, **variables)


def _short_numeric(text: str) -> str:
    return _short(text) if _fits_decimal(Decimal(text)) else text


def _short(decimal: str) -> str:
    return decimal.rstrip("0").rstrip(".") if "." in decimal else decimal


_NUMERIC: Final = re.compile(r"-?\d+\.\d+")
_DECIMALS: Final = re.compile(r"decimal -?\d+\.\d+")
"""As `_dump` writes them."""
