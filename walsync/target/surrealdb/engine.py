"""What a way to a SurrealDB database is, and how a request is written: the same bytes for engine and server."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

import cbor2

from walsync.target.surrealdb.settings import SurrealDBSettings

Slot: TypeAlias = Mapping[str, Any]
"""A statement's answer: `status` is OK or ERR, `result` the value or the error's text."""

_ARRAY: Final = 4 << 5
_MAP: Final = 5 << 5
_LENGTH_IN_FOUR_BYTES: Final = 26
"""CBOR's major types, and one of the forms in which their length may follow (RFC 8949, section 3)."""

# A map of three, whose last value is an array of two: the statements and their parameters. One request is under way at
# a time, so that its id tells nothing.
_QUERY: Final = b"\xa3" + b"".join(map(cbor2.dumps, ("id", "1", "method", "query", "params"))) + b"\x82"


class RequestFailed(Exception):
    """The engine did not execute a request at all; the text may quote values."""


class Engine(Protocol):
    """A way to one database. Requests are made one at a time; cancelling one rolls it back, or comes too late."""

    major: int
    """The version, 2 or 3 so far."""

    is_lost: bool
    """Whether it leads nowhere any more, and has to be opened again."""

    async def query(self, request: bytes) -> Sequence[Slot]:
        """Execute what `encode` made, and return what each statement came to; engines differ in which ones answer."""
        ...

    async def close(self) -> None:
        """Give it back; no call follows."""
        ...


OpenEngine: TypeAlias = Callable[[SurrealDBSettings, bool], Awaitable[Engine | None]]
"""Opens the way to a database; where it does not exist: makes it, or returns None if the second argument is false."""


def encode(sql: str, variables: Mapping[str, object]) -> bytes:
    """Make a request of statements and their parameters.

    Lists are written item by item: cbor2 holds the GIL until it returns, and the event loop waits for it.
    """
    parts = [_QUERY, cbor2.dumps(sql), _head(_MAP, len(variables))]
    for name, value in variables.items():
        parts.append(cbor2.dumps(name))
        if isinstance(value, list):
            parts.append(_head(_ARRAY, len(value)))
            parts += map(cbor2.dumps, value)
        else:
            parts.append(cbor2.dumps(value))
    return b"".join(parts)


def _head(kind: int, length: int) -> bytes:
    return bytes([kind | _LENGTH_IN_FOUR_BYTES]) + length.to_bytes(4, "big")
