"""Logical replication slots: finding, creating, dropping, and who stands in the way."""

from dataclasses import dataclass
from typing import Final

import psycopg2
from psycopg2 import errors as pg

from walsync.errors import SourceRefused, SourceUnavailable
from walsync.identifier import quote
from walsync.lsn import LSN
from walsync.postgres import Connection
from walsync.source.session import source_error

PLUGIN: Final = "pgoutput"
_DERIVED: Final = 40
"""How much of the slot's name the names of temporary ones carry: 63 bytes are all there is."""

NO_ROOM: Final = "WS2404"
"""The server's slots are all in use: nothing for a process to begin with, and something to wait for where it runs."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot of this server as pg_replication_slots shows it."""

    name: str
    plugin: str
    database: str
    active_pid: int | None
    restart_lsn: LSN | None
    confirmed_flush_lsn: LSN | None
    wal_status: str
    temporary: bool
    retained_bytes: int
    failover: bool | None = None
    """Whether standbys may copy it; None before Postgres 17, where none can."""

    @property
    def is_being_created(self) -> bool:
        """Whether it waits for the transactions that were writing when its creation began."""
        return self.confirmed_flush_lsn is None and self.active_pid is not None


class SlotActive(SourceUnavailable):
    """Another session has the slot; waiting for it is right."""

    def __init__(self, message: str) -> None:
        super().__init__("WS2405", message, hint="stop the other instance, or wait for it")


@dataclass(frozen=True, slots=True)
class CreatedSlot:
    """A slot just made: the position from which it has everything, and the snapshot of exactly that position."""

    name: str
    consistent_point: LSN
    snapshot: str | None


@dataclass(frozen=True, slots=True)
class Blocker:
    """A transaction that slot creation has to wait for."""

    pid: int
    seconds: float
    application_name: str


def find(session: Connection, name: str) -> Slot | None:
    """Look the slot up; None when there is none."""
    with session.cursor() as cursor:
        cursor.execute(
            """
            SELECT slot_name, plugin, database, active_pid, restart_lsn, confirmed_flush_lsn,
                   coalesce(wal_status, 'lost'), temporary,
                   coalesce(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn), 0)::bigint,
                   (pg_catalog.to_jsonb(slot) ->> 'failover')::bool
            FROM pg_catalog.pg_replication_slots AS slot WHERE slot_name = %s
            """,
            (name,),
        )
        row = cursor.fetchone()
    if row is None:
        return None
    return Slot(
        name=row[0],
        plugin=row[1] or "",
        database=row[2] or "",
        active_pid=row[3],
        restart_lsn=LSN.parse(row[4]) if row[4] else None,
        confirmed_flush_lsn=LSN.parse(row[5]) if row[5] else None,
        wal_status=row[6],
        temporary=row[7],
        retained_bytes=row[8],
        failover=row[9],
    )


def usable(slot: Slot, database: str) -> LSN:
    """Return where the slot stands, or raise SourceRefused when this slot can never serve the stream.

    SlotActive for one that somebody is creating.
    """
    if slot.plugin != PLUGIN or slot.database != database:
        raise SourceRefused(
            "WS2401",
            f"slot {slot.name} belongs to plugin {slot.plugin or 'none (physical)'} and database "
            f"{slot.database or 'none'}, not to {PLUGIN} in {database}",
            hint="give source.slot another name",
        )
    if slot.is_being_created:
        raise SlotActive(f"slot {slot.name} is being created by PID {slot.active_pid}")
    if slot.wal_status == "lost" or slot.confirmed_flush_lsn is None:
        raise SourceRefused(
            "WS2402",
            f"slot {slot.name} has lost its WAL (max_slot_wal_keep_size or a timeout invalidated it)",
            hint="walsync drop, then walsync run: every target gets a new snapshot",
        )
    return slot.confirmed_flush_lsn


def require(session: Connection, name: str) -> Slot:
    """Return a slot as `find` does; SourceRefused where there is none."""
    found = find(session, name)
    if found is None:
        raise SourceRefused("WS2406", f"slot {name} does not exist any more", hint="walsync check")
    return found


def hold_name(slot: str) -> str:
    """Name the slot that keeps WAL for targets which the main one does not wait for."""
    return f"{slot}_hold"


def derived(slot: str) -> str:
    """Return what the names of temporary slots begin with, before an underscore."""
    return slot[:_DERIVED]


