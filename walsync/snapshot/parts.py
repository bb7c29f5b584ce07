"""What a table is read in: ranges of blocks, of each of its partitions, and the COPY that reads one. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

from walsync.identifier import quote
from walsync.source.table import Table

Match: TypeAlias = Mapping[str, frozenset[bytes]]
"""Which values a column may have, as Postgres prints them."""

ALL_ROWS: Final[Match] = {}

PART_BLOCKS: Final = 2048
"""16 MB: some tenths of a second to read, and not much to read again for who falls behind in the middle."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table that holds rows: the one that is copied, or a partition of it.

    `name` is quoted. `blocks` is its size under a lock, 0 where its rows cannot be chosen by their block. Without
    `only` it is read with what is below it: a root whose partitions may not be read by themselves.
    """

    name: str
    blocks: int = 0
    only: bool = True


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of a relation in blocks from `first` to before `end`; None for no bound."""

    relation: str
    first: int | None = None
    end: int | None = None
    only: bool = True


def divide(relations: Sequence[Relation], part_blocks: int = PART_BLOCKS) -> list[Part]:
    """Cut relations into parts that together are all of them: the last of each is open-ended."""
    parts = []
    for relation in relations:
        cuts: list[int | None] = [None, *range(part_blocks, relation.blocks, part_blocks), None]
        parts += [Part(relation.name, first, end, relation.only) for first, end in pairwise(cuts)]
    return parts


def copy_statement(table: Table, part: Part, match: Match = ALL_ROWS) -> tuple[str, list[list[str]]]:
    """Write the COPY that reads the published rows and columns of a part, and its parameters.

    Rows come in one order whenever it is run under the same snapshot: see SETTINGS of the session.
    """
    columns = ", ".join(quote(name) for name in table.published)
    conditions = [f"({table.row_filter})"] if table.row_filter is not None else []
    if part.first is not None:
        conditions.append(f"ctid >= '({part.first},0)'")
    if part.end is not None:
        conditions.append(f"ctid < '({part.end},0)'")
    if part.only and not (conditions or match):
        return f"COPY {part.relation} ({columns}) TO STDOUT", []
    # format() prints as the stream does; a cast to text does not: a boolean would be true instead of t.
    parameters = [sorted(value.decode() for value in values) for values in match.values()]
    escaped = [condition.replace("%", "%%") if parameters else condition for condition in conditions]
    escaped += [_matches(quote(column).replace("%", "%%")) for column in match]
    # Children of an inheriting table are tables of their own in the stream.
    select = f"SELECT {columns} FROM {'ONLY ' if part.only else ''}{part.relation}"
    select = select.replace("%", "%%") if parameters else select
    return f"COPY ({select}{' WHERE ' if escaped else ''}{' AND '.join(escaped)}) TO STDOUT", parameters


def _matches(column: str) -> str:
    # format() prints NULL as an empty string, which is a value; IS NOT NULL looks into a composite.
    return f"{column} IS DISTINCT FROM NULL AND pg_catalog.format('%%s', {column}) = ANY(%s)"
