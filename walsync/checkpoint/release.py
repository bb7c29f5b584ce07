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
    """A registered target: what it has durably, and whether it may be released if it is too far behind."""

    name: str
    durable: LSN
    may_be_released: bool


@dataclass(frozen=True, slots=True)
class Release:
    """Who would be released together, lowest first; the WAL below `up_to` would then be needed by nobody."""

    names: tuple[str, ...]
    lowest: LSN
    up_to: LSN


def too_far_behind(members: Iterable[Member], wal_end: LSN, limit_bytes: int) -> list[Member]:
    """Return the targets for which more WAL is kept than the limit, the furthest behind first."""
    over = [member for member in members if wal_end - member.durable > limit_bytes]
    return sorted(over, key=lambda member: member.durable)


def propose(members: Iterable[Member], wal_end: LSN, limit_bytes: int) -> Release | None:
    """Return the fewest targets whose release could free a segment; None where there are none.

    Each is too far behind by its own distance, and nobody that stays is below any of them. Whether restart_lsn follows
    is for `moves` to tell.
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
    names: list[str] = []
    for index, member in enumerate(ordered):
        if not member.may_be_released or wal_end - member.durable <= limit_bytes:
            return
        names.append(member.name)
        stays = ordered[index + 1 : index + 2]
        up_to = stays[0].durable if stays else wal_end
        yield Release(tuple(names), ordered[0].durable, min(up_to, wal_end))
