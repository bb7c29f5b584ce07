"""What ``walsync tail`` needs of the source: a publication that is there, a slot, the stream from it."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg2
import structlog

from walsync.errors import SourceRefused, SourceUnavailable
from walsync.identifier import quote
from walsync.logs import Logger
from walsync.lsn import LSN
from walsync.postgres import Connection
from walsync.source import publication as publications
from walsync.source import slot as slots
from walsync.source.requirements import of_server
from walsync.source.session import identify, open_replication, open_session, source_error
from walsync.source.stream import Stream

_CONFIRM_SECONDS: Final = 10.0
_CONFIRM_POLL_SECONDS: Final = 0.02

log: Logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Source:
    """Where to read; without a slot's name a temporary one is made, which starts now."""

    dsn: str
    publication: str
    slot: str | None
    application_name: str = "walsync tail"


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream that has begun; `wal_end` is where the WAL ended just before."""

    stream: Stream
    session: Connection
    slot: str
    wal_end: LSN

    def await_confirmed(self, position: LSN) -> None:
        """Return when the slot stands at `position` or behind it; SourceUnavailable when it does not get there."""
        deadline = time.monotonic() + _CONFIRM_SECONDS
        while time.monotonic() < deadline:
            found = slots.find(self.session, self.slot)
            if found is None or (found.confirmed_flush_lsn is not None and found.confirmed_flush_lsn >= position):
                return
            time.sleep(_CONFIRM_POLL_SECONDS)
        raise SourceUnavailable("WS2002", f"the server did not store {position} in slot {self.slot}")


@contextmanager
def opened(source: Source) -> Iterator[Opened]:
    """Open the stream of a source, and close all of it afterwards."""
    session = open_session(source.dsn, source.application_name)
    try:
        _check(session, source)
        with _replication(source) as replication:
            wal_end = identify(replication).wal_end
            slot, start = _slot(session, replication, source.slot)
            stream = Stream.start(replication, slot=slot, publication=source.publication, start=start, messages=True)
            try:
                yield Opened(stream, session, slot, wal_end)
            finally:
                stream.close()
    except psycopg2.Error as error:
        raise source_error(error) from error
    finally:
        session.close()


@contextmanager
def _replication(source: Source) -> Iterator[Connection]:
    replication = open_replication(source.dsn, source.application_name)
    try:
        yield replication
    finally:
        replication.close()


def _check(session: Connection, source: Source) -> None:
    for problem in of_server(session):
        raise problem
    # Without it the server fails at the first change, with a slot that cannot pass that change any more.
    if publications.find(session, source.publication) is None:
        raise SourceRefused(
            "WS2303",
            f"publication {source.publication} does not exist in database {session.info.dbname}",
            hint=f"CREATE PUBLICATION {quote(source.publication)} FOR ALL TABLES; or FOR TABLE ...",
        )


def _slot(session: Connection, replication: Connection, name: str | None) -> tuple[str, LSN]:
    if name is None:
        created = slots.create_temporary(replication, f"walsync_tail_{os.getpid()}_{secrets.token_hex(4)}")
        log.info("temporary_slot_created", slot=created.name, lsn=created.consistent_point)
        return created.name, created.consistent_point
    found = slots.find(session, name)
    if found is not None:
        return name, slots.usable(found, session.info.dbname)
    created = slots.create(replication, name)
    log.info("slot_created", slot=created.name, lsn=created.consistent_point)
    return created.name, created.consistent_point
