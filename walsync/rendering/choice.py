"""Which tables and rows of a transaction are shown: ``--table public.users --where id=7``. Pure.

A condition compares a column with a value as Postgres prints it: ``id=7``, ``status!=done``, ``deleted_at=NULL``; a
text in single quotes is taken as it stands, so that ``name='NULL'`` is the text. All conditions have to hold for the
row before the change or for the row after it: a row that leaves is seen leaving. What the stream does not send does
not match. A TRUNCATE concerns every row of its tables, and a message none.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

from walsync.errors import ConfigurationError
from walsync.relation import Relation, ReplicaIdentity
from walsync.rendering.base import Renderer
from walsync.row import UNCHANGED, Value, read_tuple
from walsync.transaction.change import Change, Delete, Insert, Transaction, Truncate, Update

_CONDITION: Final = re.compile(r"\s*(.+?)\s*(!?=)\s*(.*?)\s*", re.DOTALL)
_QUOTED: Final = re.compile(r"'(.*)'", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Condition:
    """A column has, or has not, a value; None is NULL."""

    column: str
    value: bytes | None
    equal: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``column=value`` or ``column!=value``; ConfigurationError WS1029 for anything else."""
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise ConfigurationError(
                "WS1029", f"{text!r} is not a condition", hint="write --where 'id=7' or --where 'status!=done'"
            )
        column, operator, value = found.groups()
        quoted = _QUOTED.fullmatch(value)
        wanted = quoted[1].encode() if quoted else None if value == "NULL" else value.encode()
        return cls(column, wanted, operator == "=")

    def holds(self, value: Value) -> bool:
        """Tell whether a value is as wanted; NULL is a value like others, as with IS DISTINCT FROM."""
        return value is not UNCHANGED and (value == self.value) is self.equal


@dataclass(frozen=True, slots=True)
class Choice:
    """The tables, by ``schema.table`` or ``schema.*``, all when empty; and the conditions on their rows."""

    tables: frozenset[str] = frozenset()
    conditions: tuple[Condition, ...] = ()

    @classmethod
    def parse(cls, tables: Sequence[str], conditions: Sequence[str]) -> Self:
        """Read both options; ConfigurationError WS1029 for what is neither a table nor a condition."""
        for table in tables:
            if "." not in table:
                raise ConfigurationError(
                    "WS1029", f"{table!r} is not schema.table or schema.*", hint=f"write --table public.{table}"
                )
        return cls(frozenset(tables), tuple(map(Condition.parse, conditions)))

    def keep(self, transaction: Transaction) -> Transaction | None:
        """Return what is shown of a transaction; None where that is nothing."""
        if not self.tables and not self.conditions:
            return transaction
        changes = tuple(kept for change in transaction.changes if (kept := self._keep(change)) is not None)
        return transaction._replace(changes=changes, messages=()) if changes else None

    def _keep(self, change: Change) -> Change | None:
        match change:
            case Insert(relation, new, _):
                return change if self._names(relation) and self._matches(relation, new) else None
            case Update(relation, old, new, _):
                shown = self._names(relation) and (
                    self._matches(relation, new) or (old is not None and self._matched(relation, old))
                )
                return change if shown else None
            case Delete(relation, old, _):
                return change if self._names(relation) and self._matched(relation, old) else None
            case Truncate():
                relations = tuple(filter(self._names, change.relations))
                return change._replace(relations=relations) if relations else None

    def _names(self, relation: Relation) -> bool:
        return not self.tables or not self.tables.isdisjoint((relation.qualified_name, f"{relation.schema}.*"))

    def _matches(self, relation: Relation, row: bytes) -> bool:
        values = dict(zip((column.name for column in relation.columns), read_tuple(row), strict=False))
        return all(condition.holds(values.get(condition.column, UNCHANGED)) for condition in self.conditions)

    def _matched(self, relation: Relation, old: bytes) -> bool:
        """Look at the row before the change, of which only the identity's columns were sent, unless all were."""
        known = {
            column.name: value
            for column, value in zip(relation.columns, read_tuple(old), strict=False)
            if column.in_identity or relation.replica_identity is ReplicaIdentity.FULL
        }
        return all(condition.holds(known.get(condition.column, UNCHANGED)) for condition in self.conditions)


class ChosenRenderer:
    """Shows a part of each transaction, in whatever format."""

    def __init__(self, renderer: Renderer, choice: Choice) -> None:
        self._renderer = renderer
        self._choice = choice

    def render(self, transaction: Transaction) -> Iterator[bytes]:
        """Yield the records of what was chosen; nothing where that is nothing."""
        kept = self._choice.keep(transaction)
        if kept is not None:
            yield from self._renderer.render(kept)
