"""Looks at the source: connection, server, room for slots, tables, publication, registry, slot."""

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

import psycopg2

from walsync.check.finding import Report
from walsync.check.rights import (
    check_publication_rights,
    check_registry_rights,
    check_snapshot_rights,
    row,
)
from walsync.check.room import check_retention, check_room
from walsync.check.standbys import check_standbys
from walsync.checkpoint.gap_guard import SourcePosition
from walsync.checkpoint.registry import Registration, Registry, refuse_missing_slot, refuse_unconfigured
from walsync.errors import WalsyncError
from walsync.identifier import quote
from walsync.lsn import LSN
from walsync.postgres import Connection, mask
from walsync.source import catalogue, publication, requirements, timeline
from walsync.source import slot as slots
from walsync.source.demand import Demand
from walsync.source.session import identify, open_replication, open_session, source_error
from walsync.source.settings import SourceSettings
from walsync.source.table import Table

NAME: Final = "walsync check"
_WHERE: Final = "source"
_OURS: Final = "walsync "
"""How the walsender of a running instance is called, before its slot."""


@dataclass
class Source:
    """What the checks of the targets need to know of the source; None where it could not be learnt."""

    tables: list[Table] = field(default_factory=list)
    has_all_tables: bool = False
    registrations: Mapping[str, Registration] | None = None
    position: SourcePosition | None = None
    database: str = ""
    encoding: str = ""
    is_read_by_walsync: bool = False


def examine(settings: SourceSettings, targets: Iterable[str], report: Report, *, catch_up_streams: int) -> Source:
    """Note everything about the source, and return what the targets' checks need."""
    source = Source()
    dsn = settings.dsn.get_secret_value()
    try:
        with closing(open_session(dsn, NAME)) as session:
            source.database = session.info.dbname
            report.ok(_WHERE, f"connected to Postgres {_version(session)}: {mask(dsn)}")
            _examine_session(settings, set(targets), session, source, report, catch_up_streams=catch_up_streams)
    except psycopg2.Error as error:
        report.refused(_WHERE, source_error(error))
    except WalsyncError as error:
        report.refused(_WHERE, error)
    return source


def _examine_session(
    settings: SourceSettings,
    targets: set[str],
    session: Connection,
    source: Source,
    report: Report,
    *,
    catch_up_streams: int,
) -> None:
    problems = requirements.of_server(session)
    report.refused(_WHERE, *problems)
    if not problems:
        report.ok(_WHERE, "wal_level is logical, and the role may replicate")
    if not _check_writable(session, report):
        return
    slot = slots.find(session, settings.slot)
    _check_encoding(session, source, report)
    _check_release(session, report)
    check_retention(session, slot, report)
    check_standbys(settings, session, slot, report)
    _check_tables(settings, session, source, report)
    _check_publication(settings, session, source.tables, report)
    _check_registry(settings, targets, session, source, report)
    demand = Demand(len(targets), len(targets - (source.registrations or {}).keys()), catch_up_streams)
    has_sender = check_room(session, settings.slot, demand, report)
    _check_slot(settings, session, slot, source, report)
    if has_sender and not problems:
        source.position = _position(settings.dsn.get_secret_value(), session, slot)


def _version(session: Connection) -> str:
    return str(row(session, "SELECT pg_catalog.current_setting('server_version')")[0])


def _check_writable(session: Connection, report: Report) -> bool:
    standby, read_only = row(
        session,
        "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('default_transaction_read_only')::bool",
    )
    if standby:
        report.error("WS2906", _WHERE, "the server is a standby", "name the primary in source.dsn")
    elif read_only:
        database, user = quote(session.info.dbname), quote(session.info.user)
        report.error(
            "WS2906",
            _WHERE,
            "default_transaction_read_only is on: publication and registry cannot be made",
            f"ALTER ROLE {user} IN DATABASE {database} SET default_transaction_read_only = off; where the service has "
            "switched it on because the disk is full, make room first",
        )
    return not (standby or read_only)


def _check_encoding(session: Connection, source: Source, report: Report) -> None:
    (source.encoding,) = row(session, "SELECT pg_catalog.current_setting('server_encoding')")
    if source.encoding == "SQL_ASCII":
        report.warning(
            "WS2910",
            _WHERE,
            "the database is SQL_ASCII: it takes bytes that are no UTF-8 text, and a target would refuse them",
            "mend such values before the first run, or move the data into a UTF8 database",
        )


