"""Sessions on the source: ordinary ones for the catalogue, replication ones for slots and streams."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg2
from psycopg2.extras import LogicalReplicationConnection

from walsync.errors import SourceRefused, SourceUnavailable, WalsyncError
from walsync.lsn import LSN
from walsync.postgres import Connection, complete_dsn, connect, describe, mask, pin_settings

# A failed connection carries no SQLSTATE in psycopg2; these are the server's own sentences, which a person must answer.
_NEEDS_A_PERSON: Final = re.compile(
    r"authentication failed|does not exist|no pg_hba\.conf entry|is not permitted to log in"
    r"|not currently accepting connections"
)
_NO_SENDER: Final = re.compile(r'exceeds "?max_wal_senders"?')  # quoted from 17 on
_ID_BITS: Final = 44
"""Of an epoch: transaction ids have room for half a year of a million a second, on each of half a million timelines."""
REPLICATION_HINT: Final = "ALTER ROLE <role> REPLICATION (on managed services: GRANT rds_replication TO <role>)"
_MAY_NOT_REPLICATE: Final = re.compile(r"permission denied to start WAL sender|must be superuser or replication role")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which cluster answers, on which timeline, and the end of its flushed WAL."""

    system_identifier: str
    timeline: int
    wal_end: LSN


def open_session(dsn: str, application_name: str) -> Connection:
    """Open an ordinary session in autocommit mode."""
    try:
        return connect(dsn, application_name=application_name)
    except psycopg2.Error as error:
        raise _connection_error(dsn, error) from error


def open_primary(dsn: str, application_name: str) -> Connection:
    """Open a session as `open_session` does; SourceUnavailable where it leads to a standby."""
    opened = open_session(dsn, application_name)
    with closed_on_error(opened):
        refuse_standby(opened)
    return opened


def open_replication(dsn: str, application_name: str) -> Connection:
    """Open a logical replication session, on which slots are created and streams started."""
    try:
        opened: Connection = psycopg2.connect(
            complete_dsn(dsn, application_name), connection_factory=LogicalReplicationConnection
        )
    except psycopg2.Error as error:
        raise _connection_error(dsn, error) from error
    with closed_on_error(opened):
        pin_settings(opened, {})
    return opened


@contextmanager
def closed_on_error(session: Connection) -> Iterator[None]:
    """Close a session that does not become what was wanted, and say why as an error of the source."""
    try:
        yield
    except psycopg2.Error as error:
        session.close()
        raise source_error(error) from error
    except BaseException:
        session.close()
        raise


def identify(replication: Connection) -> Identity:
    """Ask a replication session who it is: unlike pg_control_checkpoint(), it knows of a promotion at once."""
    with replication.cursor() as cursor:
        cursor.execute("IDENTIFY_SYSTEM")
        row = cursor.fetchone()
    if row is None:
        raise SourceUnavailable("WS2002", "IDENTIFY_SYSTEM returned nothing")
    return Identity(str(row[0]), int(row[1]), LSN.parse(row[2]))


def refuse_standby(session: Connection) -> None:
    """Refuse a server that cannot be written, for the moment: it may become the primary."""
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_catalog.pg_is_in_recovery()")
        row = cursor.fetchone()
    if row is not None and row[0]:
        raise SourceUnavailable(
            "WS2005",
            "the source is a standby: it waits until that is the primary, or the address leads to it",
            hint="name the primary in source.dsn, or all of them: host=a,b target_session_attrs=read-write",
        )


def draw_epoch(session: Connection, timeline: int) -> int:
    """Draw a number above that of every earlier run, of 64 bits: the timeline, and a transaction id of the source.

    Without the timeline, the ids of a primary that a failover has set back would be drawn again.
    """
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_catalog.pg_current_xact_id()::text::bigint")
        row = cursor.fetchone()
    if row is None:
        raise SourceUnavailable("WS2002", "pg_current_xact_id() returned nothing")
    return timeline << _ID_BITS | int(row[0])


def emit_heartbeat(session: Connection) -> None:
    """Commit a transaction that holds nothing but a logical message, which is published to nobody."""
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_catalog.pg_logical_emit_message(true, 'walsync', 'heartbeat')")


def source_error(error: psycopg2.Error) -> WalsyncError:
    """Turn an error of an open session into one decision: away, or refused."""
    if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        return SourceUnavailable("WS2002", f"the source went away: {describe(error)}")
    return SourceRefused("WS2003", f"the source refused: {describe(error)}", hint="walsync check")


def _connection_error(dsn: str, error: psycopg2.Error) -> WalsyncError:
    reason = describe(error)
    if _MAY_NOT_REPLICATE.search(reason):
        return SourceRefused(
            "WS2103",
            f"the source's role may not replicate: {reason}",
            hint=REPLICATION_HINT,
        )
    if _NO_SENDER.search(reason):
        return SourceUnavailable(
            "WS2901",
            "all walsenders of the server are in use",
            hint="end replication sessions that nobody needs (SELECT * FROM pg_stat_replication), or raise "
            "max_wal_senders and restart the server",
        )
    if _NEEDS_A_PERSON.search(reason):
        return SourceRefused("WS2001", f"the source refuses {mask(dsn)}: {reason}", hint="walsync check")
    return SourceUnavailable("WS2002", f"the source cannot be reached: {reason}", hint="walsync check")
