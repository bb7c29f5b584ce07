"""What is sent to a D1 database: statements with parameters that a JSON body can carry, many of them in one request.

A request is what D1 calls a batch: all of its statements take effect, or none. Values travel as strings, which SQLite
converts by the affinity of the column; a number would arrive as a REAL, because JavaScript has no other.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import orjson

Parameter: TypeAlias = str | float | None


class Statement(NamedTuple):
    """One SQL statement with the values of ?1, ?2, ..."""

    sql: str
    parameters: tuple[Parameter, ...] = ()


class Result(NamedTuple):
    """What one statement gave back."""

    rows: Sequence[tuple[Any, ...]]
    changes: int


Request: TypeAlias = Sequence[Statement]


class Wire(NamedTuple):
    """Statements as the gateway reads them: ``[sql, [length | null, ...]],...`` in JSON, and the parameters' bytes."""

    head: bytes
    payload: bytes


class Encoding(tuple[Statement, ...]):  # noqa: SLOT001 - an instance carries what was written for the wire
    """The statements of some changes, as several targets send them."""

    @cached_property
    def wire(self) -> Wire:
        """The same for the gateway, written once however many regions send it."""
        return write_wire(self)


def write_wire(statements: Iterable[Statement]) -> Wire:
    """Write statements; parameters follow as they are, so that no megabyte of JSON is escaped into JSON."""
    heads: list[list[Any]] = []
    payload: list[bytes] = []
    for sql, parameters in statements:
        encoded = [None if one is None else str(one).encode() for one in parameters]
        heads.append([sql, [None if one is None else len(one) for one in encoded]])
        payload += [one for one in encoded if one is not None]
    return Wire(orjson.dumps(heads)[1:-1], b"".join(payload))
