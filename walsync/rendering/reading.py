"""Transactions for people: a line for each transaction, then one for each change, aligned and, on a terminal, coloured.

It is for looking at, not for programs: long values are cut, and what the stream does not tell is left out.
"""

import re
from collections.abc import Iterator, Sequence
from heapq import merge
from typing import Final

import click
import orjson

from walsync.errors import ProtocolError
from walsync.pgoutput.message import LogicalMessage
from walsync.relation import Relation, ReplicaIdentity
from walsync.rendering.document import moment
from walsync.row import UNCHANGED, Value, read_tuple
from walsync.transaction.change import Change, Delete, Insert, Transaction, Truncate, Update

WIDTH: Final = 60
"""Characters of a value that are shown."""

_COLOURS: Final = {"INSERT": "green", "UPDATE": "yellow", "DELETE": "red", "TRUNCATE": "magenta", "MESSAGE": "cyan"}
_KIND_WIDTH: Final = max(map(len, _COLOURS))
_PLAIN: Final = re.compile(r"[^\s\"'=,→]+")
_ARROW: Final = " → "


class TextRenderer:
    """Renders a transaction as lines; `width` 0 shows values of any length."""

    def __init__(self, *, colour: bool = False, width: int = WIDTH) -> None:
        self._colour = colour
        self._width = width

    def render(self, transaction: Transaction) -> Iterator[bytes]:
        """Yield the line of the transaction and one for each change and message."""
        if not transaction.changes and not transaction.messages:
            return
        yield self._title(transaction).encode()
        tables = {relation.qualified_name for change in transaction.changes for relation in _relations(change)}
        table_width = max(len(_printable(table)) for table in tables) if tables else 0
        for one in merge(transaction.changes, transaction.messages, key=lambda one: one.lsn):
            for kind, table, content in self._describe(one):
                start = f"  {self._style(f'{kind:<{_KIND_WIDTH}}', _COLOURS[kind])} {_printable(table):<{table_width}}"
                yield f"{start}  {content}".rstrip().encode()

    def _title(self, transaction: Transaction) -> str:
        parts = [str(transaction.commit_lsn)]
        if transaction.xid:
            parts += [f"xid {transaction.xid}", moment(transaction.commit_time)]
        if transaction.origin is not None:
            parts.append(f"origin {_printable(transaction.origin)}")
        return self._style("  ".join(parts), "blue")

    def _describe(self, one: Change | LogicalMessage) -> Iterator[tuple[str, str, str]]:
        match one:
            case Insert(relation, new, _):
                yield "INSERT", relation.qualified_name, self._row(relation, _values(relation, new))
            case Update(relation, old, new, _):
                yield "UPDATE", relation.qualified_name, self._update(relation, old, _values(relation, new))
            case Delete(relation, old, _):
                yield "DELETE", relation.qualified_name, self._row(relation, _before(relation, old))
            case Truncate():
                for relation in one.relations:
                    yield "TRUNCATE", relation.qualified_name, "CASCADE" if one.cascade else ""
            case LogicalMessage():
                yield "MESSAGE", one.prefix, self._show(one.content)

    def _row(self, relation: Relation, values: Sequence[Value]) -> str:
        return "  ".join(
            f"{self._name(column.name)}={self._show(value)}"
            for column, value in zip(relation.columns, values, strict=True)
            if value is not UNCHANGED
        )

    def _update(self, relation: Relation, old: bytes | None, new: Sequence[Value]) -> str:
        before = [UNCHANGED] * len(new) if old is None else _before(relation, old)
        shown = []
        for column, was, value in zip(relation.columns, before, new, strict=True):
            changed = was is not UNCHANGED and value is not UNCHANGED and was != value
            text = f"{self._show(was)}{_ARROW}" if changed else ""
            shown.append(f"{self._name(column.name)}={text}{self._show(value)}")
        return "  ".join(shown)

    def _name(self, name: str) -> str:
        return self._style(_printable(name), "bright_black")

    def _show(self, value: Value) -> str:
        if value is None:
            return self._style("NULL", "bright_black")
        if value is UNCHANGED:
            return self._style("(unchanged)", "bright_black")
        text = value.decode(errors="backslashreplace")
        more = ""
        if self._width and len(text) > self._width:
            text, more = text[: self._width], f"… ({len(text)} characters)"
        plain = _PLAIN.fullmatch(text) is not None and text.isprintable() and text != "NULL"
        return (text if plain else _quoted(text)) + more

    def _style(self, text: str, colour: str) -> str:
        return click.style(text, fg=colour) if self._colour else text


def _relations(change: Change) -> Sequence[Relation]:
    return change.relations if isinstance(change, Truncate) else (change.relation,)


def _values(relation: Relation, row: bytes) -> list[Value]:
    values = read_tuple(row)
    if len(values) != len(relation.columns):
        raise ProtocolError(f"a row of {len(values)} columns for {relation.qualified_name}")
    return values


def _before(relation: Relation, old: bytes) -> list[Value]:
    """Read what was sent of the row before the change; what was not is UNCHANGED here."""
    is_full = relation.replica_identity is ReplicaIdentity.FULL
    return [
        value if is_full or column.in_identity else UNCHANGED
        for column, value in zip(relation.columns, _values(relation, old), strict=True)
    ]


def _quoted(text: str) -> str:
    return _escaped(orjson.dumps(text).decode())


def _printable(text: str) -> str:
    return text if text.isprintable() else _escaped(text)


def _escaped(text: str) -> str:
    # A value must not be able to command the terminal.
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
