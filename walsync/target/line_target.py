"""What targets that take lines have in common: every step of theirs is made under the lock of a checkpoint in a file.

Look whose checkpoint it is, take away what no checkpoint covers, write, sync, and replace the checkpoint, which is the
moment when the lines count. Where they go is the outlet's business.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from threading import Event
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from walsync.errors import TargetRefused, TargetUnavailable
from walsync.lsn import LSN
from walsync.source.table import Table
from walsync.target.base import Batch, Checkpoint, Finding, TableState, Target, Writer
from walsync.target.fence import judge
from walsync.target.one_thread import OneThread, go_on
from walsync.target.records import Records
from walsync.target.sidecar import Sidecar, Stored, judged

T = TypeVar("T")

SNAPSHOT_ROWS: Final = 1000
"""Rows of a snapshot in one transaction: a line of that many is read in one go."""


class Outlet(Protocol):
    """Where lines go. Calls block, come from one thread, and may raise OSError."""

    makes_folder: bool
    """Whether the folder of the checkpoint is made where it is absent."""

    def look(self) -> None:
        """Raise TargetUnavailable where nothing could be written; change nothing."""

    def begin(self) -> Mapping[str, Any]:
        """Return the mark of a target that has no checkpoint yet."""

    def resume(self, mark: Mapping[str, Any]) -> None:
        """Stand where the mark was made; what came after it is taken away where that can be done."""

    def append(self, lines: Iterable[bytes], abandoned: Event) -> None:
        """Take the lines of one transaction; Abandoned when nobody waits any more."""

    def sync(self) -> Mapping[str, Any]:
        """Make all of them durable, as far as the outlet can, and return the mark behind them."""

    def drop(self) -> None:
        """Close what is open; the next `resume` begins anew."""


class LineTarget(Target):
    """A target of lines: every change is one or a part of one, in order."""

    kind: str

    def __init__(self, name: str, slot: str, records: Records, outlet: Outlet, sidecar: Sidecar) -> None:
        self.name = name
        self._slot = slot
        self._records = records
        self._outlet = outlet
        self._sidecar = sidecar
        self._thread = OneThread(f"target-{name}")
        self._writer: Writer | None = None

    async def read_checkpoint(self) -> Checkpoint | None:
        """Look, and change nothing; TargetUnavailable where nothing could be written."""
        stored = await self._run(self._look)
        return None if stored is None else stored.checkpoint

    async def register(self, target_id: UUID, writer: Writer, lsn: LSN) -> None:
        """Store the first checkpoint, or start again under the same id; the writer holds the target from here on."""
        self._check_slot(writer)
        await self._run(partial(self._register, target_id, writer, lsn))
        self._writer = writer

    async def claim(self, writer: Writer) -> Checkpoint:
        """Make `writer` the only one; TargetRefused WS4002 where the checkpoint is missing."""
        self._check_slot(writer)
        stored = await self._run(partial(self._sidecar.claim, writer))
        self._writer = writer
        return stored.checkpoint

    async def prepare(self, tables: Sequence[Table]) -> None:
        """Take the tables that will come, forget the states of all others, and see that the lines are all there."""
        await self._run(partial(self._prepare, self._require_writer(), tables))

    async def compare(self, tables: Sequence[Table]) -> Sequence[Finding]:
        """Find nothing: lines fit every table."""
        del tables
        return ()

    async def table_states(self) -> Mapping[str, TableState]:
        """Tell the tables whose copy is complete."""
        stored = await self._run(self._look)
        return {} if stored is None else stored.tables

    async def copy(self, table: Table, state: TableState, chunks: AsyncIterator[bytes]) -> int:
        """Write a snapshot: that the table is emptied, then its rows. The checkpoint covers it with the last row."""
        copying = _Copying(self._require_writer(), table, state)
        await self._run(partial(self._begin_copy, copying))
        async for chunk in chunks:
            copying.waiting += chunk.split(b"\n")[:-1]
            while len(copying.waiting) >= SNAPSHOT_ROWS:
                await self._run(partial(self._append_rows, copying))
        await self._run(partial(self._finish_copy, copying))
        return copying.rows

    async def write(self, batch: Batch) -> None:
        """Write the lines of all transactions, then the checkpoint."""
        await self._run(partial(self._write, self._require_writer(), batch))

    async def forget(self) -> None:
        """Remove the checkpoint; the lines that it covers stay."""
        await self._run(self._forget)
        self._writer = None

    async def close(self) -> None:
        """Close what is open and end the thread."""
        await self._thread.run(lambda _: self._outlet.drop())
        self._thread.close()

    def _look(self, _abandoned: Event) -> Stored | None:
        stored = self._sidecar.read()
        if stored is None:
            self._outlet.look()
        return stored

    def _register(self, target_id: UUID, writer: Writer, lsn: LSN, abandoned: Event) -> None:
        if self._outlet.makes_folder:
            self._sidecar.path.parent.mkdir(parents=True, exist_ok=True)
        with self._sidecar.locked(abandoned):
            mark = {} if self._sidecar.path.exists() else self._outlet.begin()
            self._sidecar.register(target_id, writer, lsn, mark)

    def _prepare(self, writer: Writer, tables: Sequence[Table], abandoned: Event) -> None:
        kept = {table.qualified_name for table in tables}
        with self._sidecar.turn(writer, abandoned) as stored:
            self._outlet.resume(stored.mark)
            states = {name: state for name, state in stored.tables.items() if name in kept}
            if states != stored.tables:
                self._sidecar.store(replace(stored, tables=states))
        self._records.prepare(tables)

    def _begin_copy(self, copying: "_Copying", abandoned: Event) -> None:
        with self._sidecar.turn(copying.writer, abandoned) as stored:
            self._outlet.resume(stored.mark)
            self._outlet.append(self._records.of_beginning(copying.table, copying.state.synced_lsn), abandoned)

    def _append_rows(self, copying: "_Copying", abandoned: Event) -> None:
        with self._sidecar.turn(copying.writer, abandoned):
            self._take_rows(copying, abandoned)

    def _take_rows(self, copying: "_Copying", abandoned: Event) -> None:
        lines = copying.take()
        if lines:
            self._outlet.append(self._records.of_rows(copying.table, copying.state.synced_lsn, lines), abandoned)

    def _finish_copy(self, copying: "_Copying", abandoned: Event) -> None:
        with self._sidecar.turn(copying.writer, abandoned) as stored:
            self._take_rows(copying, abandoned)
            mark = self._outlet.sync()
            go_on(abandoned)
            states = {**stored.tables, copying.table.qualified_name: copying.state}
            self._sidecar.store(replace(stored, mark=mark, tables=states))

    def _write(self, writer: Writer, batch: Batch, abandoned: Event) -> None:
        with self._sidecar.turn(writer, abandoned) as stored:
            if stored.checkpoint.lsn != batch.previous:
                raise judge(self.name, stored.checkpoint, writer)
            self._outlet.resume(stored.mark)
            for transaction in batch.transactions:
                self._outlet.append(self._records.of(transaction), abandoned)
            mark = self._outlet.sync()
            go_on(abandoned)
            self._sidecar.store(stored.moved(batch.position, mark))

    def _forget(self, abandoned: Event) -> None:
        if self._sidecar.read() is None:
            return
        with self._sidecar.locked(abandoned):
            stored = self._sidecar.read()
            if stored is None:
                return
            self._outlet.drop()
            with suppress(TargetRefused):  # lines that are gone already need not be cut
                self._outlet.resume(stored.mark)
            self._outlet.drop()
            self._sidecar.remove()

    async def _run(self, work: Callable[[Event], T]) -> T:
        with self._voided():
            return await self._thread.run(partial(self._clean, work))

    def _clean(self, work: Callable[[Event], T], abandoned: Event) -> T:
        """Do one step; whatever breaks it off, the next one begins from the checkpoint."""
        try:
            with judged(self.name):
                return work(abandoned)
        except BaseException:
            self._outlet.drop()
            raise

    def _check_slot(self, writer: Writer) -> None:
        if writer.slot != self._slot:
            raise TargetRefused("WS4006", f"target {self.name}: made for slot {self._slot}, not {writer.slot}")

    def _require_writer(self) -> Writer:
        if self._writer is None:
            raise TargetUnavailable("WS4103", f"target {self.name}: not claimed since a step of it failed")
        return self._writer

    @contextmanager
    def _voided(self) -> Iterator[None]:
        """Make the claim void after whatever leaves the position unknown."""
        try:
            yield
        except TargetRefused:
            raise
        except (Exception, asyncio.CancelledError):
            self._writer = None
            raise


class _Copying:
    """A snapshot on its way: lines of COPY text that wait, and how many rows were taken."""

    def __init__(self, writer: Writer, table: Table, state: TableState) -> None:
        self.writer = writer
        self.table = table
        self.state = state
        self.waiting: list[bytes] = []
        self.rows = 0

    def take(self) -> list[bytes]:
        taken, self.waiting = self.waiting[:SNAPSHOT_ROWS], self.waiting[SNAPSHOT_ROWS:]
        self.rows += len(taken)
        return taken
