"""The D1 target, whichever way leads to its database: one atomic request per step.

Every request carries its own fence and, where rows are written, its own checkpoint. A batch that is larger than a
request is several: the checkpoint says after which of them a target stands, docs/adr/0010-slices.md how.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar
from uuid import UUID

from walsync.errors import Fenced, TargetRefused, TargetUnavailable
from walsync.lsn import LSN
from walsync.source.table import Table
from walsync.target.base import Batch, Beside, Checkpoint, Finding, TableState, TableStates, Target, Writer
from walsync.target.collapse import relations_of
from walsync.target.d1.checkpoint import CheckpointStore, Stored, refuse_guard
from walsync.target.d1.client import NOTHING, Client
from walsync.target.d1.encoder import SHARED, Encoder, Write, collapsed, collapsed_for_wire, in_order, in_order_for_wire
from walsync.target.d1.failures import GuardRaised
from walsync.target.d1.fault import Trial, name_fault, name_unwritable
from walsync.target.d1.plan import Plans, table_plan
from walsync.target.d1.request import Encoding, Request, Statement
from walsync.target.d1.schema import LOOKS, TargetTable, create_table, findings, look, read_look
from walsync.target.d1.settings import D1Settings
from walsync.target.d1.snapshot import Shadow, look_for, requests
from walsync.target.d1.ways import open_client
from walsync.target.slices import Limits, Reached, Slice, cut
from walsync.transaction.change import Transaction

REQUEST_CHANGES: Final = 10_000
"""Of one request: well inside D1's 30 s, and inside the memory of the Worker that passes it on."""

_REQUEST_CHANGES_IN_ORDER: Final = 249
"""Where a change takes up to four statements: D1 runs 1000 in one request, and the checkpoint needs two."""

_OWN_STATEMENTS: Final = 10
"""Of a request beside those for the changes: the checkpoint's, and over REST a few more."""

T = TypeVar("T")

_TOGETHER: Final = 2_500
"""Changes of small transactions in one request: while it is written the next one is encoded, so not too few of them."""