def _check_release(session: Connection, report: Report) -> None:
    better = requirements.release_to_take(session.server_version)
    if better is not None:
        report.warning(
            "WS2915",
            _WHERE,
            f"release {_version(session)} can leave out changes of a transaction that is open while a table is added",
            f"upgrade the server to {better}; until then add tables while nobody writes to them",
        )


def _check_tables(settings: SourceSettings, session: Connection, source: Source, report: Report) -> None:
    found = catalogue.load(session, settings.tables)
    report.refused(_WHERE, *found.problems)
    sound = source.has_all_tables = not found.problems
    schemas = {table.schema for table in found.tables}
    for entry in settings.tables:
        if found.tables and entry.table_name is None and entry.schema_name not in schemas:
            report.warning("WS2209", _WHERE, f"{entry.table} names no table", "correct or remove it in source.tables")
    for table in found.tables:
        problems = requirements.of_table(session, table)
        report.refused(_WHERE, *problems)
        sound &= not problems
    if not found.tables and sound:
        report.error("WS2207", _WHERE, "source.tables names no table that exists", "correct source.tables")
    check_snapshot_rights(session, found.tables, report, _WHERE)
    if found.tables and sound:
        report.ok(_WHERE, f"every table can be replicated ({len(found.tables)})")
    source.tables = found.tables


def _check_publication(settings: SourceSettings, session: Connection, tables: list[Table], report: Report) -> None:
    found = publication.find(session, settings.publication)
    problem = publication.problem(found, settings.publication, tables)
    if problem is not None:
        report.refused(_WHERE, problem)
    elif check_publication_rights(session, settings.publication, found, tables, report, where=_WHERE):
        state = "is there" if found is not None else "can be created"
        report.ok(_WHERE, f"publication {settings.publication} {state}")


def _check_registry(
    settings: SourceSettings, targets: set[str], session: Connection, source: Source, report: Report
) -> None:
    if not check_registry_rights(session, report, _WHERE):
        return
    source.registrations = Registry(session, settings.slot).load()
    try:
        refuse_unconfigured(source.registrations, targets)
        report.ok(_WHERE, f"the registry of targets can be used ({len(source.registrations)} registered)")
    except WalsyncError as error:
        report.refused(_WHERE, error)


def _check_slot(
    settings: SourceSettings, session: Connection, slot: slots.Slot | None, source: Source, report: Report
) -> None:
    if slot is None:
        try:
            refuse_missing_slot(settings.slot, source.registrations or {})
            report.ok(_WHERE, f"slot {settings.slot} will be created")
        except WalsyncError as error:
            report.refused(_WHERE, error)
        return
    if slot.is_being_created:
        report.ok(_WHERE, f"slot {settings.slot} is being created by pid {slot.active_pid}")
        return
    try:
        confirmed = slots.usable(slot, session.info.dbname)
    except WalsyncError as error:
        report.refused(_WHERE, error)
        return
    if slot.active_pid is None:
        report.ok(_WHERE, f"slot {settings.slot} stands at {confirmed}")
        return
    reader = _application(session, slot.active_pid)
    source.is_read_by_walsync = reader.startswith(_OURS)
    if source.is_read_by_walsync:
        report.ok(_WHERE, f"slot {settings.slot} stands at {confirmed}, read by pid {slot.active_pid}")
    else:
        report.warning(
            "WS2908",
            _WHERE,
            f"slot {settings.slot} is read by pid {slot.active_pid} ({reader or 'unnamed'}), which is not walsync",
            f"give source.slot another name, or end that program: SELECT pg_terminate_backend({slot.active_pid})",
        )


def _application(session: Connection, pid: int) -> str:
    query = "SELECT (SELECT application_name FROM pg_catalog.pg_stat_activity WHERE pid = %s)"
    return row(session, query, pid)[0] or ""


def _position(dsn: str, session: Connection, slot: slots.Slot | None) -> SourcePosition:
    with closing(open_replication(dsn, NAME)) as replication:
        identity = identify(replication)
        history = timeline.history(replication, identity.timeline)
    # Without a slot nothing is confirmed, and no checkpoint can lie before it.
    confirmed = slot.confirmed_flush_lsn if slot is not None else None
    wal_end = LSN.parse(row(session, "SELECT pg_catalog.pg_current_wal_flush_lsn()::text")[0])
    return SourcePosition(identity.system_identifier, identity.timeline, history, confirmed or LSN(0), wal_end)
