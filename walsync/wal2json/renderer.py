"""Transactions in, wal2json's records out: which of them are shown, and what is prepared once for each relation."""

from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

from walsync.relation import Relation
from walsync.source.description import TableDescription
from walsync.transaction.change import Transaction
from walsync.wal2json import format1, format2
from walsync.wal2json.options import Options
from walsync.wal2json.steps import steps

Describe = Callable[[Relation], TableDescription]

_NEWEST: Final = 2
_LOCAL: Final = 0

_Table = TypeVar("_Table")


class Renderer:
    """A `walsync.rendering.base.Renderer` that writes what wal2json 2.6 writes.

    `describe` is asked once for each relation that the stream announces, and may fail as it likes; `origin_id` turns
    the name of a replication origin into its number on the source. A keepalive yields nothing. A transaction without a
    change that is shown is there all the same, as with the plugin.
    """

    def __init__(
        self, options: Options, describe: Describe, origin_id: Callable[[str], int] = lambda _name: _LOCAL
    ) -> None:
        self._options = options
        self._origin_id = origin_id
        self._origins: dict[str, int] = {}
        self._format: format1.Format1 | format2.Format2
        if options.format_version == _NEWEST:
            self._format = format2.Format2(options, _Prepared(options, describe, format2.Table).find)
        else:
            self._format = format1.Format1(options, _Prepared(options, describe, format1.Table).find)

    def render(self, transaction: Transaction) -> Iterator[bytes]:
        """Yield the records of one transaction."""
        shows_message = self._options.shows_message
        if transaction.xid == 0:
            shown = (message for message in transaction.messages if shows_message(message.prefix))
            yield from map(self._format.write_alone, shown)
            return
        origin = self._origin(transaction.origin)
        if origin == _LOCAL or origin not in self._options.filter_origins:
            yield from self._format.write(transaction, steps(transaction, shows_message), origin)

    def _origin(self, name: str | None) -> int:
        if name is None or not (self._options.include_origin or self._options.filter_origins):
            return _LOCAL
        if name not in self._origins:
            self._origins[name] = self._origin_id(name)
        return self._origins[name]


class _Prepared(Generic[_Table]):
    """What was made of each relation, until the stream announces it anew."""

    def __init__(
        self, options: Options, describe: Describe, make: Callable[[Relation, TableDescription, Options], _Table]
    ) -> None:
        self._options = options
        self._describe = describe
        self._make = make
        self._tables: dict[int, tuple[Relation, _Table | None]] = {}

    def find(self, relation: Relation) -> _Table | None:
        """Return what was prepared; None for a table that is not to be shown."""
        known = self._tables.get(relation.relid)
        if known is not None and known[0] is relation:
            return known[1]
        table: _Table | None = None
        if self._options.shows_table(relation.schema, relation.name):
            table = self._make(relation, self._describe(relation), self._options)
        self._tables[relation.relid] = (relation, table)
        return table
