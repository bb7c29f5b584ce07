"""Counts what the server still has for walsync: slots, walsenders, connections; and for how long it keeps WAL."""

from typing import Final, NamedTuple

from walsync.check.finding import Report
from walsync.check.rights import row
from walsync.identifier import quote
from walsync.postgres import Connection
from walsync.source import slot as slots
from walsync.source.demand import JOINING, Demand

_WHERE: Final = "source"
_OURS: Final = "walsync %"
"""How the sessions of a running instance are called in pg_stat_activity."""


def check_retention(session: Connection, slot: slots.Slot | None, report: Report) -> None:
    """Note what could take the slot's WAL away."""
    keep, idle = row(
        session,
        """
        SELECT pg_catalog.current_setting('max_slot_wal_keep_size'),
               pg_catalog.current_setting('idle_replication_slot_timeout', true)
        """,
    )
    if idle not in {None, "0"}:
        report.warning(
            "WS2903",
            _WHERE,
            f"idle_replication_slot_timeout is {idle}: a slot that nobody reads for so long is taken away, as the "
            "hold slot is, which nobody ever reads: a target that is away for longer needs a new snapshot",
            "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf()",
        )
    if slot is not None and slot.wal_status == "unreserved":
        report.warning(
            "WS2909",
            _WHERE,
            f"slot {slot.name} has fallen further behind than max_slot_wal_keep_size ({keep}): the next checkpoint of "
            "the server may take its WAL away",
            "let walsync run now; or ALTER SYSTEM SET max_slot_wal_keep_size = -1; SELECT pg_reload_conf()",
        )
    elif keep != "-1":
        report.warning(
            "WS2902",
            _WHERE,
            f"max_slot_wal_keep_size is {keep}: a slot that falls further behind is taken away",
            "see that it is more than what is written during the longest outage of a target; or ALTER SYSTEM SET "
            "max_slot_wal_keep_size = -1; SELECT pg_reload_conf()",
        )
    else:
        report.ok(_WHERE, "WAL is kept without limit (max_slot_wal_keep_size): watch walsync_target_retained_bytes")


class _Room(NamedTuple):
    """Of slots, or of walsenders: how many are free, how many this configuration has already, and the limit of all."""

    free: int
    ours: int
    limit: int

    def lacks(self, needed: int) -> int:
        return max(0, needed - self.ours - self.free)


def check_room(session: Connection, name: str, demand: Demand, report: Report) -> bool:
    """Note where slots, walsenders or connections would not suffice, for the slot called `name` and what goes with it.

    Too few to begin with is an error. Too few for the day when a target is away and tables join another is a warning:
    streams wait for each other then. Tells whether a walsender is free now.
    """
    slot_room, sender_room = _look(session, name)
    lacking = slot_room.lacks(demand.at_first), sender_room.lacks(demand.at_first)
    if lacking[0]:
        report.error(
            "WS2404",
            _WHERE,
            f"{slot_room.free} replication slots are free, {slot_room.free + lacking[0]} are needed",
            "drop slots that nobody needs (SELECT slot_name FROM pg_replication_slots WHERE NOT active), or "
            f"ALTER SYSTEM SET max_replication_slots = {slot_room.limit + lacking[0]}; restart the server",
        )
    if lacking[1]:
        report.error(
            "WS2901",
            _WHERE,
            f"{sender_room.free} walsenders are free, {sender_room.free + lacking[1]} are needed",
            f"ALTER SYSTEM SET max_wal_senders = {sender_room.limit + lacking[1]}; restart the server",
        )
    if not any(lacking):
        _check_later(slot_room, sender_room, demand, report)
        report.ok(_WHERE, f"{slot_room.free} replication slots and {sender_room.free} walsenders are free")
    # The catalogue's session, the stream, and for each snapshot a slot's session and a reader.
    _check_connections(session, 2 + 2 * demand.snapshots, report)
    return sender_room.free > 0


def _check_later(slot_room: _Room, sender_room: _Room, demand: Demand, report: Report) -> None:
    lacking = {
        "max_replication_slots": (slot_room, slot_room.lacks(demand.slots)),
        "max_wal_senders": (sender_room, sender_room.lacks(demand.senders)),
    }
    if not any(lacks for _, lacks in lacking.values()):
        return
    away = f"targets that are away take a slot, and {demand.lanes} of both to catch up; " if demand.targets > 1 else ""
    raises = " ".join(
        f"ALTER SYSTEM SET {setting} = {room.limit + lacks};" for setting, (room, lacks) in lacking.items() if lacks
    )
    fewer = ", or set backlog.catch_up_streams = 1" if demand.lanes > 1 else ""
    report.warning(
        "WS2911",
        _WHERE,
        f"{slot_room.free} replication slots and {sender_room.free} walsenders are free: too few for what comes while "
        f"it runs ({away}tables that join take {JOINING} of both)",
        f"{raises} restart the server{fewer}",
    )


def _look(session: Connection, name: str) -> tuple[_Room, _Room]:
    """Count slots and walsenders; every walsender of walsync has a slot, but for moments."""
    free_slots, our_slots, max_slots, free_senders, our_senders, max_senders = row(
        session,
        """
        WITH ours AS (
            SELECT active_pid FROM pg_catalog.pg_replication_slots
            WHERE slot_name IN (%(name)s, %(hold)s) OR temporary AND starts_with(slot_name, %(derived)s)
        )
        SELECT pg_catalog.current_setting('max_replication_slots')::int
                   - (SELECT count(*) FROM pg_catalog.pg_replication_slots),
               (SELECT count(*) FROM ours),
               pg_catalog.current_setting('max_replication_slots')::int,
               pg_catalog.current_setting('max_wal_senders')::int
                   - (SELECT count(*) FROM pg_catalog.pg_stat_replication),
               (SELECT count(*) FROM pg_catalog.pg_stat_replication JOIN ours ON active_pid = pid),
               pg_catalog.current_setting('max_wal_senders')::int
        """,
        name=name,
        hold=slots.hold_name(name),
        derived=f"{slots.derived(name)}_",
    )
    return _Room(free_slots, our_slots, max_slots), _Room(free_senders, our_senders, max_senders)


def _check_connections(session: Connection, needed: int, report: Report) -> None:
    # Sessions of walsync are not counted: a running instance has what it needs, and is not in its own way.
    role_limit, role_used, database_limit, database_used = row(
        session,
        """
        SELECT CASE WHEN me.rolsuper THEN -1 ELSE me.rolconnlimit END,
               (SELECT count(*) FROM pg_catalog.pg_stat_activity AS other
                WHERE other.usesysid = me.oid AND other.application_name NOT LIKE %(ours)s),
               CASE WHEN me.rolsuper THEN -1 ELSE here.datconnlimit END,
               (SELECT count(*) FROM pg_catalog.pg_stat_activity AS other
                WHERE other.datid = here.oid AND other.application_name NOT LIKE %(ours)s)
        FROM pg_catalog.pg_roles AS me, pg_catalog.pg_database AS here
        WHERE me.rolname = current_user AND here.datname = pg_catalog.current_database()
        """,
        ours=_OURS,
    )
    user, database = quote(session.info.user), quote(session.info.dbname)
    for what, name, limit, used in (
        ("ROLE", user, role_limit, role_used),
        ("DATABASE", database, database_limit, database_used),
    ):
        if limit >= 0 and limit - used < needed:
            report.error(
                "WS2907",
                _WHERE,
                f"{what.lower()} {name} may have {limit} connections, of which others use {used}: {needed} are needed",
                f"ALTER {what} {name} CONNECTION LIMIT {used + needed}",
            )
