"""Builds a `Status` without a running instance: from slots and registry, and from the checkpoints in the targets."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import psycopg2

from walsync.checkpoint.registry import Registration, RegistrationState, Registry
from walsync.config import Config
from walsync.errors import SourceRefused, WalsyncError
from walsync.postgres import describe
from walsync.source import slot as slots
from walsync.source.session import identify, open_replication, open_session
from walsync.source.settings import SourceSettings
from walsync.status import (
    LastError,
    SlotStatus,
    SourceState,
    SourceStatus,
    Status,
    TableProgress,
    TableStatus,
    TargetState,
    TargetStatus,
)
from walsync.target.base import Target
from walsync.target.registry import open_target
from walsync.target.settings import TargetSettings

_NAME = "walsync status"
_REASONS: Final = {
    RegistrationState.PARKED: "parked: the hold slot keeps what it lacks, the main stream does not wait for it",
    RegistrationState.RELEASED: "released: what it lacks is not kept, it is copied again",
}


async def look(config: Config) -> Status:
    """Ask source and targets; what does not answer shows its error, and no more."""
    source, registered = await asyncio.to_thread(_look_at_source, config.source)
    targets = await asyncio.gather(
        *(_look_at_target(target, source, registered.get(target.name)) for target in config.targets)
    )
    return Status(source, tuple(targets))


def _look_at_source(settings: SourceSettings) -> tuple[SourceStatus, Mapping[str, Registration]]:
    status = SourceStatus(settings.slot, SourceState.NOT_RUNNING)
    try:
        return _read_source(settings, status)
    except psycopg2.Error as error:
        refused = SourceRefused("WS2003", f"the source refused: {describe(error)}", hint="walsync check")
        return replace(status, last_error=LastError.of(refused)), {}
    except WalsyncError as error:
        return replace(status, last_error=LastError.of(error)), {}


def _read_source(settings: SourceSettings, status: SourceStatus) -> tuple[SourceStatus, Mapping[str, Registration]]:
    dsn = settings.dsn.get_secret_value()
    session = open_session(dsn, _NAME)
    try:
        slot = slots.find(session, settings.slot)
        hold = slots.find(session, slots.hold_name(settings.slot))
        registered = Registry(session, settings.slot).load()
    finally:
        session.close()
    replication = open_replication(dsn, _NAME)
    try:
        identity = identify(replication)
    finally:
        replication.close()
    status = replace(
        status,
        system_identifier=identity.system_identifier,
        timeline=identity.timeline,
        wal_end_lsn=identity.wal_end,
        hold=_hold(hold),
    )
    if slot is None:
        return status, registered
    # An instance without HTTP, or one that listens elsewhere.
    state = SourceState.NOT_RUNNING if slot.active_pid is None else SourceState.STREAMING
    found = replace(
        status,
        state=state,
        confirmed_flush_lsn=slot.confirmed_flush_lsn,
        retained_bytes=slot.retained_bytes,
        wal_status=slot.wal_status,
    )
    return found, registered


def _hold(slot: slots.Slot | None) -> SlotStatus | None:
    if slot is None:
        return None
    return SlotStatus(slot.name, slot.confirmed_flush_lsn, slot.retained_bytes, slot.wal_status)


async def _look_at_target(
    settings: TargetSettings, source: SourceStatus, registration: Registration | None
) -> TargetStatus:
    state = registration.state if registration is not None else None
    is_kept = state is not None and state is not RegistrationState.RELEASED
    status = TargetStatus(
        settings.name,
        settings.type,
        TargetState.NOT_RUNNING,
        reason=_REASONS.get(state, "") if state is not None else "",
        retained_bytes=None if is_kept or source.wal_end_lsn is None else 0,
    )
    target = open_target(settings, slot=source.slot)
    try:
        return await _read_target(target, status, source)
    except WalsyncError as error:
        return replace(status, last_error=LastError.of(error))
    finally:
        await target.close()


async def _read_target(target: Target, status: TargetStatus, source: SourceStatus) -> TargetStatus:
    checkpoint = await target.read_checkpoint()
    if checkpoint is None:
        return status
    tables = {
        name: TableStatus(TableProgress.SYNCED, state.synced_lsn)
        for name, state in (await target.table_states()).items()
    }
    lag = None
    if source.wal_end_lsn is not None and source.system_identifier == checkpoint.system_identifier:
        lag = max(0, source.wal_end_lsn - checkpoint.lsn)
    retained = lag if status.retained_bytes is None else 0
    return replace(status, checkpoint_lsn=checkpoint.lsn, lag_bytes=lag, retained_bytes=retained, tables=tables)