def create(replication: Connection, name: str) -> CreatedSlot:
    """Create a permanent slot without a snapshot; waits for every transaction that is writing now."""
    return _create(replication, f"CREATE_REPLICATION_SLOT {quote(name)} LOGICAL {PLUGIN} NOEXPORT_SNAPSHOT", name)


def create_temporary(replication: Connection, name: str) -> CreatedSlot:
    """Create a slot that ends with its session, and export the snapshot of its consistent point.

    The snapshot can be imported while `replication` stays open and runs nothing else.
    """
    return _create(
        replication, f"CREATE_REPLICATION_SLOT {quote(name)} TEMPORARY LOGICAL {PLUGIN} EXPORT_SNAPSHOT", name
    )


def copy(session: Connection, name: str, new: str, *, temporary: bool) -> None:
    """Make `new` stand where `name` stands; that one may be in use. A temporary copy belongs to this session."""
    try:
        with session.cursor() as cursor:
            cursor.execute("SELECT pg_catalog.pg_copy_logical_replication_slot(%s, %s, %s)", (name, new, temporary))
    except pg.ConfigurationLimitExceeded as error:
        raise _no_room() from error


def mark_failover(replication: Connection, name: str, *, failover: bool) -> None:
    """Let standbys copy a slot, or not; one that is in use stays as it is. Postgres 17 or later."""
    try:
        with replication.cursor() as cursor:
            cursor.execute(f"ALTER_REPLICATION_SLOT {quote(name)} (FAILOVER {failover})")
    except pg.ObjectInUse:
        return
    except psycopg2.Error as error:
        raise source_error(error) from error


def advance(session: Connection, name: str, lsn: LSN) -> None:
    """Let a slot forget what committed below `lsn`; nothing is decoded for anybody. It never goes back."""
    with session.cursor() as cursor:
        # One advance moves restart_lsn no further than the first place that it passes from which decoding could begin
        # again, however far it goes; from there on, the second finds the last one.
        for _ in range(2):
            cursor.execute("SELECT pg_catalog.pg_replication_slot_advance(%s, %s)", (name, str(lsn)))


def drop(session: Connection, name: str) -> None:
    """Drop a slot that nobody streams from."""
    try:
        with session.cursor() as cursor:
            cursor.execute("SELECT pg_catalog.pg_drop_replication_slot(%s)", (name,))
    except pg.ObjectInUse as error:
        raise SourceRefused("WS2403", f"slot {name} is in use: {error}".strip(), hint="stop walsync first") from error


def reading_epoch(session: Connection, name: str) -> int | None:
    """Tell the epoch of the run that streams from a slot, by the name of its session; None where none can be seen."""
    with session.cursor() as cursor:
        cursor.execute(
            """
            SELECT substring(activity.application_name FROM '^walsync .* epoch ([0-9]+)$')::bigint
            FROM pg_catalog.pg_replication_slots AS slot
            JOIN pg_catalog.pg_stat_activity AS activity ON activity.pid = slot.active_pid
            WHERE slot.slot_name = %s
            """,
            (name,),
        )
        row = cursor.fetchone()
    return row[0] if row else None


def blockers(session: Connection) -> list[Blocker]:
    """List the transactions with an xid, oldest first: slot creation waits for them."""
    with session.cursor() as cursor:
        cursor.execute(
            """
            SELECT pid, extract(epoch FROM pg_catalog.clock_timestamp() - xact_start)::float8, application_name
            FROM pg_catalog.pg_stat_activity
            WHERE backend_xid IS NOT NULL AND xact_start IS NOT NULL AND pid <> pg_catalog.pg_backend_pid()
            ORDER BY xact_start
            """
        )
        return [Blocker(pid, seconds, application or "") for pid, seconds, application in cursor.fetchall()]


def _create(replication: Connection, command: str, name: str) -> CreatedSlot:
    try:
        with replication.cursor() as cursor:
            cursor.execute(command)
            row = cursor.fetchone()
    except pg.ConfigurationLimitExceeded as error:
        raise _no_room() from error
    except pg.DuplicateObject as error:
        raise SlotActive(f"slot {name} has been created by somebody else meanwhile") from error
    except psycopg2.Error as error:
        raise source_error(error) from error
    if row is None:
        raise SourceUnavailable("WS2002", f"creating slot {name} returned nothing")
    return CreatedSlot(str(row[0]), LSN.parse(row[1]), row[2])


def _no_room() -> SourceRefused:
    return SourceRefused(
        NO_ROOM,
        "all replication slots of the server are in use",
        hint="drop slots that nobody needs, or raise max_replication_slots and restart the server",
    )
