"""How much WAL the server keeps for walsync's slots, and how far that is from the server's own limit."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from walsync.lsn import LSN
from walsync.postgres import Connection
from walsync.source import slot as slots


@dataclass(frozen=True, slots=True)
class SlotRetention:
    """What one slot keeps. `safe_bytes` may still be written before the server may take its WAL away; None: any amount.

    `wal_status` is the server's word: reserved, extended, unreserved (may be gone soon) or lost.
    """

    restart_lsn: LSN | None
    confirmed_flush_lsn: LSN | None
    retained_bytes: int
    safe_bytes: int | None
    wal_status: str


@dataclass(frozen=True, slots=True)
class Retention:
    """The end of the WAL, and the slots by name as they were at that moment; one that does not exist is left out."""

    wal_end: LSN
    slots: Mapping[str, SlotRetention]


def look(session: Connection, *names: str, temporary: Collection[str] = ()) -> Retention:
    """Look at all of these slots in one query, which reads shared memory only.

    Also at temporary ones whose names begin with one of `temporary`.
    """
    with session.cursor() as cursor:
        cursor.execute(
            """
            SELECT wal_end, slot_name, restart_lsn, confirmed_flush_lsn,
                   coalesce(pg_catalog.pg_wal_lsn_diff(wal_end, restart_lsn), 0)::bigint,
                   safe_wal_size, coalesce(wal_status, 'lost')
            FROM pg_catalog.pg_current_wal_lsn() AS wal_end
            LEFT JOIN pg_catalog.pg_replication_slots AS slot ON slot_name = ANY (%s::text[]) OR (
                temporary AND EXISTS (
                    SELECT FROM pg_catalog.unnest(%s::text[]) AS beginning
                    WHERE pg_catalog.starts_with(slot_name::text, beginning)
                )
            )
            """,
            (list(names), list(temporary)),
        )
        rows = cursor.fetchall()
    found = {
        name: SlotRetention(_lsn(restart), _lsn(confirmed), retained, safe, status)
        for _, name, restart, confirmed, retained, safe, status in rows
        if name is not None
    }
    return Retention(LSN.parse(rows[0][0]), found)


def restart_after(session: Connection, name: str, copied_as: str, lsn: LSN) -> LSN | None:
    """Tell where a slot's restart_lsn would be if the slot stood at `lsn`.

    Only the server knows: it depends on which transactions were open, and that stands in the WAL. So it is tried on a
    temporary copy, which ends with the session.
    """
    slots.copy(session, name, copied_as, temporary=True)
    slots.advance(session, copied_as, lsn)
    return look(session, copied_as).slots[copied_as].restart_lsn


def _lsn(text: str | None) -> LSN | None:
    return LSN.parse(text) if text else None
