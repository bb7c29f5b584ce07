"""The SurrealDB target: keeps the promise of `walsync.target.base.Target`, with one transaction per request."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, NoReturn
from uuid import UUID

from walsync.errors import TargetRefused, TargetUnavailable, WalsyncError
from walsync.lsn import LSN, ZERO
from walsync.source.table import Table
from walsync.target.base import Batch, Beside, Checkpoint, Finding, TableState, TableStates, Target, Writer
from walsync.target.slices import Limits, Reached, Slice, cut
from walsync.target.surrealdb import statements
from walsync.target.surrealdb.checkpoint import Records, Stored, read_states
from walsync.target.surrealdb.client import Client, Failed, Thrown
from walsync.target.surrealdb.copying import read_chunks
from walsync.target.surrealdb.denial import DENIAL, DENIAL_HINT, find_denials
from walsync.target.surrealdb.engine import OpenEngine, encode
from walsync.target.surrealdb.failures import judge
from walsync.target.surrealdb.options import Resolver
from walsync.target.surrealdb.program import Program, Written, build, parameters, parts
from walsync.target.surrealdb.schema import (
    Layouts,
    copy_layout,
    define,
    find_differences,
    most_rows,
    table_name,
    table_parameter,
)
from walsync.target.surrealdb.settings import SurrealDBSettings
from walsync.target.surrealdb.transport import open_engine
from walsync.transaction.change import Transaction

SLICE_BYTES: Final = 2 * 1024**2
"""Of rows as the stream has them. As CBOR they may grow, ranges most: sixfold, and a server takes 16 MB."""


class SurrealDBTarget(Target):
    """A SurrealDB database.

    Durable when a call returns: the engine's files are synced with every commit. A batch is written in slices of whole
    transactions, and only a transaction larger than a slice is split; readers see its first part before its last.
    With `collapse` off every change is written by itself, in order, for events that the database defines.
    """

    kind = "surrealdb"

    def __init__(
        self,
        settings: SurrealDBSettings,
        slot: str,
        *,
        collapse: bool = True,
        open_engine: OpenEngine = open_engine,
    ) -> None:
        self.name = settings.name
        self._slot = slot
        self._collapse = collapse
        # Whoever signs in by a record access may neither define nor describe tables.
        self._may_define = settings.signs_in_at != "record"
        self._client = Client(settings, open_engine)
        self._records = Records(slot, settings.name)
        self._entries = settings.tables
        self._layouts = Layouts((), {})
        self._reached = Reached(ZERO)

    async def read_checkpoint(self) -> Checkpoint | None:
        """Look, and change nothing: a directory that is not there is not made."""
        stored = await self._read()
        return None if stored is None else stored.checkpoint

    async def register(self, target_id: UUID, writer: Writer, lsn: LSN) -> None:
        """Store the first checkpoint, or start again under the same id; the writer holds the target from here on."""
        await self._client.create()
        if self._may_define:
            await self._client.do(statements.DEFINE_STORE, {})
        content = self._records.first(target_id, writer, lsn)
        try:
            await self._client.do(statements.REGISTER, {**self._records.fence(writer), "content": content})
        except Thrown as thrown:
            stored = await self._read()
            if stored is not None and stored.checkpoint.target_id != target_id:
                raise self._records.owned_by_another(stored, target_id) from None
            self._raise(thrown, stored, writer)
        self._take(writer, Reached(lsn))

    async def claim(self, writer: Writer) -> Checkpoint:
        """Make `writer` the only one; TargetRefused WS4002 where the checkpoint is missing."""
        if not await self._client.exists():
            raise self._records.judge(None, writer)
        try:
            await self._client.do(statements.CLAIM, self._records.fence(writer))
        except Thrown as thrown:
            self._raise(thrown, await self._read(), writer)
        stored = await self._read()
        if stored is None:
            raise self._records.judge(None, writer)
        self._take(writer, stored.reached)
        return stored.checkpoint

    async def prepare(self, tables: Sequence[Table]) -> None:
        """Define the tables that are absent, which have to be copied, and look at the others."""
        described = await self._describe()
        differences = await self._find(tables, described)
        if differences:
            raise differences[0].refusal()
        kept = [one.qualified_name for one in tables if described is None or table_name(one) in described]
        options = Resolver(self._entries, tables).resolve()
        definitions = define(tables, options, self._client.major) if self._may_define else ()
        await self._fenced(statements.prepare(definitions), {"kept": kept})
        self._layouts = Layouts(tables, options)

    async def compare(self, tables: Sequence[Table]) -> list[Finding]:
        """Find what `prepare` would refuse, and change nothing."""
        return await self._find(tables, await self._describe())

    async def table_states(self) -> Mapping[str, TableState]:
        """Tell the tables whose copy is complete."""
        if not await self._client.exists():
            return {}
        try:
            found = await self._client.ask(statements.TABLE_STATES, self._records.owner)
            return read_states(found, self._layouts.digests)
        except Thrown:
            return {}

    async def copy(self, table: Table, state: TableState, chunks: AsyncIterator[bytes]) -> int:
        """Replace the table by a snapshot.

        SurrealDB cannot rename a table. The rows of one that is empty come chunk by chunk, and readers see them come;
        otherwise they wait beside the old rows and take their place in one transaction.
        """
        where = self._where(table)
        if await self._client.ask(statements.IS_EMPTY, where):
            rows = statements.copy_rows(edges=self._layouts.options_of(table).is_edge)
            copied = await self._fill(table, rows, chunks)
        else:
            copied = await self.stage(table, chunks)
            await self._switch(table)
        await self._store_state(table, state)
        return copied

    @property
    def beside(self) -> Beside:
        """Rows wait as records of a table of walsync's own, chunk by chunk, between the slices of the others."""
        return self

    async def stage(self, table: Table, chunks: AsyncIterator[bytes]) -> int:
        """Keep a snapshot of the table beside it."""
        await self._fenced(statements.CLEAR_STAGE, self._where(table))
        return await self._fill(table, statements.STAGE_ROWS, chunks)

    async def take_place(
        self, tables: Sequence[Table], transactions: Sequence[Transaction], states: TableStates
    ) -> None:
        """Put the tables in their place one after the other, then what changed since, slice by slice."""
        for table in tables:
            await self._switch(table)
        position = self._reached.lsn
        # They move no checkpoint: where a slice begins and ends means nothing here.
        for one in cut(transactions, position, Reached(position), self._limits):
            still = one._replace(before=self._reached, after=self._reached)
            built = await asyncio.to_thread(self._build, self._client.writer, iter([still]))
            if built is not None:
                await self._write(self._client.writer, *built)
        for table, state in states:
            await self._store_state(table, state)

    async def clear_stages(self) -> None:
        """Remove what was staged and did not take its place."""
        await self._fenced(statements.CLEAR_STAGES, {})

    async def write(self, batch: Batch) -> None:
        """Take the changes, slice by slice, each with its checkpoint or not at all."""
        writer = self._client.writer
        reached = self._reached._replace(lsn=batch.previous)
        slices = cut(batch.transactions, batch.position, reached, self._limits)
        ahead = asyncio.create_task(asyncio.to_thread(self._build, writer, slices))
        try:
            while (built := await ahead) is not None:
                # While the engine works on a slice, the next one is being built.
                ahead = asyncio.create_task(asyncio.to_thread(self._build, writer, slices))
                await self._write(writer, *built)
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    @property
    def _limits(self) -> Limits:
        return Limits(self._layouts.most_rows, SLICE_BYTES)

    async def _describe(self) -> Mapping[str, Mapping[str, Any]] | None:
        """Tell what tables there are, by name; None where that may not be asked."""
        if not self._may_define:
            return None
        if not await self._client.exists():
            return {}
        return {str(one["name"]): one for one in (await self._client.ask(statements.DESCRIBE, {}))["tables"]}

    async def _find(self, tables: Sequence[Table], described: Mapping[str, Mapping[str, Any]] | None) -> list[Finding]:
        denied: list[Finding] = []
        if await self._client.exists():
            denied = await find_denials(self._client, tables, may_define=self._may_define)
        resolver = Resolver(self._entries, tables)
        options = resolver.resolve()
        return denied + resolver.findings + find_differences(tables, options, described or {})

    def _where(self, table: Table) -> dict[str, object]:
        return {"table": table_parameter(table_name(table)), "state_id": self._records.state_id(table)}

    async def _fill(self, table: Table, sql: str, chunks: AsyncIterator[bytes]) -> int:
        where, copied = self._where(table), 0
        layout = copy_layout(table, self._layouts.options_of(table))
        async with aclosing(read_chunks(layout, chunks, most_rows([table]))) as records:
            async for rows in records:
                await self._fenced(sql, {**where, "rows": rows})
                copied += len(rows)
        return copied

    async def _switch(self, table: Table) -> None:
        edges = [table_parameter(each) for each in self._layouts.neighbours(table)]
        switch = statements.switch(len(edges), edges=self._layouts.options_of(table).is_edge)
        named = {f"edges{number}": each for number, each in enumerate(edges)}
        await self._fenced(switch, {**self._where(table), **named})

    async def _store_state(self, table: Table, state: TableState) -> None:
        content = self._records.state(table, state, self._layouts.options_of(table).digest)
        await self._fenced(statements.STORE_STATE, {**self._where(table), "state": content})

    async def forget(self) -> None:
        """Remove this target's checkpoint and table states; the rows stay."""
        if await self._client.exists():
            with suppress(Thrown):
                await self._client.do(statements.FORGET, self._records.owner)
        self._client.claimed_by(None)

    async def close(self) -> None:
        """Give the engine and its lock back."""
        await self._client.close()

    def _build(self, writer: Writer, slices: Iterator[Slice]) -> tuple[Slice, Program, bytes] | None:
        one = next(slices, None)
        if one is None:
            return None
        program = build(self._layouts, one.transactions, collapsed=self._collapse)
        steps = program.write()
        variables = {
            **self._records.fence(writer),
            "before": list(map(int, one.before)),
            "after": list(map(int, one.after)),
            **parameters(steps),
        }
        return one, program, encode(statements.write(parts(steps), self._client.major), variables)

    async def _write(self, writer: Writer, one: Slice, program: Program, request: bytes) -> None:
        try:
            await self._client.try_out(request)
        except Thrown as thrown:
            what, _, number = str(thrown).partition(" ")
            if what == statements.MISSING:
                raise program.missing(int(number)) from None
            self._raise(thrown, await self._read(), writer)
        except Failed as failed:
            raise await self._find_refused(failed, program) from None
        self._reached = one.after

    async def _find_refused(self, failed: Failed, program: Program) -> WalsyncError:
        """Find the row that the engine refuses: it does not say which one, and its text may hold values."""
        error = judge(failed.text, self._client.about)
        if isinstance(error, TargetUnavailable):
            self._client.claimed_by(None)
            return error
        subjects = program.subjects
        passes, fails = 0, len(subjects)
        while fails - passes > 1:
            middle = (passes + fails) // 2
            if await self._passes(program.prefix(middle)):
                passes = middle
            else:
                fails = middle
        if not subjects or not await self._passes(program.prefix(0)):
            return error
        return judge(failed.text, subjects[fails - 1].describe())

    async def _passes(self, steps: Written) -> bool:
        try:
            await self._client.try_out(encode(statements.attempt(parts(steps), self._client.major), parameters(steps)))
        except Thrown as thrown:
            return str(thrown) == statements.TRIED
        except Failed:
            return False
        return True

    async def _fenced(self, sql: str, variables: Mapping[str, object]) -> None:
        writer = self._client.writer
        try:
            await self._client.do(sql, {**variables, **self._records.fence(writer)})
        except Thrown as thrown:
            self._raise(thrown, await self._read(), writer)

    def _raise(self, thrown: Thrown, stored: Stored | None, writer: Writer) -> NoReturn:
        """Say why a program did not take place; whatever it was, the claim is void."""
        self._client.claimed_by(None)
        if str(thrown) == statements.DENIED:
            raise TargetRefused("WS4202", f"{self._client.about}: {DENIAL}", hint=DENIAL_HINT) from None
        raise self._records.judge(stored, writer) from None

    async def _read(self) -> Stored | None:
        if not await self._client.exists():
            return None
        try:
            return self._records.read(await self._client.ask(statements.READ, {"record": self._records.checkpoint}))
        except Thrown:
            return None

    def _take(self, writer: Writer, reached: Reached) -> None:
        if writer.slot != self._slot:
            raise TargetRefused("WS4006", f"target {self.name}: made for slot {self._slot}, not {writer.slot}")
        self._reached = reached
        self._client.claimed_by(writer)
