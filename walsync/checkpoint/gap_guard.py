"""Decides at start, per target, whether the stream can go on where the target stands, or rows would be missing. Pure.

A gap is found here and named, with the command that mends it; it is never streamed over.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from walsync.checkpoint.registry import Registration, RegistrationState
from walsync.errors import TargetRefused
from walsync.lsn import LSN
from walsync.source.timeline import Switch, contains
from walsync.target.base import Checkpoint


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """Where the source stands: who it is, its timeline with history, the WAL's end, and from where it can be read.

    `confirmed_flush` is that of the slot which stands further back, of the main one and the hold slot.
    """

    system_identifier: str
    timeline: int
    history: tuple[Switch, ...]
    confirmed_flush: LSN
    wal_end: LSN


@dataclass(frozen=True, slots=True)
class Register:
    """The target is new: register it, then take a snapshot."""


@dataclass(frozen=True, slots=True)
class Renew:
    """The WAL that the target lacks was given up for the others' sake: it gets a new snapshot by itself."""


@dataclass(frozen=True, slots=True)
class Resume:
    """The stream can go on from the checkpoint."""


Decision: TypeAlias = Register | Renew | Resume


def decide(
    name: str,
    registration: Registration | None,
    checkpoint: Checkpoint | None,
    source: SourcePosition,
    synced: Iterable[LSN] = (),
) -> Decision:
    """Return what to do with the target, or raise TargetRefused when going on would lose rows in silence.

    `synced` are the positions of its tables' snapshots. A table that was copied late is ahead of the checkpoint, as a
    part of a transaction is, and what they hold has to be part of the source's history, too. To be asked before the
    target is claimed, which stores the timeline of now.
    """
    again = f"walsync drop --target {name}, then walsync run: the target gets a new snapshot"
    if checkpoint is None:
        if registration is None or registration.state in {RegistrationState.REGISTERING, RegistrationState.RELEASED}:
            return Register()
        raise TargetRefused(
            "WS5003", f"target {name} is registered but holds no checkpoint: it was wiped or replaced", hint=again
        )
    if checkpoint.system_identifier != source.system_identifier:
        raise TargetRefused(
            "WS5005",
            f"target {name} follows another cluster: system identifier {checkpoint.system_identifier}, "
            f"the source's is {source.system_identifier}",
            hint=f"correct source.dsn or the target; if the change is meant: {again}",
        )
    if registration is None:
        raise TargetRefused(
            "WS5004", f"target {name} holds a checkpoint that the source's registry does not know", hint=again
        )
    if checkpoint.target_id != registration.id:
        raise TargetRefused(
            "WS5002",
            f"target {name} is registered as {registration.id} but holds the checkpoint of {checkpoint.target_id}: "
            "the name was reused, or the target exchanged",
            hint=again,
        )
    given_up = registration.state in {RegistrationState.PARKED, RegistrationState.RELEASED}
    if given_up and checkpoint.lsn < source.confirmed_flush:
        return Renew()
    _refuse_gap(name, checkpoint, max([checkpoint.lsn, checkpoint.begun, *synced]), source, again)
    return Resume()


def _refuse_gap(name: str, checkpoint: Checkpoint, furthest: LSN, source: SourcePosition, again: str) -> None:
    if not contains(source.history, source.timeline, checkpoint.timeline, furthest):
        left = next((switch.lsn for switch in source.history if switch.timeline == checkpoint.timeline), None)
        reason = (
            f"that one was left at {left}: it took transactions that a failover lost"
            if left is not None
            else "its history does not name that one: the target followed a server that is no ancestor of it, or the "
            "history file was removed from pg_wal"
        )
        raise TargetRefused(
            "WS5006",
            f"target {name} has {furthest} of timeline {checkpoint.timeline}, which timeline {source.timeline} of the "
            f"source does not contain; {reason}",
            hint=again,
        )
    if source.confirmed_flush > checkpoint.lsn:
        raise TargetRefused(
            "WS5001",
            f"target {name} stands at {checkpoint.lsn}, but the slot has moved on to {source.confirmed_flush}: the "
            "changes between are gone (the slot was recreated or advanced, or the target restored)",
            hint=again,
        )
    if furthest > source.wal_end:
        raise TargetRefused(
            "WS5007",
            f"target {name} stands at {furthest}, ahead of the source's WAL at {source.wal_end}: "
            "the source was restored to an earlier point",
            hint=again,
        )
