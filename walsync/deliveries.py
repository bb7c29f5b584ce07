"""The deliveries of a session, by target: begun, exchanged and ended as the configuration says.

A delivery whose assignment stays the same goes on untouched. One that has to end finishes the write in progress; where
that hangs it is taken back, and its target alone waits for it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from walsync.assignment import Assignment
from walsync.checkpoint.registry import Registration
from walsync.delivery import Delivery
from walsync.errors import ConfigurationError, SourceUnavailable, stopped
from walsync.logs import Logger
from walsync.path import Path
from walsync.status import TargetState
from walsync.target.registry import open_target

_DRAIN_SECONDS: Final = 10.0
_BACKOFF: Final = wait_random_exponential(multiplier=0.25, max=5)

log: Logger = structlog.get_logger()


@dataclass(slots=True)
class _Begun:
    assignment: Assignment
    delivery: Delivery
    running: asyncio.Task[None] | None = None

    def goes_on(self, wanted: Assignment | None) -> bool:
        """Whether there is nothing to do for `wanted`; a target that has stopped is tried again."""
        return self.assignment == wanted and self.delivery.progress.state is not TargetState.STOPPED


class Deliveries(Mapping[str, Delivery]):
    """One for each target; `change` may be called before `run`, and at any time until `drain`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wanted: Mapping[str, Assignment] = {}
        self._begun: dict[str, _Begun] = {}
        self._exchanging: set[asyncio.Task[None]] = set()
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._group: asyncio.TaskGroup | None = None
        self._drained = asyncio.Event()

    def __getitem__(self, name: str) -> Delivery:
        return self._begun[name].delivery

    def __iter__(self) -> Iterator[str]:
        return iter(self._begun)

    def __len__(self) -> int:
        return len(self._begun)

    def change(self, wanted: Mapping[str, Assignment], registrations: Mapping[str, Registration]) -> None:
        """Let every target have what is wanted from now on; returns at once, and nobody waits for another."""
        self._wanted = wanted
        new = [name for name in wanted if name not in self._begun]
        changed = [name for name, begun in self._begun.items() if not begun.goes_on(wanted.get(name))]
        for name in new:
            self._begin(name, registrations.get(name))
        if self._group is None:
            return
        for name in changed:
            exchanging = self._group.create_task(self._exchange(name))
            self._exchanging.add(exchanging)
            exchanging.add_done_callback(self._exchanging.discard)
        log.info("targets_taken", new=new, changed=changed)

    async def run(self) -> None:
        """Deliver until drained; Fenced, which ends one, ends all."""
        async with asyncio.TaskGroup() as group:
            if self._drained.is_set():
                return
            self._group = group
            try:
                for begun in self._begun.values():
                    begun.running = group.create_task(begun.delivery.run())
                await self._drained.wait()
            finally:
                self._group = None

    async def drain(self) -> int:
        """Let the targets finish what was read, and end all; tells how many did so in time."""
        self._group = None
        for exchanging in self._exchanging:
            exchanging.cancel()
        running = [begun.running for begun in self._begun.values() if begun.running is not None]
        for begun in self._begun.values():
            begun.delivery.drain()
            if begun.running is not None and not begun.delivery.is_at_work:
                begun.running.cancel()
        done: set[asyncio.Task[None]] = set()
        if running:
            done, late = await asyncio.wait(running, timeout=_DRAIN_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.wait(running)
        self._drained.set()
        return len(done)

    def _begin(self, name: str, registration: Registration | None, ordered: Collection[str] = ()) -> None:
        assignment, slot = self._wanted[name], self._path.writer.slot
        target = open_target(assignment.settings, slot=slot, collapse=assignment.batch.transactions != 1)
        delivery = Delivery(target, assignment, registration, self._path)
        delivery.copy_again(ordered)
        running = self._group.create_task(delivery.run()) if self._group is not None else None
        self._begun[name] = _Begun(assignment, delivery, running)

    async def _exchange(self, name: str) -> None:
        """End a target's delivery, and begin the next one, if the target is wanted still."""
        async with self._one_at_a_time[name]:
            begun = self._begun.get(name)
            if begun is None or begun.goes_on(self._wanted.get(name)):
                return  # by another change meanwhile
            await begun.delivery.end()
            if begun.running is not None:
                await asyncio.wait([begun.running])
            registration = await self._registration(name)  # as of now: it was registered or given up until a moment ago
            if name in self._wanted:
                self._begin(name, registration, begun.delivery.ordered)
            else:
                self._forget(name)

    def _forget(self, name: str) -> None:
        del self._begun[name]
        self._path.hold.forget(name)
        if self._path.acknowledgement.durable(name) is not None:
            self._path.acknowledgement.leave(name)
        self._path.main.leave(name)
        log.info("target_left", target=name)

    async def _registration(self, name: str) -> Registration | None:
        retrying = AsyncRetrying(retry=retry_if_exception_type(SourceUnavailable), wait=_BACKOFF, reraise=True)
        return await retrying(self._path.upstream.registration, name)


def copy_again(deliveries: Mapping[str, Delivery], target: str | None, table: str | None) -> dict[str, list[str]]:
    """Copy a table once more, or all, to a target or to all, while the others go on; returns which, by target."""
    if target is not None and target not in deliveries:
        known = ", ".join(deliveries) or "none: the instance is starting"
        raise ConfigurationError("WS1021", f"there is no target {target}", hint=f"the targets known here: {known}")
    chosen = {name: each for name, each in deliveries.items() if target in {None, name}}
    for name, each in chosen.items():
        if each.progress.state is TargetState.STOPPED:
            raise stopped(name)
    found = {name: [one for one in each.tables if table in {None, one}] for name, each in chosen.items()}
    if not any(found.values()):
        known = ", ".join(sorted({one for each in chosen.values() for one in each.tables}))
        raise ConfigurationError(
            "WS1034", f"no table {table or ''} to be copied there", hint=f"the tables known there: {known}"
        )
    for name, tables in found.items():
        chosen[name].copy_again(tables)
    return {name: tables for name, tables in found.items() if tables}
