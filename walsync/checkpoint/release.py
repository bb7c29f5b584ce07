"""Decides for whose sake the source keeps too much WAL, and whom to release from waiting for it. Pure.

Releasing costs a target a new snapshot, so it has to free something: a target is released only if nobody stands further
back, if it is itself too far behind, and if the slot's restart_lsn, which is what keeps the server from removing WAL,
really moves. An open transaction of the source, or another target nearly as far behind, may hold it where it is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from walsync.lsn import LSN

STEP_BYTES: Final = 16 * 1024**2
"""One WAL segment: what is less than that frees nothing on the server's disk."""


@dataclass(frozen=True, slots=True)
class Member:
    """A registered target: what it has durably, how far behind it is by itself, and whether it may be released at all.

    One that is at work and only waits for the stream, like all others, is not behind by itself.
    """

    name: str
    durable: LSN
    own_bytes: int
    may_be_released: bool
    is_at_work: bool


@dataclass(frozen=True, slots=True)
class Release:
    """Who would be released together, lowest first; the WAL below `up_to` would then be needed by nobody."""

    names: tuple[str, ...]
    lowest: LSN
    up_to: LSN


def propose(members: Iterable[Member], wal_end: LSN, limit_bytes: int) -> Release | None:
    """Return the fewest targets whose release could free a segment; None where there are none.

    Each is too far behind by its own distance, and nobody that stays is below any of them. Several go together only
    where all are away: a source that is too fast for all of them must not cost each a snapshot. Whether restart_lsn
    follows is for `moves` to tell.
    """
    ordered = sorted(members, key=lambda member: member.durable)
    for release in _prefixes(ordered, wal_end, limit_bytes):
        if release.up_to - release.lowest >= STEP_BYTES:
            return release
    return None


def moves(release: Release, restart: LSN, restart_after: LSN) -> bool:
    """Tell whether restart_lsn would go from `restart` to where it could not go without the release."""
    return restart_after - max(restart, release.lowest) >= STEP_BYTES


def _prefixes(ordered: list[Member], wal_end: LSN, limit_bytes: int) -> Iterator[Release]:
    for count, member in enumerate(ordered, start=1):
        if not member.may_be_released or member.own_bytes <= limit_bytes:
            return
        if count > 1 and any(one.is_at_work for one in ordered[:count]):
            return
        up_to = ordered[count].durable if count < len(ordered) else wal_end
        yield Release(tuple(one.name for one in ordered[:count]), ordered[0].durable, min(up_to, wal_end))
