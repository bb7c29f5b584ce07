"""The source as the running process uses it: catalogue, registry, slot, streams and snapshots, called from the loop.

Everything blocking runs in a thread, one call at a time on one ordinary session, which is opened again after a failure.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import psycopg2
import structlog

from walsync.checkpoint.gap_guard import SourcePosition
from walsync.checkpoint.registry import (
    Registration,
    RegistrationState,
    Registry,
    refuse_missing_slot,
)
from walsync.errors import Fenced, SourceRefused, SourceUnavailable
from walsync.logs import Logger
from walsync.lsn import LSN
from walsync.opening import opened
from walsync.postgres import Connection, run_name
from walsync.published import Published, look, publish
from walsync.snapshot.export import ExportedSnapshot
from walsync.snapshot.session import SnapshotSessions
from walsync.source import publication, retention, timeline
from walsync.source import slot as slots
from walsync.source.session import (
    Identity,
    draw_epoch,
    emit_heartbeat,
    identify,
    open_primary,
    open_replication,
    open_session,
    source_error,
)
from walsync.source.settings import SourceSettings
from walsync.source.slot import SlotActive
from walsync.source.stream import SlotCopy, Stream
from walsync.source.table import Table
from walsync.target.base import Writer

_T = TypeVar("_T")
_BLOCKERS_EVERY_SECONDS: Final = 2.0
_CANCEL_EVERY_SECONDS: Final = 0.25
"""A cancel request between two statements does nothing, so it is repeated."""

log: Logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Prepared:
    """The source is ready to stream: what it is, what is published, who is registered, where the slot stands."""

    identity: Identity
    history: tuple[timeline.Switch, ...]
    published: Published
    confirmed_flush: LSN
    hold: slots.Slot | None
    """The slot that keeps WAL for targets which the main one does not wait for."""


class Upstream:
    """One source, one slot."""

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self._dsn = settings.dsn.get_secret_value()
        self._name = f"walsync {settings.slot}"
        self._hold_name = slots.hold_name(settings.slot)
        self._session: Connection | None = None
        self._one_call = asyncio.Lock()
        self.blocker: slots.Blocker | None = None
        """The transaction that the creation of a slot is waiting for, while it waits."""

    async def prepare(self, settings: SourceSettings, targets: Collection[str]) -> Prepared:
        """Check the source, then make registry, publication and slot what the configuration says."""
        published = await self.publish(settings, targets)
        async with self._replication(self._name) as replication:
            identity, history = await asyncio.to_thread(_identify, replication)
        confirmed = await self._ensure_slot(published.registrations)
        hold = await self._mark(await self.hold_slot())
        return Prepared(identity, history, published, confirmed, hold)

    async def look(self, settings: SourceSettings, targets: Collection[str]) -> Sequence[Table]:
        """Check the source as `publish` does, and change nothing; returns the tables."""
        return await self._call(lambda session: look(session, settings, targets))

    async def publish(self, settings: SourceSettings, targets: Collection[str]) -> Published:
        """Make registry and publication what a configuration says, which has the same slot; streams go on."""
        return await self._call(lambda session: publish(session, settings, targets))

    async def reopen_stream(self, prepared: Prepared, start: LSN, writer: Writer) -> Stream:
        """Go on with a slot that this run had; Fenced where a newer run has it now."""
        try:
            return await self.open_stream(prepared, start, writer)
        except SlotActive as error:
            reader = await self._call(lambda session: slots.reading_epoch(session, self._settings.slot))
            if reader is None or reader <= writer.epoch:
                raise  # our own session perhaps, which the server has not given up yet
            raise Fenced(
                "WS2409",
                f"another run reads slot {self._settings.slot} (epoch {reader}, this one has {writer.epoch}): it took "
                "over while this one was frozen or cut off",
                hint="nothing to do if a newer instance is running; else start this one again",
            ) from error

    async def open_stream(self, prepared: Prepared, start: LSN, writer: Writer) -> Stream:
        """Take the slot and stream from `start`; SlotActive while another session has it."""
        return await opened(
            lambda: Stream.open(
                self._dsn,
                identity=prepared.identity,
                slot=self._settings.slot,
                publication=self._settings.publication,
                start=start,
                application_name=run_name(self._settings.slot, writer.epoch),
            )
        )

    async def open_catch_up(self, prepared: Prepared, start: LSN) -> Stream:
        """Stream from `start` through a temporary copy of the slot that still holds it.

        SourceUnavailable where none does, or where the server has no room for another slot or sender: wait, try again.
        """
        holding = [await self.slot(), await self.hold_slot()]
        names = [
            slot.name
            for slot in holding
            if slot is not None and slot.confirmed_flush_lsn is not None and slot.confirmed_flush_lsn <= start
        ]
        if not names:
            raise SourceUnavailable("WS2408", f"no slot holds what committed since {start}", hint="walsync status")
        async with self.copied(prepared, names[0]) as stream_from:
            return await stream_from(start)

    @asynccontextmanager
    async def copied(self, prepared: Prepared, slot: str) -> AsyncIterator[Callable[[LSN], Awaitable[Stream]]]:
        """Copy a slot, which may be in use; gives what opens a stream from the copy. SourceUnavailable: try again.

        The copy ends with the block, or with the stream.
        """
        try:
            copy = await opened(
                lambda: SlotCopy.take(
                    self._dsn,
                    identity=prepared.identity,
                    slot=slot,
                    name=self._copy_name("catch"),
                    application_name=f"{self._name} catch up",
                )
            )
        except SourceRefused as error:
            raise SourceUnavailable(error.code, error.message, hint=error.hint) from error
        try:
            yield lambda start: opened(lambda: copy.stream(self._settings.publication, start))
        finally:
            await asyncio.to_thread(copy.close)

    async def draw_writer(self, prepared: Prepared) -> Writer:
        """Draw the epoch of the next attempt to take the slot."""
        identity = prepared.identity
        epoch = await self._call(lambda session: draw_epoch(session, identity.timeline))
        return Writer(self._settings.slot, identity.system_identifier, identity.timeline, epoch)

    async def position(self, prepared: Prepared, confirmed: LSN) -> SourcePosition:
        """Return where the source stands now, for the gap guard."""
        wal_end = await self.wal_end()
        identity = prepared.identity
        return SourcePosition(identity.system_identifier, identity.timeline, prepared.history, confirmed, wal_end)

    async def wal_end(self) -> LSN:
        """Return the end of the flushed WAL."""
        return LSN.parse(await self._call(_flush_lsn))

    async def slot(self) -> slots.Slot | None:
        """Return the slot as the server shows it."""
        return await self._call(lambda session: slots.find(session, self._settings.slot))

    async def hold_slot(self) -> slots.Slot | None:
        """Return the hold slot as the server shows it."""
        return await self._call(lambda session: slots.find(session, self._hold_name))

    async def copy_hold(self) -> slots.Slot | None:
        """Make the hold slot, where the main one stands."""

        def copy(session: Connection) -> slots.Slot | None:
            slots.copy(session, self._settings.slot, self._hold_name, temporary=False)
            return slots.find(session, self._hold_name)

        return await self._mark(await self._call(copy))

    async def advance_hold(self, lsn: LSN) -> None:
        """Let the hold slot forget what committed below `lsn`; reads the WAL up to there, so it may take its time."""
        await self._call_apart(lambda session: slots.advance(session, self._hold_name, lsn))

    async def has_narrowed(self, published: Published) -> bool:
        """Tell whether the publication may have left out changes since it was made what the configuration says."""
        name = self._settings.publication
        found = await self._call(lambda session: publication.find(session, name))
        return publication.has_narrowed(published.publication, found)

    async def retention(self) -> retention.Retention:
        """Return how much WAL the server keeps for the slot, the hold slot, and temporary ones, each under its name."""
        names = self._settings.slot, self._hold_name
        temporary = [f"{slots.derived(self._settings.slot)}_{purpose}_" for purpose in ("snap", "catch")]
        return await self._call(lambda session: retention.look(session, *names, temporary=temporary))

    async def restart_after(self, slot: str, lsn: LSN) -> LSN | None:
        """Tell where restart_lsn of a slot would be if it stood at `lsn`; reads the WAL up to there."""
        copied_as = self._copy_name("try")
        return await self._call_apart(lambda session: retention.restart_after(session, slot, copied_as, lsn))

    async def emit_heartbeat(self) -> None:
        """Commit a logical message, so that this database has a transaction of its own in the WAL."""
        await self._call(emit_heartbeat)

    async def drop_hold(self) -> None:
        """Drop the hold slot."""
        await self._call(lambda session: slots.drop(session, self._hold_name))

    async def note_state(self, name: str, state: RegistrationState, durable: LSN) -> None:
        """Note in the registry where a target is in its life."""
        await self._call(lambda session: self._registry(session).note_state(name, state, durable))

    async def registration(self, name: str) -> Registration | None:
        """Look a target up in the registry."""
        return await self._call(lambda session: self._registry(session).load().get(name))

    async def register(self, name: str, kind: str, durable: LSN) -> Registration:
        """Begin to register a target."""
        return await self._call(lambda session: self._registry(session).add(name, kind, durable))

    async def complete_registration(self, name: str) -> bool:
        """Note that the target has stored its id; tells whether that was not known yet."""
        return await self._call(lambda session: self._registry(session).complete(name))

    async def note_durable(self, durable: dict[str, LSN]) -> None:
        """Note what the targets have, at a clean stop."""
        await self._call(lambda session: self._registry(session).note_durable(durable))

    @asynccontextmanager
    async def snapshot(self, workers: int) -> AsyncIterator[tuple[ExportedSnapshot, SnapshotSessions]]:
        """Take a snapshot; gives it with sessions inside it."""
        name = f"{self._name} snapshot"
        async with self._replication(name) as replication:
            exported = await self._while_watching_blockers(
                replication, lambda: ExportedSnapshot.take(replication, slots.derived(self._settings.slot))
            )
            async with SnapshotSessions(self._dsn, exported.name, name, workers) as sessions:
                yield exported, sessions

    async def close(self) -> None:
        """Close the session."""
        async with self._one_call:
            if self._session is not None:
                await asyncio.to_thread(self._session.close)
                self._session = None

    async def _ensure_slot(self, registrations: Mapping[str, Registration]) -> LSN:
        found = await self.slot()
        if found is not None:
            confirmed = slots.usable(found, await self._call(_database))
            await self._mark(found)
            return confirmed
        refuse_missing_slot(self._settings.slot, registrations)
        async with self._replication(self._name) as replication:
            created = await self._while_watching_blockers(
                replication, lambda: slots.create(replication, self._settings.slot)
            )
        log.info("slot_created", slot=created.name, lsn=str(created.consistent_point))
        await self._mark(await self.slot())
        return created.consistent_point

    async def _mark(self, slot: slots.Slot | None) -> slots.Slot | None:
        """Have the standbys copy a slot, or not, as configured; it returns the slot. What is copied begins without."""
        wanted = self._settings.failover
        if slot is None or slot.failover in {None, wanted} or slot.active_pid is not None or slot.wal_status == "lost":
            return slot
        async with self._replication(self._name) as replication:
            await asyncio.to_thread(slots.mark_failover, replication, slot.name, failover=wanted)
        return replace(slot, failover=wanted)

    @asynccontextmanager
    async def _replication(self, name: str) -> AsyncIterator[Connection]:
        replication = await asyncio.to_thread(open_replication, self._dsn, name)
        try:
            yield replication
        finally:
            await asyncio.to_thread(replication.close)

    async def _while_watching_blockers(self, replication: Connection, create: Callable[[], _T]) -> _T:
        # A slot is ready when every transaction that is writing now has ended: say which one is being waited for.
        creating = asyncio.create_task(asyncio.to_thread(create))
        try:
            while not (await asyncio.wait([creating], timeout=_BLOCKERS_EVERY_SECONDS))[0]:
                found = await self._call(slots.blockers)
                self.blocker = found[0] if found else None
                if self.blocker is not None:
                    log.warning(
                        "slot_waits_for_transaction", pid=self.blocker.pid, age_seconds=round(self.blocker.seconds, 1)
                    )
            return await creating
        finally:
            self.blocker = None
            if not creating.done():
                replication.cancel()
                await asyncio.wait([creating])
                creating.exception()  # the cancelled statement's: nobody else asks for it

    def _copy_name(self, purpose: str) -> str:
        # It carries process and chance: two copies never collide, and an operator sees whose it is.
        return f"{slots.derived(self._settings.slot)}_{purpose}_{os.getpid()}_{secrets.token_hex(2)}"

    def _registry(self, session: Connection) -> Registry:
        return Registry(session, self._settings.slot)

    async def _call_apart(self, function: Callable[[Connection], _T]) -> _T:
        """Call what takes its time on a session of its own: the others' calls do not wait for it."""
        session = await asyncio.to_thread(open_session, self._dsn, self._name)
        calling = asyncio.create_task(asyncio.to_thread(_told, function, session))
        try:
            return await asyncio.shield(calling)
        finally:
            while not calling.done():
                await asyncio.to_thread(session.cancel)
                await asyncio.wait([calling], timeout=_CANCEL_EVERY_SECONDS)
            calling.exception()  # the cancelled statement's: nobody else asks for it
            await asyncio.to_thread(session.close)

    async def _call(self, function: Callable[[Connection], _T]) -> _T:
        async with self._one_call:
            calling = asyncio.create_task(asyncio.to_thread(self._in_thread, function))
            try:
                return await asyncio.shield(calling)
            except asyncio.CancelledError:
                # The thread has the session until its statement ends, and nobody else may have it before.
                while not (await asyncio.wait([calling], timeout=_CANCEL_EVERY_SECONDS))[0]:
                    await asyncio.to_thread(self._cancel)
                calling.exception()
                raise

    def _cancel(self) -> None:
        if self._session is not None:
            with suppress(psycopg2.Error):
                self._session.cancel()

    def _in_thread(self, function: Callable[[Connection], _T]) -> _T:
        if self._session is None or self._session.closed:
            self._session = open_primary(self._dsn, self._name)
        try:
            return function(self._session)
        except psycopg2.Error as error:
            if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
                with suppress(psycopg2.Error):
                    self._session.close()
                self._session = None
            raise source_error(error) from error


def _identify(replication: Connection) -> tuple[Identity, tuple[timeline.Switch, ...]]:
    try:
        identity = identify(replication)
        return identity, timeline.history(replication, identity.timeline)
    except psycopg2.Error as error:
        raise source_error(error) from error


def _told(function: Callable[[Connection], _T], session: Connection) -> _T:
    try:
        return function(session)
    except psycopg2.Error as error:
        raise source_error(error) from error


def _flush_lsn(session: Connection) -> str:
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_catalog.pg_current_wal_flush_lsn()")
        row = cursor.fetchone()
    return str(row[0]) if row else "0/0"


def _database(session: Connection) -> str:
    return session.info.dbname
