"""Tables that join a target while its others go on: copied beside them, then brought to where those are.

The snapshot is as of L. Its slot is copied, and what these tables were given since L is read from that copy. Between
two batches of the target, and once that reading has come as far as the target is, the rows take their place together
with those changes: as of S, at or above the target's position. From there on the target's own stream has them. Nobody
waits for anybody meanwhile.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from walsync.backlog.backlog import Backlog, Limits
from walsync.copying import Copying
from walsync.errors import SourceUnavailable, WalsyncError
from walsync.feed import Feed
from walsync.logs import Logger
from walsync.lsn import LSN
from walsync.path import Path
from walsync.source.stream import Stream
from walsync.source.table import Table
from walsync.tables import Tables
from walsync.target.base import Beside
from walsync.target.selection import Selected, keep_change
from walsync.target.slices import weigh
from walsync.transaction.change import Transaction

_EVERYTHING: Final = Limits(2**63, 2**63, 2**63)
_BACKOFF: Final = wait_random_exponential(multiplier=0.25, max=5)

log: Logger = structlog.get_logger()


class Newcomers:
    """The tables that join one target together. `notify` is called when there may be something to do."""

    def __init__(
        self,
        joining: Sequence[Selected],
        tables: Tables,
        beside: Beside,
        path: Path,
        *,
        copying: Copying,
        notify: Callable[[], None],
    ) -> None:
        self.relids: Final = frozenset(one.table.relid for one in joining)
        self._joining = {one.table.relid: one for one in joining}
        self._tables = tables
        self._beside = beside
        self._path = path
        self._copying = copying
        self._notify = notify
        self._feed: Feed | None = None
        self._waiting: list[Table] = []
        """Staged, and not in their place yet."""
        self._error: BaseException | None = None
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)

    def raise_error(self) -> None:
        """Raise what keeps the tables from joining and will not pass; a mistake of ours as it is, as a lane does."""
        if self._error is not None:
            raise self._error

    def is_ready(self, position: LSN) -> bool:
        """Tell whether `take_place` has something to do: for a target at `position`, or for want of room."""
        if self._feed is None:
            return False
        return self._feed.backlog.end >= position or self._feed.backlog.is_full

    async def take_place(self, position: LSN) -> LSN | None:
        """Write what there is; returns the position as of which the tables are complete, None while they are not yet.

        The target stands at `position`, and nothing else is written meanwhile.
        """
        feed = self._feed
        if feed is None:
            raise RuntimeError("asked for by is_ready")
        name = self._copying.target
        taken = feed.backlog.take(name, _EVERYTHING) if feed.backlog.has_more(name) else ()
        reached = feed.backlog.end
        complete = reached >= position
        states = [(one.table, self._tables.state(one, reached)) for one in self._joining.values()] if complete else []
        changed = [transaction for transaction in taken if transaction.changes]
        await self._beside.take_place(self._waiting, changed, states)
        self._waiting = []
        if taken:
            feed.backlog.advance(name)
            feed.moved()
        return reached if complete else None

    async def close(self) -> None:
        """Give up what has not taken its place."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._copying.progress.joining_error = None

    async def _run(self) -> None:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(SourceUnavailable), wait=_BACKOFF, before_sleep=self._note, reraise=True
        )
        async for attempt in retrying:
            with attempt:
                await self._join()

    async def _join(self) -> None:
        path = self._path
        # The stream's slot first: where the server has no room for it, no row is read in vain.
        async with path.snapshots.join() as snapshot, path.upstream.copied(path.prepared, snapshot.slot) as stream_from:
            for one in self._joining.values():
                await self._copying.copy(one, snapshot, partial(self._beside.stage, one.table))
            feed = self._make_feed(snapshot.lsn)
            stream = await stream_from(snapshot.lsn)
        await self._read(stream, feed)

    def _make_feed(self, start: LSN) -> Feed:
        backlog = Backlog(self._path.main.backlog.max_bytes, start)
        feed = Feed(self._path.upstream, backlog, lambda: start, keep=self._keep)
        feed.follow(self._copying.target, start, self._notify)
        return feed

    async def _read(self, stream: Stream, feed: Feed) -> None:
        self._waiting = [one.table for one in self._joining.values()]
        self._feed = feed
        self._copying.progress.joining_error = None
        self._notify()
        try:
            await feed.read(stream, self._path.way.give_way)
        finally:
            self._feed = None  # also where rows took their place already: they do so again
        raise SourceUnavailable("WS2002", "the stream of tables that join has ended")

    def _keep(self, transaction: Transaction) -> Transaction:
        """Leave the changes of these tables."""
        changes = tuple(
            kept for change in transaction.changes if (kept := keep_change(change, self._joining)) is not None
        )
        return transaction._replace(changes=changes, messages=(), size_bytes=sum(map(weigh, changes)))

    def _note(self, retry: RetryCallState) -> None:
        error = retry.outcome.exception() if retry.outcome else None
        if isinstance(error, WalsyncError):
            self._copying.progress.joining_error = error
            self._copying.metrics.target_errors.labels(target=self._copying.target, code=error.code).inc()
            log.warning("tables_wait", target=self._copying.target, code=error.code, error=error.message)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._error = None if task.cancelled() else task.exception()
        self._notify()