class D1Target(Target):
    """A D1 database, in a file or at Cloudflare by way of the gateway.

    Durable when a call returns: SQLite syncs the log of every COMMIT to the disk, D1 replicates it. With `collapse` off
    every change is written by itself, in order, so that triggers of the target see what happened on the source.
    """

    kind = "d1"

    def __init__(
        self,
        settings: D1Settings,
        slot: str,
        *,
        collapse: bool = True,
        client: Client | None = None,
        encoder: Encoder = SHARED,
    ) -> None:
        self.name = settings.name
        self._slot = slot
        self._collapse = collapse
        self._client = client or open_client(settings)
        self.limits = Limits(REQUEST_CHANGES, self._client.request_bytes)
        self._store = CheckpointStore(self._client, slot, settings.name)
        self._encoder = encoder
        self._joined = False
        self._turn = asyncio.Lock()
        """A table is staged while batches are written: their requests take turns."""
        self._plans = Plans()
        self._writer: Writer | None = None
        self._reached = Reached(LSN(0))

    async def read_checkpoint(self) -> Checkpoint | None:
        """Look, and change nothing."""
        with self._judged():
            stored = await self._store.read()
            return None if stored is None else stored.checkpoint

    async def register(self, target_id: UUID, writer: Writer, lsn: LSN) -> None:
        """Store the first checkpoint, or start again under the same id; the writer holds the target from here on."""
        self._check_slot(writer)
        with self._judged():
            await self._store.register(target_id, writer, lsn)
        self._writer, self._reached = writer, Reached(lsn)

    async def claim(self, writer: Writer) -> Checkpoint:
        """Make `writer` the only one; TargetRefused WS4002 where the checkpoint is missing."""
        self._check_slot(writer)
        with self._judged():
            stored = await self._store.claim(writer)
        self._resume(stored)
        self._writer, self._reached = writer, stored.reached
        return stored.checkpoint

    async def prepare(self, tables: Sequence[Table]) -> None:
        """Create the tables that are absent and compare the others; what has to be mended is copied again after."""
        writer = self._require_writer()
        with self._judged():
            present = await self._look(tables)
            found = {table.qualified_name: list(self._findings(table, present[table.relid])) for table in tables}
            absent = [table for table in tables if present[table.relid] is None and not found[table.qualified_name]]
            lacking = [table for table in tables if table in absent or found[table.qualified_name]]
            await self._send_all(
                writer, [self._store.forget_tables(lacking), *(create_table(table_plan(table)) for table in absent)]
            )
            await self._store.forget_other_tables(writer, tables)
        for difference in (one for each in found.values() for one in each):
            raise difference.refusal()
        self._plans = Plans(tables)
        with self._judged():
            await self._clear_stages(writer)
        if not self._joined:
            self._encoder.join()
            self._joined = True

    async def compare(self, tables: Sequence[Table]) -> list[Finding]:
        """Find what would keep rows from fitting, and change nothing; for ``walsync check``."""
        with self._judged():
            present = await self._look(tables) if self._client.exists() else dict.fromkeys(t.relid for t in tables)
        found = [finding for table in tables for finding in self._findings(table, present[table.relid])]
        return [*found, *self._client.findings()]

    async def table_states(self) -> Mapping[str, TableState]:
        """Tell the tables whose copy is complete."""
        with self._judged():
            return await self._store.table_states()

    async def copy(self, table: Table, state: TableState, chunks: AsyncIterator[bytes]) -> int:
        """Replace the table by a snapshot: fill a shadow of it request by request, and put that in its place."""
        writer = self._require_writer()
        rows = await self.stage(table, chunks)
        with self._judged():
            stored = self._store.store_table_state(table, state)
            await self._send(writer, [self._store.fence(writer), *await self._take_place(table), stored])
        return rows

    @property
    def beside(self) -> Beside | None:
        """Tables are copied request by request, between those that bring the changes of others."""
        return self

    async def stage(self, table: Table, chunks: AsyncIterator[bytes]) -> int:
        """Keep a snapshot of the table beside it: its shadow."""
        writer = self._require_writer()
        shadow = Shadow(self._plans.table(table))
        fence = self._store.fence(writer)
        rows = 0
        with self._judged():
            await self._send(writer, [fence, *shadow.create])
            async for size, request in requests(shadow, chunks):
                await self._send(writer, [fence, *request])
                rows += size
        return rows

    async def take_place(
        self, tables: Sequence[Table], transactions: Sequence[Transaction], states: TableStates
    ) -> None:
        """Put the shadows in their place with what changed since: one request, where it is not too much for that."""
        writer = self._require_writer()
        with self._judged():
            head = [statement for table in tables for statement in await self._take_place(table)]
            head.append(self._store.forget_tables(tables))
            tail = [self._store.store_table_state(table, state) for table, state in states]
            encoded = self._encode_beside(transactions)
            encoding = await asyncio.to_thread(next, encoded, None)
            while encoding is not None:
                following = await asyncio.to_thread(next, encoded, None)
                await self._write_beside(writer, head, encoding, tail if following is None else [])
                head, encoding = [], following

    async def clear_stages(self) -> None:
        """Remove what was staged and did not take its place."""
        with self._judged():
            await self._clear_stages(self._require_writer())

    async def write(self, batch: Batch) -> None:
        """Take all changes and the checkpoint, request by request; each is atomic and carries the next one."""
        writer = self._require_writer()
        reached = self._reached if self._reached.lsn == batch.previous else Reached(batch.previous)
        requests = (fitting for one in self._cut(batch, reached) for fitting in self._fit(one))

        def prepare() -> tuple[Slice, Encoding] | None:
            return next(requests, None)

        with self._judged():
            following = _start(prepare)
            try:
                while (prepared := await following) is not None:
                    # The next one is encoded while the database is busy with this one.
                    following = _start(prepare)
                    await self._write(writer, *prepared)
                    self._reached = prepared[0].after
            finally:
                following.cancel()

    def _cut(self, batch: Batch, reached: Reached) -> Iterator[Slice]:
        limits = self._limits(batch)
        for transactions, position in _gather(batch):
            for one in cut(transactions, position, reached, limits):
                yield one
                reached = one.after

    def _fit(self, one: Slice) -> Iterator[tuple[Slice, Encoding]]:
        """Encode a slice; in parts where it has more statements than a request, as changes of many tables have."""
        try:
            encoding = self._encode(one.transactions)
        except TargetRefused as error:
            raise name_unwritable(one.transactions, error, self._plans, self._statements) from None
        changes = sum(len(transaction.changes) for transaction in one.transactions)
        if len(encoding) <= self._client.statements - _OWN_STATEMENTS or changes <= 1:
            yield one, encoding
            return
        limits = Limits(changes // 2, self.limits.size_bytes)
        *parts, last = cut(one.transactions, one.after.lsn, one.before, limits)
        if not parts:  # changes of one LSN stay together
            yield one, encoding
            return
        for part in (*parts, last._replace(after=one.after)):
            yield from self._fit(part)

    async def _take_place(self, table: Table) -> list[Statement]:
        present = (await self._look([table]))[table.relid]
        return Shadow(self._plans.table(table)).take_place(present)

    async def _clear_stages(self, writer: Writer) -> None:
        shadows = [Shadow(plan) for plan in self._plans.tables]
        (found,) = await self._client.batch([look_for([shadow.name for shadow in shadows])])
        left = {row[0] for row in found.rows}
        await self._send_all(writer, [shadow.drop for shadow in shadows if shadow.name in left])

    def _encode_beside(self, transactions: Sequence[Transaction]) -> Iterator[tuple[Slice, Encoding]]:
        # They move no checkpoint: where a slice begins and ends means nothing here.
        batch = Batch(self._reached.lsn, self._reached.lsn, transactions)
        return (fitting for one in self._cut(batch, Reached(batch.previous)) for fitting in self._fit(one))

    async def _write_beside(
        self, writer: Writer, head: Request, encoded: tuple[Slice, Encoding], tail: Request
    ) -> None:
        one, encoding = encoded
        if len(head) + len(encoding) + len(tail) < self._client.statements:
            fenced = [self._store.fence(writer), *head, *tail]
            await self._write_changes(writer, fenced, one.transactions, encoding)
            return
        await self._send_all(writer, head)
        await self._write_changes(writer, [self._store.fence(writer)], one.transactions, encoding)
        await self._send_all(writer, tail)

    async def forget(self) -> None:
        """Remove this target's checkpoint and table states; the rows stay."""
        with self._judged():
            await self._store.forget()
        self._writer = None

    async def close(self) -> None:
        """Close the file; no call follows."""
        if self._joined:
            self._encoder.leave()
            self._joined = False
        await self._client.close()

    async def _write(self, writer: Writer, one: Slice, encoding: Encoding) -> None:
        head = self._store.advance(writer, one.before, one.after)
        await self._write_changes(writer, head, one.transactions, encoding)

    async def _write_changes(
        self, writer: Writer, head: Request, transactions: Sequence[Transaction], encoding: Encoding
    ) -> None:
        try:
            await self._send(writer, head, encoding)
        except (GuardRaised, TargetRefused) as error:
            if not encoding or (isinstance(error, TargetRefused) and not error.code.startswith("WS43")):
                raise
            raise await name_fault(transactions, error, self._plans, self._trial(writer, head)) from None

    def _trial(self, writer: Writer, head: Request) -> Trial:
        async def send(transactions: Sequence[Transaction], end: Statement) -> None:
            encoding = await asyncio.to_thread(self._encode, transactions)
            await self._send(writer, [*head, *encoding, end])

        return send

    async def _send_all(self, writer: Writer, statements: Request) -> None:
        """Send statements that need not take effect together, each request behind the fence."""
        at_once = self._client.statements - 1
        for start in range(0, len(statements), at_once):
            await self._send(writer, [self._store.fence(writer), *statements[start : start + at_once]])

    async def _send(self, writer: Writer, request: Request, shared: Encoding = NOTHING) -> None:
        try:
            async with self._turn:
                await self._client.batch(request, shared)
        except GuardRaised as raised:
            if refuse_guard(raised):
                raise await self._store.explain(writer) from None
            raise

    def _encode(self, transactions: Sequence[Transaction]) -> Encoding:
        return self._encoder.encode(transactions, self._plans, self._statements)

    @property
    def _statements(self) -> Write:
        if self._client.by_wire:
            return collapsed_for_wire if self._collapse else in_order_for_wire
        return collapsed if self._collapse else in_order

    def _limits(self, batch: Batch) -> Limits:
        without_key = self._plans.without_key
        in_order = not self._collapse or (
            bool(without_key)
            and any(
                relation.relid in without_key
                for transaction in batch.transactions
                for change in transaction.changes
                for relation in relations_of(change)
            )
        )
        changes = min(self.limits.changes, _REQUEST_CHANGES_IN_ORDER)
        return self.limits._replace(changes=changes) if in_order else self.limits

    async def _look(self, tables: Sequence[Table]) -> dict[int, TargetTable | None]:
        found: dict[int, TargetTable | None] = {}
        at_once = self._client.statements // LOOKS
        for start in range(0, len(tables), at_once):
            some = tables[start : start + at_once]
            results = await self._client.batch([statement for table in some for statement in look(table)])
            for number, table in enumerate(some):
                found[table.relid] = read_look(results[number * LOOKS : (number + 1) * LOOKS])
        return found

    def _findings(self, table: Table, present: TargetTable | None) -> Iterator[Finding]:
        return findings(table, present)

    def _resume(self, stored: Stored) -> None:
        """Take note of what a claim has found."""
        if stored.upto > stored.checkpoint.lsn:
            raise TargetRefused(
                "WS4517",
                f"target {self.name}: a batch up to {stored.upto} was begun over REST and is not complete",
                hint=f"run once with account_id, database_id and api_token; or walsync drop --target {self.name}",
            )

    def _check_slot(self, writer: Writer) -> None:
        if writer.slot != self._slot:
            raise TargetRefused("WS4006", f"target {self.name}: made for slot {self._slot}, not {writer.slot}")

    def _require_writer(self) -> Writer:
        if self._writer is None:
            raise TargetUnavailable("WS4103", "the target was not claimed since its connection was lost")
        return self._writer

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Make the claim void after whatever leaves the position unknown."""
        try:
            yield
        except (TargetUnavailable, Fenced, asyncio.CancelledError):
            self._writer = None
            raise


def _start(prepare: Callable[[], T]) -> "asyncio.Task[T]":
    task = asyncio.create_task(asyncio.to_thread(prepare))
    # A failure that nobody waits for any more is nobody's.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def _gather(batch: Batch) -> Iterator[tuple[list[Transaction], LSN]]:
    """Divide a batch into whole transactions, each part with the position that it reaches."""
    gathered: list[Transaction] = []
    size = 0
    for transaction in batch.transactions:
        if gathered and size + len(transaction.changes) > _TOGETHER:
            yield gathered, gathered[-1].end_lsn
            gathered, size = [], 0
        gathered.append(transaction)
        size += len(transaction.changes)
    yield gathered, batch.position
