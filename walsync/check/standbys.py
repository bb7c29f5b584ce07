"""Looks at the standbys that `source.dsn` names beside the primary: after a failover the slot has to be there."""

from contextlib import closing
from typing import Final

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from walsync.check.finding import Report
from walsync.check.rights import row
from walsync.postgres import Connection, connect, describe
from walsync.source import slot as slots
from walsync.source.settings import SourceSettings

_WHERE: Final = "source"
_SYNCHRONISED_SINCE: Final = 170000
_TO_THE_PRIMARY: Final = ("read-write", "primary")
_SET_UP: Final = (
    "on the standby: sync_replication_slots = on, hot_standby_feedback = on, primary_slot_name, and dbname in "
    "primary_conninfo; on the primary let walsync run for a minute. The standby's log says what it waits for"
)


def check_standbys(settings: SourceSettings, session: Connection, slot: slots.Slot | None, report: Report) -> None:
    """Note what would be missing after a failover, as far as the addresses in `source.dsn` let it be seen."""
    given = parse_dsn(settings.dsn.get_secret_value())
    addresses = _addresses(given)
    if len(addresses) > 1 and given.get("target_session_attrs") not in _TO_THE_PRIMARY:
        report.warning(
            "WS2914",
            _WHERE,
            "source.dsn names several servers, and does not ask for the one that may be written",
            "add target_session_attrs=read-write to source.dsn",
        )
    if slot is None or not settings.failover or session.server_version < _SYNCHRONISED_SINCE:
        return
    here = (session.info.host, str(session.info.port))
    standbys = [one for one in addresses if one != here and _check_standby(given, one, slot.name, report)]
    if not standbys:
        return
    (waits_for,) = row(session, "SELECT pg_catalog.current_setting('synchronized_standby_slots')")
    if not waits_for:
        report.warning(
            "WS2913",
            _WHERE,
            "synchronized_standby_slots is empty on the primary: a target can receive what no standby has",
            "ALTER SYSTEM SET synchronized_standby_slots = '<primary_slot_name of the standby>'; "
            "SELECT pg_reload_conf(); changes then wait until that standby has them",
        )


def _addresses(given: dict[str, str]) -> list[tuple[str, str]]:
    hosts = given.get("host", "").split(",")
    ports = given.get("port", "5432").split(",")
    if len(ports) < len(hosts):
        ports *= len(hosts)
    return list(zip(hosts, ports, strict=False))


def _check_standby(given: dict[str, str], address: tuple[str, str], slot: str, report: Report) -> bool:
    """Note whether a server has a copy of the slot to go on with; tells whether it is a standby."""
    host, port = address
    about = f"{host}:{port}, which source.dsn names too,"
    alone = {**given, "host": host, "port": port, "target_session_attrs": "any"}
    alone.pop("hostaddr", None)
    try:
        with closing(connect(make_dsn(**alone), application_name="walsync check")) as session:
            is_standby, is_ready = row(session, _LOOK, slot=slot)
    except psycopg2.Error as error:
        report.warning("WS2912", _WHERE, f"{about} could not be looked at: {describe(error)}", "see that it is up")
        return False
    if is_standby and not is_ready:
        report.warning("WS2912", _WHERE, f"{about} is a standby without a copy of slot {slot} to go on with", _SET_UP)
    elif is_standby:
        report.ok(_WHERE, f"standby {host}:{port} has slot {slot}")
    return bool(is_standby)


# A copy stays where the synchronisation was switched off: it is of no use then.
_LOOK: Final = """
SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('sync_replication_slots', true) = 'on' AND EXISTS (
    SELECT FROM pg_catalog.pg_replication_slots AS slot WHERE slot_name = %(slot)s AND NOT temporary
    AND (pg_catalog.to_jsonb(slot) ->> 'synced')::bool AND pg_catalog.to_jsonb(slot) ->> 'invalidation_reason' IS NULL)
"""
