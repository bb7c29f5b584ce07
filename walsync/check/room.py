"""Counts what the server still has for walsync: slots, walsenders, connections; and for how long it keeps WAL."""

from typing import Final

from walsync.check.finding import Report
from walsync.check.rights import row
from walsync.identifier import quote
from walsync.postgres import Connection
from walsync.source import slot as slots

_WHERE: Final = "source"
_SLOTS_ASIDE: Final = 2
"""The hold slot, and a copy of it to catch up on."""

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
            f"idle_replication_slot_timeout is {idle}: a slot that nobody reads for so long is taken away",
            "see that walsync is never down for so long, or ALTER SYSTEM SET idle_replication_slot_timeout = 0; "
            "SELECT pg_reload_conf()",
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
        report.ok(_WHERE, "WAL is kept without limit (max_slot_wal_keep_size): watch walsync_slot_retained_bytes")


def check_room(session: Connection, slot: slots.Slot | None, targets: int, new_targets: int, report: Report) -> None:
    """Note where slots, walsenders or connections would not suffice; each new target's snapshot needs one of each."""
    free_slots, free_senders, max_slots, max_senders = row(
        session,
        """
        SELECT pg_catalog.current_setting('max_replication_slots')::int
                   - (SELECT count(*) FROM pg_catalog.pg_replication_slots),
               pg_catalog.current_setting('max_wal_senders')::int
                   - (SELECT count(*) FROM pg_catalog.pg_stat_replication),
               pg_catalog.current_setting('max_replication_slots')::int,
               pg_catalog.current_setting('max_wal_senders')::int
        """,
    )
    snapshots = max(1, new_targets)  # a table that is listed later is copied too
    slots_needed = snapshots + (slot is None)
    senders_needed = snapshots + (slot is None or slot.active_pid is None)
    if free_slots < slots_needed:
        report.error(
            "WS2404",
            _WHERE,
            f"{free_slots} replication slots are free, {slots_needed} are needed",
            "drop slots that nobody needs (SELECT slot_name FROM pg_replication_slots WHERE NOT active), or "
            f"ALTER SYSTEM SET max_replication_slots = {max_slots + slots_needed - free_slots}; restart the server",
        )
    if free_senders < senders_needed:
        report.error(
            "WS2901",
            _WHERE,
            f"{free_senders} walsenders are free, {senders_needed} are needed",
            f"ALTER SYSTEM SET max_wal_senders = {max_senders + senders_needed - free_senders}; restart the server",
        )
    if free_slots >= slots_needed and free_senders >= senders_needed:
        lacking = _SLOTS_ASIDE + (slot is None) - free_slots
        if targets > 1 and lacking > 0:
            report.warning(
                "WS2911",
                _WHERE,
                f"{free_slots} replication slots are free: too few for a target that is away, which takes "
                f"{_SLOTS_ASIDE} for as long",
                f"ALTER SYSTEM SET max_replication_slots = {max_slots + lacking}; restart the server",
            )
        report.ok(_WHERE, f"{free_slots} replication slots and {free_senders} walsenders are free")
    # The catalogue's session, the stream, and for each snapshot a slot's session and a reader.
    _check_connections(session, 2 + 2 * snapshots, report)


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
