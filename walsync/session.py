"""What one hold on the slot has read, and how far each target has come with it. It lives on the event loop."""

import asyncio
from typing import Final

import structlog

from walsync.assignment import assign
from walsync.backlog.backlog import Backlog
from walsync.catch_up import CatchUp
from walsync.checkpoint.acknowledgement import Acknowledgement
from walsync.config import Config
from walsync.deliveries import Deliveries
from walsync.feed import Feed
from walsync.holding import Hold
from walsync.logs import Logger
from walsync.lsn import LSN
from walsync.metrics import Metrics
from walsync.path import Path
from walsync.published import Published
from walsync.right_of_way import RightOfWay
from walsync.snapshots import Snapshots
from walsync.source.stream import Stream
from walsync.target.base import Writer
from walsync.upstream import Prepared, Upstream

_LAST_WORD_SECONDS: Final = 10.0

log: Logger = structlog.get_logger()


class Session:
    """The main feed with a delivery per target, the feeds of those behind it, and the acknowledgement back."""

    def __init__(
        self, upstream: Upstream, prepared: Prepared, writer: Writer, config: Config, metrics: Metrics
    ) -> None:
        self.config = config
        self.prepared = prepared
        self.writer = writer
        self.acknowledgement = Acknowledgement(prepared.confirmed_flush)
        self.hold = Hold(upstream, self.acknowledgement, prepared.hold, metrics)
        self.main = Feed(
            upstream,
            Backlog(config.backlog.max_bytes, prepared.confirmed_flush),
            lambda: self.acknowledgement.confirmed,
            received=metrics.count_received,
            left=self.hold.want,
        )
        way = RightOfWay()
        self.catch_up = CatchUp(upstream, prepared, config.backlog, self.acknowledgement.durable, pause=way.give_way)
        self.snapshots = Snapshots(upstream, config.snapshot, lambda: self.acknowledgement.confirmed)
        path = Path(
            upstream,
            prepared,
            writer,
            self.main,
            self.catch_up,
            self.hold,
            self.snapshots,
            self.acknowledgement,
            metrics,
            way,
        )
        self.deliveries = Deliveries(path)
        self._upstream = upstream
        self.take(config, prepared.published)

    def take(self, config: Config, published: Published) -> None:
        """Go by another configuration, whose tables are in the publication; what it does not change goes on untouched.

        Raises ConfigurationError, and changes nothing, where a target wants what is not there.
        """
        assignments = assign(config, published)
        self.config, self.published = config, published
        self.main.resize(config.backlog.max_bytes)
        self.catch_up.take(config.backlog)
        self.snapshots.take(config.snapshot)
        self.deliveries.change(assignments, published.registrations)

    @property
    def held(self) -> dict[str, LSN]:
        """What each target has for which WAL is kept; who lacks what is gone keeps nothing."""
        held_from = self.hold.held_from
        return {name: lsn for name, lsn in self.acknowledgement.members.items() if lsn >= held_from}

    def resume(self) -> LSN:
        """Say where a broken stream goes on, and let go of the targets for which that is too late.

        What is confirmed is not asked for again: it may be undecodable, in a publication made since. Targets that the
        hold slot keeps it for may lack it.
        """
        position = max(self.main.backlog.end, self.acknowledgement.confirmed)
        self.main.skip_to(position)
        return position

    async def read(self, stream: Stream) -> None:
        """Read the main stream until it breaks or the session is drained."""
        await self.main.read(stream)

    async def drain(self, reading: asyncio.Task[None]) -> None:
        """Stop reading, let the targets finish what was read, confirm it, and end the deliveries and `reading`."""
        log.info("draining")
        self.main.drain()
        done = await self.deliveries.drain()
        self.main.stop()
        await asyncio.wait([reading], timeout=_LAST_WORD_SECONDS)
        reading.cancel()
        await self._upstream.note_durable(
            {name: lsn for name in self.deliveries if (lsn := self.acknowledgement.durable(name)) is not None}
        )
        log.info("drained", targets=done, confirmed_lsn=str(self.acknowledgement.confirmed))
