"""What is sent to a D1 database: statements with parameters that a JSON body can carry, many of them in one request.

A request is what D1 calls a batch: all of its statements take effect, or none. Values travel as strings, which SQLite
converts by the affinity of the column; a number would arrive as a REAL, because JavaScript has no other.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

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
