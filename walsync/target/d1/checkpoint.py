"""What a D1 target stores about itself: the checkpoint that fences writers, and which tables are complete.

The fence is a statement at the head of every request: it inserts into the guard table, whose trigger stops the whole
request, unless the checkpoint is this writer's and stands where the writer left it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from orjson import dumps

from walsync.lsn import LSN, ZERO
from walsync.source.table import Table
from walsync.target.base import Checkpoint, TableState, Writer
from walsync.target.d1.client import Client, select_checkpoint
from walsync.target.d1.failures import GONE, GuardRaised
from walsync.target.d1.request import Parameter, Statement
from walsync.target.d1.statements import CHECKPOINT, CREATE_OWN, STALE, TABLE_STATE, guard
from walsync.target.fence import Judgement, check_epoch, gone, judge, owned_by_another
from walsync.target.slices import Reached

_MINE = "slot = ?1 AND target = ?2"
_NOW = "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')"


class Stored(NamedTuple):
    """The checkpoint as the pipeline knows it, and how far into an open transaction the target is.

    `upto` is above the checkpoint where rows up to there may be in the database already: only a way that is not atomic
    leaves that behind.
    """

    checkpoint: Checkpoint
    reached: Reached
    upto: LSN


class CheckpointStore:
    """The rows of one slot and target; it runs requests of its own, and writes statements for those of others."""

    def __init__(self, client: Client, slot: str, target: str, *, own: Sequence[Statement] = CREATE_OWN) -> None:
        self._own = own
        self._client = client
        self._mine = (slot, target)
        self._target = target

    async def read(self) -> Stored | None:
        """Read the checkpoint, if there is one."""
        row = await self._client.checkpoint(*self._mine)
        return None if row is None else _stored(row)

    async def register(self, target_id: UUID, writer: Writer, lsn: LSN) -> None:
        """Store the first checkpoint, or start again under the same id."""
        values = (
            *self._mine,
            str(target_id),
            writer.system_identifier,
            str(writer.timeline),
            str(writer.epoch),
            str(lsn),
        )
        results = await self._client.batch(
            [
                *self._own,
                Statement(
                    f"INSERT INTO {CHECKPOINT} AS c"
                    " (slot, target, target_id, system_identifier, timeline, epoch, lsn, at)"
                    f" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, {_NOW}) ON CONFLICT (slot, target) DO UPDATE SET"
                    " system_identifier = excluded.system_identifier, timeline = excluded.timeline,"
                    " epoch = excluded.epoch, previous = NULL, lsn = excluded.lsn, open_commit_lsn = NULL,"
                    " last_change_lsn = NULL, upto = NULL, at = excluded.at"
                    " WHERE c.target_id = excluded.target_id AND (c.epoch < excluded.epoch"
                    " OR (c.epoch, c.timeline) = (excluded.epoch, excluded.timeline))",
                    values,
                ),
                self._select,
            ],
            create=True,
        )
        stored = _stored(results[-1].rows[0]).checkpoint
        if stored.target_id != target_id:
            raise owned_by_another(self._target, stored, target_id, "url")
        check_epoch(self._target, stored, writer)

    async def claim(self, writer: Writer) -> Stored:
        """Raise the stored epoch to the writer's where it is lower; Fenced where it is higher."""
        stored = await self._require()
        check_epoch(self._target, stored.checkpoint, writer)
        if stored.checkpoint.epoch == writer.epoch:
            return stored
        try:
            results = await self._client.batch(
                [
                    Statement(
                        f"UPDATE {CHECKPOINT} SET epoch = ?3, timeline = ?4, at = {_NOW} WHERE {_MINE} AND epoch < ?3",
                        (*self._mine, str(writer.epoch), str(writer.timeline)),
                    ),
                    self._select,
                ]
            )
        except GuardRaised:
            raise gone(self._target) from None
        if not results[-1].rows:
            raise gone(self._target)
        stored = _stored(results[-1].rows[0])
        check_epoch(self._target, stored.checkpoint, writer)
        return stored

    def fence(self, writer: Writer) -> Statement:
        """Stop a request of anybody but this writer, whatever the position; for copies and changes of the schema."""
        condition = f"NOT EXISTS (SELECT 1 FROM {CHECKPOINT} WHERE {_MINE} AND epoch = ?3 AND timeline = ?4)"
        return Statement(guard(STALE, condition), (*self._mine, str(writer.epoch), str(writer.timeline)))

    def advance(self, writer: Writer, before: Reached, after: Reached) -> list[Statement]:
        """Compare and set the checkpoint: the head of every write, and the fence against all others."""
        condition = (
            f"NOT EXISTS (SELECT 1 FROM {CHECKPOINT} WHERE {_MINE} AND epoch = ?3 AND timeline = ?4"
            " AND lsn = ?5 AND open_commit_lsn IS ?6 AND last_change_lsn IS ?7)"
        )
        who = (*self._mine, str(writer.epoch), str(writer.timeline))
        return [
            Statement(guard(STALE, condition), (*who, *position_columns(before))),
            Statement(
                f"UPDATE {CHECKPOINT} SET previous = lsn, lsn = ?3, open_commit_lsn = ?4, last_change_lsn = ?5,"
                f" at = {_NOW} WHERE {_MINE}",
                (*self._mine, *position_columns(after)),
            ),
        ]

    async def explain(self, writer: Writer) -> Judgement:
        """Say why a fence has stopped a request of this writer."""
        stored = await self.read()
        return judge(self._target, None if stored is None else stored.checkpoint, writer)

    async def table_states(self) -> Mapping[str, TableState]:
        """Read which tables are complete, by qualified name."""
        if not self._client.exists():
            return {}
        select = f"SELECT table_name, relid, publication, definition, synced_lsn FROM {TABLE_STATE} WHERE {_MINE}"
        try:
            (result,) = await self._client.batch([Statement(select, self._mine)])
        except GuardRaised:
            return {}
        return {row[0]: TableState(row[1], row[2], row[3], LSN.parse(row[4])) for row in result.rows}

    def store_table_state(self, table: Table, state: TableState) -> Statement:
        """Note that a table is complete as of `state.synced_lsn`."""
        values = (table.qualified_name, str(state.relid), state.publication, state.definition, str(state.synced_lsn))
        return Statement(
            f"INSERT OR REPLACE INTO {TABLE_STATE}"
            " (slot, target, table_name, relid, publication, definition, synced_lsn)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (*self._mine, *values),
        )

    def forget_tables(self, tables: Sequence[Table]) -> Statement:
        """Remove the states of tables: they have to be copied again."""
        return self._forget([table.qualified_name for table in tables])

    async def forget_other_tables(self, writer: Writer, tables: Sequence[Table]) -> None:
        """Remove the states of tables that are not among these: they miss changes from now on."""
        kept = {table.qualified_name for table in tables}
        others = [name for name in await self.table_states() if name not in kept]
        await self._client.batch([self.fence(writer), self._forget(others)])

    async def forget(self) -> None:
        """Remove the checkpoint and the table states."""
        if self._client.exists():
            try:
                await self._client.batch(
                    [Statement(f"DELETE FROM {one} WHERE {_MINE}", self._mine) for one in (CHECKPOINT, TABLE_STATE)]
                )
            except GuardRaised:
                return

    def _forget(self, names: Sequence[str]) -> Statement:
        sql = f"DELETE FROM {TABLE_STATE} WHERE {_MINE} AND table_name IN (SELECT value FROM json_each(?3))"
        return Statement(sql, (*self._mine, dumps(names).decode()))

    @property
    def _select(self) -> Statement:
        return select_checkpoint(*self._mine)

    async def _require(self) -> Stored:
        stored = await self.read()
        if stored is None:
            raise gone(self._target)
        return stored


def refuse_guard(raised: GuardRaised) -> bool:
    """Tell whether a guard stopped a request because of who sent it, not because of its rows."""
    return raised.reason in (STALE, GONE)


def _stored(row: Sequence[Any]) -> Stored:
    target_id, system_identifier, timeline, epoch, lsn, open_commit_lsn, last_change_lsn, upto = row
    position, opened, last_change, reach = (
        ZERO if one is None else LSN.parse(one) for one in (lsn, open_commit_lsn, last_change_lsn, upto)
    )
    reached = Reached(position, opened, last_change)
    begun = max(reached.begun, reach)
    return Stored(Checkpoint(UUID(target_id), system_identifier, timeline, int(epoch), position, begun), reached, reach)


def position_columns(reached: Reached) -> tuple[Parameter, ...]:
    """Write a position as the columns lsn, open_commit_lsn and last_change_lsn hold it."""
    if not reached.open_commit_lsn:
        return str(reached.lsn), None, None
    return str(reached.lsn), str(LSN(reached.open_commit_lsn)), str(LSN(reached.last_change_lsn))
