"""What a target that takes lines gets: transactions and snapshots, rendered in the format that its settings name."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from walsync import wal2json
from walsync.errors import ConfigurationError, TargetRefused
from walsync.lsn import LSN
from walsync.relation import Column, Relation
from walsync.rendering.base import Renderer
from walsync.rendering.formats import json_renderer
from walsync.row import read_copy_line, write_tuple
from walsync.setting_types import refusal
from walsync.source.description import TableDescription
from walsync.source.table import Table
from walsync.target.described import Describe, describe, from_nothing
from walsync.target.settings import QualifiedTargetSettings
from walsync.transaction.change import Change, Insert, Transaction, Truncate

SNAPSHOT_XID: Final = 2
"""What wal2json's formats show as the transaction of a snapshot: Postgres' own FrozenTransactionId, which none of the
stream has."""


class RecordSettings(QualifiedTargetSettings):
    """Tables keep schema and name; each record is one line."""

    format: Literal["json", "wal2json"] = "json"
    """``json``: walsync's own, one object per transaction (docs/formats.md); ``wal2json``: what wal2json would have
    printed (docs/wal2json.md)."""

    format_version: Annotated[int, Field(ge=1, le=2)] | None = None
    """wal2json's format: 1, one object per transaction, or 2, one per change; 1 when left out, as wal2json has it."""

    options: Mapping[str, str] = {}
    """The format's own options, by name: ``{include-xids: true, include-lsn: true}``."""

    @model_validator(mode="after")
    def _check_format(self) -> "RecordSettings":
        try:
            make_renderer(self)
        except ConfigurationError as error:
            raise refusal(error.code, error.message, error.hint, at=("options",)) from None
        return self


def make_renderer(settings: RecordSettings, describe: Describe = from_nothing, *, snapshot: bool = False) -> Renderer:
    """Make the renderer that the settings name; ConfigurationError for options that it does not have, or not here."""
    if settings.format == "json":
        if settings.format_version is not None:
            raise ConfigurationError("WS1028", "format json has one version", hint="remove format_version")
        return json_renderer(settings.options, snapshot=snapshot)
    options = wal2json.parse([("format-version", str(settings.format_version or 1)), *settings.options.items()])
    for name, is_set in (
        ("pretty-print", options.pretty_print),
        ("write-in-chunks", options.write_in_chunks),
        ("include-origin", options.include_origin),
        ("filter-origins", bool(options.filter_origins)),
    ):
        if is_set:
            raise ConfigurationError(
                "WS1028",
                f"{name} is not for targets, which write a record per line and do not ask the source for origins",
                hint=f"remove it; walsync tail has {name}",
            )
    return wal2json.Renderer(options, describe)


class Records:
    """Renders for one target; tables that were renamed carry the name that they were given."""

    def __init__(self, settings: RecordSettings) -> None:
        self._tables: dict[int, Table] = {}
        self._stream = make_renderer(settings, self._describe)
        self._snapshot = make_renderer(settings, self._describe, snapshot=True)
        self._names: dict[int, tuple[str, ...]] = {}
        self._renamed: dict[int, tuple[Relation, Relation]] = {}

    def prepare(self, tables: Iterable[Table]) -> None:
        """Take the tables that will come."""
        self._tables = {table.relid: table for table in tables}
        self._names = {relid: table.renamed for relid, table in self._tables.items() if table.renamed[1:]}
        self._renamed = {}

    def of(self, transaction: Transaction) -> Iterator[bytes]:
        """Render a transaction of the stream."""
        changes = tuple(map(self._rename, transaction.changes)) if self._names else transaction.changes
        return self._stream.render(transaction._replace(changes=changes))

    def of_beginning(self, table: Table, lsn: LSN) -> Iterator[bytes]:
        """Render what a snapshot begins with: that the table is emptied."""
        relation = self._relation(_relation(table))
        return self._of_snapshot(lsn, (Truncate((relation,), cascade=False, restart_identity=False, lsn=lsn),))

    def of_rows(self, table: Table, lsn: LSN, lines: Sequence[bytes]) -> Iterator[bytes]:
        """Render rows of a snapshot, lines of COPY text, as inserts."""
        relation = self._relation(_relation(table))
        return self._of_snapshot(lsn, tuple(Insert(relation, _row(relation, line), lsn) for line in lines))

    def _of_snapshot(self, lsn: LSN, changes: tuple[Change, ...]) -> Iterator[bytes]:
        return self._snapshot.render(Transaction(SNAPSHOT_XID, lsn, lsn, 0, changes, 0))

    def _describe(self, relation: Relation) -> TableDescription:
        return describe(relation, self._tables.get(relation.relid))

    def _rename(self, change: Change) -> Change:
        if isinstance(change, Truncate):
            return change._replace(relations=tuple(map(self._relation, change.relations)))
        return change._replace(relation=self._relation(change.relation))

    def _relation(self, relation: Relation) -> Relation:
        name = self._names.get(relation.relid)
        if name is None or name == (relation.schema, relation.name):
            return relation
        known, renamed = self._renamed.get(relation.relid, (None, relation))
        if known is not relation:
            renamed = replace(relation, schema=name[0], name=name[1])
            self._renamed[relation.relid] = relation, renamed
        return renamed


def _relation(table: Table) -> Relation:
    """Describe a table as the stream would."""
    columns = tuple(
        Column(column.name, column.type_oid, column.typmod, column.name in table.identity)
        for column in table.published_columns
    )
    return Relation(table.relid, table.schema, table.name, table.replica_identity, columns)


def _row(relation: Relation, line: bytes) -> bytes:
    values = read_copy_line(line)
    if len(values) != len(relation.columns):
        raise TargetRefused(
            "WS4402",
            f"{relation.qualified_name}: a line of the snapshot has {len(values)} values, not {len(relation.columns)}",
            hint="restart; if it comes again, report it with the server's version",
        )
    return write_tuple(values)
