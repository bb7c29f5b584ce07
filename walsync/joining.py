"""Which tables join a target beside its stream, and when: those that are new to it, and those ordered once more."""

from collections.abc import Callable, Collection, Sequence

import structlog

from walsync.copying import Copying
from walsync.logs import Logger
from walsync.lsn import LSN
from walsync.newcomers import Newcomers
from walsync.path import Path
from walsync.tables import Tables
from walsync.target.base import Target
from walsync.target.selection import Selected

log: Logger = structlog.get_logger()


class Joining:
    """One target's; `notify` is called when there may be something to take in."""

    def __init__(
        self, target: Target, tables: Tables, path: Path, *, copying: Copying, notify: Callable[[], None]
    ) -> None:
        self._target = target
        self._tables = tables
        self._path = path
        self._copying = copying
        self._notify = notify
        self._newcomers: Newcomers | None = None
        self._ordered: set[int] = set()

    @property
    def is_at_rest(self) -> bool:
        """Whether no table joins, and none is ordered."""
        return not self._ordered and self._newcomers is None

    @property
    def ordered(self) -> Sequence[Selected]:
        """The tables that somebody wants to be copied once more."""
        return [one for relid, one in self._tables.selected.items() if relid in self._ordered]

    def due(self, position: LSN) -> Sequence[Selected]:
        """Those of them whose turn it is for a target at `position`."""
        if not self._ordered or self._newcomers is not None:
            return ()
        return self.ordered if self._target.beside is None or self._is_level(position) else ()

    def order(self, tables: Collection[str]) -> None:
        """Copy tables once more, by qualified name."""
        found = self._tables.selected.items()
        self._ordered |= {relid for relid, one in found if one.table.qualified_name in tables}
        self._notify()

    def begun(self, tables: Sequence[Selected]) -> None:
        """Take note that what was ordered is under way."""
        self._ordered -= {one.table.relid for one in tables}

    def begin(self, tables: Sequence[Selected], position: LSN) -> bool:
        """Let tables join while the others go on; False where they have to come first.

        That is so before the target has begun to stream: then each finished table stays, whatever happens.
        """
        beside = self._target.beside
        if beside is None or not self._is_level(position):
            return False
        self._newcomers = Newcomers(
            tables, self._tables, beside, self._path, copying=self._copying, notify=self._notify
        )
        names = [one.table.qualified_name for one in tables]
        log.info("tables_join", target=self._copying.target, tables=names)
        return True

    async def take_in(self, position: LSN) -> bool:
        """Write what there is for a target at `position`; False if there is nothing yet."""
        newcomers = self._newcomers
        if newcomers is None:
            return False
        newcomers.raise_error()
        if not newcomers.is_ready(position):
            return False
        synced = await newcomers.take_place(position)
        if synced is None:  # what this target's stream brings for them has come already, or comes on theirs
            self._tables.leave(newcomers.relids)
        else:
            self._tables.join(newcomers.relids, synced)
            log.info("tables_joined", target=self._copying.target, tables=len(newcomers.relids), lsn=str(synced))
            self._newcomers = None
            await newcomers.close()
        return True

    async def leave(self) -> None:
        """Give up what has not taken its place; what was ordered is ordered still."""
        if self._newcomers is None:
            return
        newcomers, self._newcomers = self._newcomers, None
        self._ordered |= newcomers.relids & self._tables.synced.keys()  # the others lack a state: that is seen
        await newcomers.close()

    async def clear(self) -> None:
        """Give up what has not taken its place, and remove it from the target."""
        if self._newcomers is not None:
            await self.leave()
            if self._target.beside is not None:
                await self._target.beside.clear_stages()

    def _is_level(self, position: LSN) -> bool:
        """Whether a target at `position` has come to where its tables are: to one of them at least."""
        synced = self._tables.synced
        return bool(synced) and position >= min(synced.values())
