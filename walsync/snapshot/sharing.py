"""One read of a table for all targets that want it: each chunk is handed to each of them, as fast as they take it.

A target that cannot keep pace leaves: while its queue is full and another waits with an empty one, the read goes on
without it. It reads by itself what it was not handed, of the part that it left in from behind what it has. So does one
that comes when some parts have begun. Nothing is handed twice, nothing is missed, and the queues bound the memory.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import structlog

from walsync.errors import SourceUnavailable
from walsync.logs import Logger
from walsync.snapshot.parts import ALL_ROWS, PART_BLOCKS, Match, Part
from walsync.snapshot.progress import CopyProgress
from walsync.snapshot.session import Plan, SnapshotSession, SnapshotSessions
from walsync.snapshot.throttle import Throttle
from walsync.source.copy_out import Chunk
from walsync.source.table import Table

_HUNGRY_CHUNKS: Final = 8
"""So many in a row, 2 MB, handed to somebody who waited with nothing: the source is slower than they are.

Before that one session suffices, and the rows come in their order: a target's index takes 8 % less time for a key that
only grows than for two that take turns, and stays smaller.
"""

QUEUE_BYTES: Final = 8 * 1024**2
"""How far a target may be behind the fastest of those that it shares a read with."""

log: Logger = structlog.get_logger()


class Follower:
    """What one target was handed and has not taken yet, and what it was not handed."""

    def __init__(self, progress: CopyProgress) -> None:
        self.missing: dict[Part, int] = {}
        """The parts that it was not handed to their end, and how many bytes of each it was."""
        self.progress = progress
        self.waits = False
        self._chunks: deque[Chunk] = deque()
        self._size = 0
        self._ended = False
        self._error: BaseException | None = None
        self._moved = asyncio.Event()

    @property
    def size(self) -> int:
        """How many bytes it has not taken yet."""
        return self._size

    def expect(self, plan: Plan, *, estimate: bool) -> None:
        """Begin to miss all parts."""
        self.missing = dict.fromkeys(plan.parts, 0)
        if estimate:
            self.progress.expect(plan.total_rows, plan.total_bytes)

    def put(self, part: Part, chunk: Chunk) -> None:
        """Hand over the next chunk of a part."""
        self.missing[part] += len(chunk.lines)
        self._chunks.append(chunk)
        self._size += len(chunk.lines)
        self._moved.set()

    def end(self, error: BaseException | None = None) -> None:
        """Say that nothing follows."""
        self._ended, self._error = True, error
        self._moved.set()

    async def take(self, waits: asyncio.Event) -> Chunk | None:
        """Return the next chunk, None at the end; sets `waits` whenever it has made room or has nothing."""
        while not self._chunks and not self._ended:
            self.waits = True
            waits.set()
            self._moved.clear()
            await self._moved.wait()
        self.waits = False
        if self._error is not None:
            raise self._error
        if not self._chunks:
            return None
        chunk = self._chunks.popleft()
        self._size -= len(chunk.lines)
        waits.set()
        return chunk


class SharedRead:
    """The read of one table, by several sessions; it begins with its first follower."""

    def __init__(
        self,
        sessions: SnapshotSessions,
        throttle: Throttle,
        table: Table,
        match: Match = ALL_ROWS,
        *,
        part_blocks: int = PART_BLOCKS,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self._sessions = sessions
        self._throttle = throttle
        self._table = table
        self._match = match
        self._part_blocks = part_blocks
        self._queue_bytes = queue_bytes
        self._plan: Plan | None = None
        self._to_begin: deque[Part] = deque()
        self._followers: list[Follower] = []
        self._moved = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._sessions_in_use = 0
        self._hungry = 0
        self._group: asyncio.TaskGroup | None = None
        self._is_open = True

    @property
    def is_open(self) -> bool:
        """Whether who comes now is handed something."""
        return self._is_open and (self._plan is None or bool(self._to_begin))

    async def follow(self, progress: CopyProgress) -> AsyncGenerator[bytes, None]:
        """Yield all chunks of the table, those of different parts in any order; the source's errors.

        For who begins while the read `is_open`.
        """
        follower = Follower(progress)
        if self._plan is not None:
            follower.expect(self._plan, estimate=self._is_whole)
        self._followers.append(follower)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        try:
            while (chunk := await follower.take(self._moved)) is not None:
                progress.count(chunk.rows, len(chunk.lines))
                yield chunk.lines
        finally:
            await self._leave(follower)
        if follower.missing:
            async with aclosing(self._read_alone(follower)) as chunks:
                async for lines in chunks:
                    progress.count(lines.count(b"\n"), len(lines))
                    yield lines

    @property
    def _is_whole(self) -> bool:
        # Of a part of the rows the catalogue knows nothing.
        return self._table.row_filter is None and not self._match

    async def _leave(self, follower: Follower) -> None:
        if follower in self._followers:
            self._followers.remove(follower)
        self._moved.set()
        if not self._followers and self._reading is not None:
            self._is_open = False
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _read(self) -> None:
        error: BaseException | None = None
        try:
            await self._read_all()
        except asyncio.CancelledError:
            error = SourceUnavailable("WS2002", "the read of the table was given up")
        except BaseException as raised:  # noqa: BLE001 - whatever it is, it ends the copies that wait for it
            error = _leaf(raised)
        self._is_open = False
        for follower in self._followers:
            follower.end(error)

    async def _read_all(self) -> None:
        async with self._sessions.borrowed() as session:
            await session.lock(self._table)
            self._plan = await session.plan(self._table, self._part_blocks)
            for follower in self._followers:
                follower.expect(self._plan, estimate=self._is_whole)
            self._to_begin.extend(self._plan.parts)
            async with asyncio.TaskGroup() as self._group:
                await self._read_parts(session)
            await session.unlock()

    def _call_for_help(self, group: asyncio.TaskGroup) -> None:
        self._hungry = 0
        # Those that are not idle read another table.
        if self._to_begin and self._sessions_in_use < self._sessions.count and self._sessions.has_idle:
            group.create_task(self._help())

    async def _help(self) -> None:
        async with self._sessions.borrowed() as session:
            # Behind somebody who waits for the first session's lock this one would wait for that, too.
            if await session.lock(self._table, wait=False):
                await self._read_parts(session)
                await session.unlock()

    async def _read_parts(self, session: SnapshotSession) -> None:
        self._sessions_in_use += 1
        while self._to_begin and self._followers:
            part = self._to_begin.popleft()
            takers = list(self._followers)
            async with aclosing(session.copy(self._table, part, self._match)) as chunks:
                async for chunk in chunks:
                    await self._throttle.passed(len(chunk.lines))
                    await self._hand(part, chunk, takers)
            for follower in takers:
                follower.missing.pop(part, None)

    async def _hand(self, part: Part, chunk: Chunk, takers: list[Follower]) -> None:
        """Hand a chunk to those who take this part, of whom some may have left; wait until all have room."""
        while True:
            takers[:] = [follower for follower in takers if follower in self._followers]
            full = [follower for follower in takers if follower.size >= self._queue_bytes]
            if not full:
                break
            if any(follower.waits for follower in self._followers):
                for follower in full:
                    self._let_go(follower)
                continue
            self._moved.clear()
            await self._moved.wait()
        self._hungry = self._hungry + 1 if any(follower.waits for follower in takers) else 0
        if self._hungry >= _HUNGRY_CHUNKS and self._group is not None:
            self._call_for_help(self._group)
        for follower in takers:
            follower.put(part, chunk)

    def _let_go(self, follower: Follower) -> None:
        self._followers.remove(follower)
        follower.end()
        log.info("table_read_alone", table=self._table.qualified_name, parts=len(follower.missing))

    async def _read_alone(self, follower: Follower) -> AsyncGenerator[bytes, None]:
        async with self._sessions.borrowed() as session:
            await session.lock(self._table)
            for part, handed in list(follower.missing.items()):
                behind = handed
                async with aclosing(session.copy(self._table, part, self._match)) as chunks:
                    async for chunk in chunks:
                        await self._throttle.passed(len(chunk.lines))
                        if behind < len(chunk.lines):
                            yield chunk.lines[behind:]
                        behind = max(0, behind - len(chunk.lines))
                follower.missing.pop(part, None)
            await session.unlock()


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
