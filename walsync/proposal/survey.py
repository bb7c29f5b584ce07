"""Looks at a server that is to become a source: its tables, its settings, and which names are still free."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from walsync.errors import SourceRefused
from walsync.postgres import Connection
from walsync.source import catalogue, publication, requirements
from walsync.source import slot as slots
from walsync.source.settings import TableSettings
from walsync.source.table import Table
from walsync.source.table_name import written

NAME: Final = "walsync"
_SLOT_NAME_CHARACTERS: Final = 50
_NOT_OF_A_SLOT_NAME: Final = re.compile(r"[^a-z0-9_]")

_SCHEMAS: Final = """
SELECT nspname FROM pg_catalog.pg_namespace
WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'walsync') ORDER BY nspname
"""

_OF_EXTENSIONS: Final = """
SELECT objid::bigint FROM pg_catalog.pg_depend
WHERE classid = 'pg_catalog.pg_class'::regclass AND refclassid = 'pg_catalog.pg_extension'::regclass AND deptype = 'e'
"""

_ROWS: Final = """
SELECT tree.root, sum(CASE WHEN c.relkind = 'p' THEN 0 ELSE greatest(c.reltuples, 0) END)::bigint,
       bool_or(c.relrowsecurity)
FROM unnest(%s::oid[]) AS tree (root)
CROSS JOIN LATERAL (
    SELECT tree.root AS relid UNION SELECT leaf.relid::oid FROM pg_catalog.pg_partition_tree(tree.root) AS leaf) AS part
JOIN pg_catalog.pg_class AS c ON c.oid = part.relid
GROUP BY tree.root
"""

_OTHERS: Final = """
SELECT n.nspname, c.relname, CASE c.relkind WHEN 'f' THEN 'a foreign table' ELSE 'an unlogged table' END
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%s) AND (c.relkind = 'f' OR (c.relkind IN ('r', 'p') AND c.relpersistence = 'u'))
ORDER BY 1, 2
"""

_SERVER: Final = """
SELECT pg_catalog.current_setting('wal_level'),
       pg_catalog.current_setting('max_replication_slots')::int,
       (SELECT count(*) FROM pg_catalog.pg_replication_slots)::int,
       pg_catalog.current_setting('max_wal_senders')::int,
       (SELECT count(*) FROM pg_catalog.pg_stat_replication)::int,
       pg_catalog.current_setting('max_slot_wal_keep_size'),
       coalesce(pg_catalog.current_setting('idle_replication_slot_timeout', true), '0'),
       EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'rds_replication'),
       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A table that could be published; `problems` say why not, `rows` is the server's own estimate."""

    table: Table
    rows: int
    has_row_security: bool
    problems: tuple[SourceRefused, ...]

    @property
    def name(self) -> str:
        """The table as the configuration file spells it."""
        return written(self.table.schema, self.table.name)


@dataclass(frozen=True, slots=True)
class Server:
    """The settings that replication depends on, as the server shows them."""

    wal_level: str
    max_replication_slots: int
    slots_in_use: int
    max_wal_senders: int
    senders_in_use: int
    max_slot_wal_keep_size: str
    idle_replication_slot_timeout: str
    grants_replication_by_role: bool
    """Replication is not an attribute here, but comes with membership in ``rds_replication``."""
    asked_by_superuser: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything that a proposal is made from; `others` are tables whose changes are not in the WAL: name and kind."""

    database: str
    server: Server
    tables: tuple[Found, ...]
    others: tuple[tuple[str, str], ...]
    slot: str
    publication: str
    role_exists: bool
    schema_exists: bool

    @property
    def usable(self) -> tuple[Found, ...]:
        """The tables that can be replicated as they are."""
        return tuple(found for found in self.tables if not found.problems)


def look(session: Connection, role: str) -> Survey:
    """Ask the server; the session is one that cannot write."""
    schemas = [name for (name,) in _query(session, _SCHEMAS)]
    tables = _tables(session, schemas)
    ((role_exists, schema_exists),) = _query(
        session,
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %s),"
        " pg_catalog.to_regnamespace('walsync') IS NOT NULL",
        role,
    )
    ((*settings,),) = _query(session, _SERVER)
    others = _query(session, _OTHERS, schemas)
    return Survey(
        database=session.info.dbname,
        server=Server(*settings),
        tables=tuple(tables),
        others=tuple((written(schema, name), kind) for schema, name, kind in others),
        slot=_free_slot(session),
        publication=_free_publication(session),
        role_exists=role_exists,
        schema_exists=schema_exists,
    )


def _tables(session: Connection, schemas: Sequence[str]) -> list[Found]:
    wanted = [TableSettings(table=written(schema, None)) for schema in schemas]
    of_extensions = {relid for (relid,) in _query(session, _OF_EXTENSIONS)}
    tables = [table for table in catalogue.load(session, wanted).tables if table.relid not in of_extensions]
    described = {relid: rest for relid, *rest in _query(session, _ROWS, [table.relid for table in tables])}
    found = []
    for table in sorted(tables, key=lambda table: (table.schema, table.name)):
        rows, has_row_security = described[table.relid]
        found.append(Found(table, rows, has_row_security, tuple(requirements.of_table(session, table))))
    return found


def _free_slot(session: Connection) -> str:
    """Slots belong to the whole cluster, where another database may be replicated already."""
    if slots.find(session, NAME) is None:
        return NAME
    database = _NOT_OF_A_SLOT_NAME.sub("_", session.info.dbname.lower())
    names = (f"{NAME}_{database}"[:_SLOT_NAME_CHARACTERS], *(f"{NAME}_{number}" for number in range(2, 1000)))
    return next(name for name in names if slots.find(session, name) is None)


def _free_publication(session: Connection) -> str:
    names = (NAME, *(f"{NAME}_{number}" for number in range(2, 1000)))
    return next(name for name in names if publication.find(session, name) is None)


def _query(session: Connection, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    with session.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchall()
