"""Reads a SurrealDB directory with the engine and CBOR alone, and writes what it stores as docs/targets.md says.

The engine has no lock, and two on one directory destroy it. So a copy is opened, which may be made while walsync runs.
"""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import cbor2

from walsync.demo.compare import Column, PostgresReader, Row, TableName
from walsync.demo.literals import Unreadable, array
from walsync.errors import ConfigurationError

NAMESPACE: Final = "demo"
DATABASE: Final = "demo"

_TABLE, _DECIMAL, _DATETIME = 7, 10, 12
"""SurrealDB's tags of CBOR."""

_UNIX_EPOCH_JULIAN_DAY: Final = 2_440_588


def require_engine() -> Any:  # noqa: ANN401 - the package is optional
    """Return the engine's class; WS1901 where it is not installed."""
    try:
        from surrealdb._surrealdb_ext import AsyncEmbeddedDB  # noqa: PLC0415 - optional; the SDK hides it
    except ImportError:
        raise ConfigurationError(
            "WS1901", "SurrealDB's engine is not installed", hint="pip install 'walsync[demo]'"
        ) from None
    return AsyncEmbeddedDB


class SurrealDBReader:
    """A directory, as it is when this is made; `source` reads and prints the values."""

    printed_as: Final[Mapping[str, str]] = {"json": "jsonb"}
    """It keeps documents, not how they were written."""

    def __init__(self, directory: Path, source: PostgresReader) -> None:
        self._source = source
        self._folder = tempfile.TemporaryDirectory(prefix="walsync-graph-", dir=directory.parent)
        self._copy = shutil.copytree(directory, Path(self._folder.name) / "copy")

    def close(self) -> None:
        """Remove the copy."""
        self._folder.cleanup()

    def read(self, table: TableName, columns: Sequence[Column]) -> list[Row]:
        """Return all rows of a table; records that have other fields are told as such, and equal none."""
        literals: list[Row] = []
        strange: list[Row] = []
        for record in asyncio.run(_select(self._copy, table.flat)):
            fields = _fields(record, columns)
            if fields.keys() == {column.name for column in columns}:
                literals.append(tuple(_literal(fields[column.name], column.type) for column in columns))
            else:
                strange.append((f"fields {sorted(fields)}",))
        return self._source.print(literals, columns, self.printed_as) + strange


async def _select(directory: Path, table: str) -> list[dict[str, Any]]:
    database = require_engine()(f"surrealkv://{directory}")
    await database.connect()
    answer = b""
    parameters = ["SELECT * FROM $table", {"table": cbor2.CBORTag(_TABLE, table)}]
    for method, of_it in (("use", [NAMESPACE, DATABASE]), ("query", parameters)):
        answer = await database.execute(cbor2.dumps({"id": "1", "method": method, "params": of_it}))
    (statement,) = cbor2.loads(answer)["result"]
    if statement["status"] != "OK":
        raise RuntimeError(f"SurrealDB: {statement['result']}")
    records: list[dict[str, Any]] = statement["result"]
    return records


def _fields(record: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, Any]:
    """Return the fields by the columns' names: `id` is the record's own, unless it stands beside it as `id_`."""
    fields = dict(record)
    _, key = fields.pop("id").value
    if any(column.name == "id" for column in columns):
        fields["id"] = fields.pop("id_", key)
    return fields


def _literal(found: object, type_: str) -> str | None:
    if found is None:
        return None
    if type_ in {"json", "jsonb"}:
        return _document(found)
    if isinstance(found, list) and type_.endswith("[]"):
        return array(found, lambda item: _scalar(item, type_.removesuffix("[]")))
    return _scalar(found, type_)


def _scalar(found: object, type_: str) -> str:  # noqa: PLR0911 - one line per kind of value
    match found:
        case bool():
            return str(found).lower()
        case float():
            return repr(found)
        case bytes():
            return f"\\x{found.hex()}"
        case cbor2.CBORTag(tag=tag, value=value) if tag == _DECIMAL:
            return str(value)
        case cbor2.CBORTag(tag=tag, value=(seconds, nanoseconds)) if tag == _DATETIME:
            return _moment(seconds, nanoseconds, "+00" if "with time zone" in type_ or "tstz" in type_ else "")
        case {"months": months, "days": days, "us": microseconds}:
            return f"{months} mons {days} days {microseconds} us"
        case {"lo": lower, "hi": upper, "lo_inc": from_it, "hi_inc": to_it, "empty": is_empty}:
            return (
                "empty" if is_empty else _range((lower, upper), type_, ("[" if from_it else "(", "]" if to_it else ")"))
            )
        case int() | str() | UUID():
            return str(found)
        case _:
            raise Unreadable(f"SurrealDB has {type(found).__name__} for {type_}, which the demo does not know")


def _moment(seconds: int, nanoseconds: int, zone: str) -> str:
    """Name the day by its Julian number, which Postgres reads, and which has no years to end."""
    days, second = divmod(seconds, 86_400)
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{nanoseconds // 1_000:06}"
    return f"J{_UNIX_EPOCH_JULIAN_DAY + days} {clock}{zone}"


def _range(bounds: tuple[object, object], type_: str, brackets: tuple[str, str]) -> str:
    lower, upper = ("" if bound is None else f'"{_scalar(bound, type_)}"' for bound in bounds)
    return f"{brackets[0]}{lower},{upper}{brackets[1]}"


def _document(found: object) -> str:
    """Write a document as JSON, its decimals with all their digits."""
    match found:
        case {"$json": str() as text} if isinstance(found, dict) and len(found) == 1:
            return text
        case dict():
            return "{" + ",".join(f"{json.dumps(name)}:{_document(each)}" for name, each in found.items()) + "}"
        case list():
            return "[" + ",".join(map(_document, found)) + "]"
        case cbor2.CBORTag(tag=tag, value=value) if tag == _DECIMAL:
            return str(value)
        case _:
            return json.dumps(found)
