"""Bytes of pgoutput in; messages, transactions, rows and records out. No I/O: the bytes may come from anywhere."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

from walsync import wal2json
from walsync.errors import ConfigurationError, ProtocolError
from walsync.pgoutput.decoder import Decoder
from walsync.pgoutput.message import Message, Type
from walsync.relation import Relation
from walsync.rendering.base import Renderer
from walsync.rendering.formats import json_renderer, text_renderer
from walsync.row import Unchanged, read_tuple
from walsync.source.description import from_stream
from walsync.transaction.assembler import Assembler
from walsync.transaction.change import Transaction

Text: TypeAlias = str | Literal[Unchanged.UNCHANGED] | None
"""A value as Postgres prints it; None is NULL."""

_NO_TYPES: Mapping[int, Type] = {}


def decode(data: bytes) -> Message:
    """Decode one message of protocol 1, which is what ``proto_version '1'`` asks for; ProtocolError if it is none.

    For messages in pieces of streamed transactions (protocol 2 and later) keep a `Decoder` per session.
    """
    return Decoder().decode(data)


def transactions(frames: Iterable[tuple[int, bytes]], assembler: Assembler | None = None) -> Iterator[Transaction]:
    """Put the messages of one session of protocol 1 together: each transaction comes whole, at its COMMIT.

    A frame is what one XLogData holds: its dataStart, which becomes the `lsn` of a change, and the message. To feed
    messages one by one, keep a `Decoder` and an `Assembler`; a new one given here can be looked into.
    """
    decoder, assembler = Decoder(), assembler or Assembler()
    for data_start, payload in frames:
        transaction = assembler.feed(decoder.decode(payload), data_start, len(payload))
        if transaction is not None:
            yield transaction


def as_dict(relation: Relation, row: bytes) -> dict[str, Text]:
    """Read a row, such as ``change.new``, as column -> value: Postgres' text, None for NULL, or UNCHANGED.

    UNCHANGED is a large value that the server did not send because the UPDATE left it alone. In ``change.old`` only
    the columns of the replica identity mean anything. UnicodeDecodeError where the source's encoding is SQL_ASCII and
    a value is not UTF-8; `walsync.read_tuple` gives the bytes.
    """
    values = read_tuple(row)
    if len(values) != len(relation.columns):
        raise ProtocolError(
            f"a row of {len(values)} columns for {relation.qualified_name}, not {len(relation.columns)}"
        )
    return {
        column.name: value.decode() if isinstance(value, bytes) else value
        for column, value in zip(relation.columns, values, strict=True)
    }


def renderer(
    name: str = "json",
    *,
    format_version: int = 1,
    options: Mapping[str, str] | None = None,
    types: Mapping[int, Type] = _NO_TYPES,
) -> Renderer:
    """Make a renderer: ``render(transaction)`` yields records as bytes, each a JSON text, or a line for people.

    `name` is ``json`` (walsync's own), ``wal2json`` (with its `format_version`) or ``text``; `options` are the format's
    own, by name. `types`, an assembler's or a stream's, name those that are not built in, for wal2json. Read JSON with
    ``parse_float=decimal.Decimal``: numbers have Postgres' digits. ConfigurationError for what does not exist.
    """
    given = dict(options or {})
    match name:
        case "json":
            return json_renderer(given)
        case "text":
            return text_renderer(given)
        case "wal2json":
            parsed = wal2json.parse([("format-version", str(format_version)), *given.items()])
            return wal2json.Renderer(parsed, lambda relation: from_stream(relation, lambda oid: _name(types, oid)))
        case _:
            raise ConfigurationError("WS1028", f"there is no format {name!r}", hint="json, wal2json or text")


def _name(types: Mapping[int, Type], oid: int) -> tuple[str, str] | None:
    found = types.get(oid)
    return None if found is None else (found.schema, found.name)
