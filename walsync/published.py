"""What a configuration has the source publish, and who is registered for it: looked at, or brought about."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import psycopg2
import structlog

from walsync.checkpoint.registry import Registration, Registry, refuse_unconfigured
from walsync.errors import SourceRefused, SourceUnavailable
from walsync.logs import Logger
from walsync.postgres import Connection
from walsync.source import catalogue, publication, requirements
from walsync.source.publication import Publication
from walsync.source.settings import SourceSettings
from walsync.source.table import Table

_LOCK: Final = 0x77616C7370756273  # "walspubs"

log: Logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Published:
    """The tables that the stream brings, the publication with them, and the registered targets."""

    tables: Sequence[Table]
    publication: Publication
    registrations: Mapping[str, Registration]


def look(session: Connection, settings: SourceSettings, targets: Collection[str]) -> Sequence[Table]:
    """Find the tables, and change nothing; SourceRefused or ConfigurationError where they could not be published."""
    _raise_first(requirements.of_server(session))
    refuse_unconfigured(Registry(session, settings.slot).load(), targets)
    found = catalogue.load(session, settings.tables)
    _raise_first(found.problems)
    if not found.tables:
        raise SourceRefused("WS2207", "source.tables names no table that exists", hint="correct source.tables")
    _raise_first(requirements.of_tables(session, found.tables))
    return found.tables


def publish(session: Connection, settings: SourceSettings, targets: Collection[str]) -> Published:
    """Make publication and registry what the configuration says; where it is refused, nothing was changed."""
    tables = look(session, settings, targets)
    registry = Registry(session, settings.slot)
    if not (publication.is_kept(session, settings.publication, tables) and registry.exists()):
        with _alone(session):  # not where nothing is missing: whoever has it may be frozen
            if publication.keep(session, settings.publication, tables):
                log.info("publication_changed", publication=settings.publication, tables=len(tables))
            registry.create()
    kept = publication.find(session, settings.publication)
    if kept is None:
        raise SourceUnavailable("WS2304", f"publication {settings.publication} was dropped while it was looked at")
    return Published(tables, kept, registry.load())


@contextmanager
def _alone(session: Connection) -> Iterator[None]:
    """Let processes that begin at the same moment look, and make what is missing, one after the other."""
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_catalog.pg_advisory_lock(%s)", (_LOCK,))
        try:
            yield
        finally:
            with suppress(psycopg2.Error):  # a session that broke has no lock
                cursor.execute("SELECT pg_catalog.pg_advisory_unlock(%s)", (_LOCK,))


def _raise_first(problems: Sequence[SourceRefused]) -> None:
    if problems:
        raise problems[0]
