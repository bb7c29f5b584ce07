"""What a Postgres target stores about itself: the checkpoint that fences writers, and which tables are complete."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import psycopg2.errors
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - psycopg2's class has a lower-case name

from walsync.errors import TargetRefused
from walsync.lsn import LSN
from walsync.postgres import run_name
from walsync.source.table import Table
from walsync.target.base import Checkpoint, TableState, Writer
from walsync.target.fence import check_epoch, gone, judge, owned_by_another

_SCHEMA_LOCK: Final = 0x77616C73796E63  # "walsync"
"""Two instances that create the schema at once: IF NOT EXISTS alone fails with a unique violation then."""

_CREATE: Final = """
CREATE SCHEMA IF NOT EXISTS walsync;
CREATE TABLE IF NOT EXISTS walsync.checkpoint (
    slot text,
    target text,
    target_id uuid NOT NULL,
    system_identifier text NOT NULL,
    timeline integer NOT NULL,
    epoch bigint NOT NULL,
    lsn pg_catalog.pg_lsn NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (slot, target)
);
CREATE TABLE IF NOT EXISTS walsync.table_state (
    slot text,
    target text,
    schema_name text,
    table_name text,
    relid bigint NOT NULL,
    publication text NOT NULL,
    definition text NOT NULL,
    synced_lsn pg_catalog.pg_lsn NOT NULL,
    PRIMARY KEY (slot, target, schema_name, table_name)
)
"""


class CheckpointStore:
    """The rows of one slot and target in the schema ``walsync``; it works inside transactions of others."""

    def __init__(self, slot: str, target: str) -> None:
        self._mine = {"slot": slot, "target": target}
        self._target = target

    def read(self, cursor: Cursor, *, lock: bool = False) -> Checkpoint | None:
        """Read the checkpoint, if its table exists; `lock` keeps others from writing it until COMMIT."""
        if not _exists(cursor, "checkpoint"):
            return None
        cursor.execute(
            "SELECT target_id::text, system_identifier, timeline, epoch, lsn::text FROM walsync.checkpoint"
            f" WHERE slot = %(slot)s AND target = %(target)s{' FOR UPDATE' if lock else ''}",
            self._mine,
        )
        row = cursor.fetchone()
        return None if row is None else Checkpoint(UUID(row[0]), row[1], row[2], row[3], LSN.parse(row[4]))

    def register(self, cursor: Cursor, target_id: UUID, writer: Writer, lsn: LSN) -> None:
        """Store the first checkpoint, or start again under the same id."""
        if not (_exists(cursor, "checkpoint") and _exists(cursor, "table_state")):
            cursor.execute("SELECT pg_catalog.pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
            cursor.execute(_CREATE)
        self._refuse_source(cursor, target_id)
        stored = self.read(cursor, lock=True)
        if stored is not None and stored.target_id != target_id:
            raise owned_by_another(self._target, stored, target_id, "dsn")
        if stored is not None:
            check_epoch(self._target, stored, writer)
        cursor.execute(
            "INSERT INTO walsync.checkpoint (slot, target, target_id, system_identifier, timeline, epoch, lsn)"
            " VALUES (%(slot)s, %(target)s, %(target_id)s, %(system_identifier)s, %(timeline)s, %(epoch)s, %(lsn)s)"
            " ON CONFLICT (slot, target) DO UPDATE SET (system_identifier, timeline, epoch, lsn, updated_at) ="
            " (excluded.system_identifier, excluded.timeline, excluded.epoch, excluded.lsn, pg_catalog.now())",
            {**self._mine, **_columns(writer), "target_id": str(target_id), "lsn": str(lsn)},
        )

    def _refuse_source(self, cursor: Cursor, target_id: UUID) -> None:
        """Refuse the source itself under another address: the first copy would empty the tables that it reads."""
        cursor.execute("SELECT pg_catalog.to_regclass('walsync.target') IS NOT NULL")
        if cursor.fetchone() == (True,):
            cursor.execute("SELECT FROM walsync.target WHERE id = %s", (str(target_id),))
            if cursor.rowcount:
                raise TargetRefused(
                    "WS4904",
                    f"target {self._target} is the source database itself: its registry is here",
                    hint="name another database in its dsn",
                )

    def claim(self, cursor: Cursor, writer: Writer) -> Checkpoint:
        """Raise the stored epoch to the writer's where it is lower; Fenced where it is higher."""
        self._end_older_runs(cursor, writer)
        stored = self.require(cursor)
        check_epoch(self._target, stored, writer)
        if stored.epoch == writer.epoch:
            return stored
        cursor.execute(
            "UPDATE walsync.checkpoint SET epoch = %(epoch)s, timeline = %(timeline)s, updated_at = pg_catalog.now()"
            " WHERE slot = %(slot)s AND target = %(target)s",
            {**self._mine, **_columns(writer)},
        )
        return Checkpoint(stored.target_id, stored.system_identifier, writer.timeline, writer.epoch, stored.lsn)

    def require(self, cursor: Cursor) -> Checkpoint:
        """Read and lock the checkpoint; TargetRefused where it is missing."""
        stored = self.read(cursor, lock=True)
        if stored is None:
            raise gone(self._target)
        return stored

    def fence(self, cursor: Cursor, writer: Writer) -> None:
        """Hold the checkpoint for this transaction, whatever its position; for copies and changes of the schema."""
        self._check(self.require(cursor), writer)

    def look(self, cursor: Cursor, writer: Writer) -> None:
        """Check as `fence` does, and hold nothing: for what is not in its place yet."""
        stored = self.read(cursor)
        if stored is None:
            raise gone(self._target)
        self._check(stored, writer)

    def _check(self, stored: Checkpoint, writer: Writer) -> None:
        check_epoch(self._target, stored, writer)
        if stored.epoch != writer.epoch:
            raise judge(self._target, stored, writer)

    def advance(self, cursor: Cursor, writer: Writer, previous: LSN, position: LSN) -> None:
        """Compare and set the checkpoint: the first statement of every write, and the fence against all others."""
        try:
            cursor.execute(
                "UPDATE walsync.checkpoint SET lsn = %(position)s, updated_at = pg_catalog.now()"
                " WHERE slot = %(slot)s AND target = %(target)s"
                " AND epoch = %(epoch)s AND timeline = %(timeline)s AND lsn = %(previous)s",
                {**self._mine, **_columns(writer), "previous": str(previous), "position": str(position)},
            )
        except psycopg2.errors.UndefinedTable:
            raise gone(self._target) from None
        if cursor.rowcount == 1:
            return
        stored = self.require(cursor)
        raise judge(self._target, stored, writer)

    def table_states(self, cursor: Cursor) -> Mapping[str, TableState]:
        """Read which tables are complete, by qualified name."""
        if not _exists(cursor, "table_state"):
            return {}
        cursor.execute(
            "SELECT schema_name || '.' || table_name, relid, publication, definition, synced_lsn::text"
            " FROM walsync.table_state WHERE slot = %(slot)s AND target = %(target)s",
            self._mine,
        )
        return {row[0]: TableState(row[1], row[2], row[3], LSN.parse(row[4])) for row in cursor.fetchall()}

    def store_table_state(self, cursor: Cursor, table: Table, state: TableState) -> None:
        """Note that a table is complete as of `state.synced_lsn`."""
        cursor.execute(
            "INSERT INTO walsync.table_state"
            " (slot, target, schema_name, table_name, relid, publication, definition, synced_lsn) VALUES"
            " (%(slot)s, %(target)s, %(schema)s, %(table)s, %(relid)s, %(publication)s, %(definition)s, %(synced_lsn)s)"
            " ON CONFLICT (slot, target, schema_name, table_name) DO UPDATE"
            " SET (relid, publication, definition, synced_lsn) ="
            " (excluded.relid, excluded.publication, excluded.definition, excluded.synced_lsn)",
            {
                **self._mine,
                "schema": table.schema,
                "table": table.name,
                "relid": state.relid,
                "publication": state.publication,
                "definition": state.definition,
                "synced_lsn": str(state.synced_lsn),
            },
        )

    def forget_tables(self, cursor: Cursor, tables: Sequence[Table]) -> None:
        """Remove the states of tables: they have to be copied again."""
        cursor.execute(
            "DELETE FROM walsync.table_state WHERE slot = %(slot)s AND target = %(target)s"
            " AND schema_name || '.' || table_name = ANY(%(tables)s)",
            {**self._mine, "tables": [table.qualified_name for table in tables]},
        )

    def forget_other_tables(self, cursor: Cursor, tables: Sequence[Table]) -> None:
        """Remove the states of tables that are not among these: they miss changes from now on."""
        kept = [f"{table.schema}.{table.name}" for table in tables]
        cursor.execute(
            "DELETE FROM walsync.table_state WHERE slot = %(slot)s AND target = %(target)s"
            " AND NOT schema_name || '.' || table_name = ANY(%(kept)s)",
            {**self._mine, "kept": kept},
        )

    def forget(self, cursor: Cursor) -> None:
        """Remove the checkpoint and the table states."""
        for table in ("checkpoint", "table_state"):
            if _exists(cursor, table):
                cursor.execute(f"DELETE FROM walsync.{table} WHERE slot = %(slot)s AND target = %(target)s", self._mine)

    def _end_older_runs(self, cursor: Cursor, writer: Writer) -> None:
        """End sessions of older runs of this slot: one that froze inside a COPY would hold the checkpoint for ever."""
        stored = self.read(cursor)
        if stored is not None and stored.epoch < writer.epoch:
            cursor.execute(
                "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
                " WHERE application_name = %s AND datname = pg_catalog.current_database() AND usename = current_user"
                " AND pid <> pg_catalog.pg_backend_pid()",
                (run_name(writer.slot, stored.epoch),),
            )


def _columns(writer: Writer) -> dict[str, str | int]:
    return {"system_identifier": writer.system_identifier, "timeline": writer.timeline, "epoch": writer.epoch}


def _exists(cursor: Cursor, table: str) -> bool:
    cursor.execute("SELECT pg_catalog.to_regclass(%s) IS NOT NULL", (f"walsync.{table}",))
    row = cursor.fetchone()
    return bool(row and row[0])
