"""What the source must be like before anything on it is touched: the rules that `run` obeys and `check` lists."""

from collections.abc import Sequence
from typing import Any, Final

import psycopg2

from walsync.errors import SourceRefused
from walsync.identifier import quote
from walsync.postgres import Connection, describe
from walsync.relation import ReplicaIdentity
from walsync.source.session import REPLICATION_HINT
from walsync.source.table import Table

_OLDEST_VERSION: Final = 140000
_FILTERS_SINCE: Final = 150000
_MENDED: Final = {14: 18, 15: 13, 16: 9, 17: 5}
"""By version, the release since which a transaction sees a publication change that commits while it is open."""


def of_server(session: Connection) -> list[SourceRefused]:
    """Check version, wal_level and the right to replicate."""
    found = []
    if session.server_version < _OLDEST_VERSION:
        found.append(
            SourceRefused(
                "WS2102",
                f"the source is Postgres {session.server_version // 10000}; walsync reads 14 and later",
                hint="upgrade the server",
            )
        )
    level = _one(session, "SELECT pg_catalog.current_setting('wal_level')")
    if level != "logical":
        found.append(
            SourceRefused(
                "WS2101",
                f"wal_level is {level}, so the WAL holds no row changes",
                hint="ALTER SYSTEM SET wal_level = logical; then restart the server",
            )
        )
    if not _one(session, _MAY_REPLICATE):
        found.append(
            SourceRefused(
                "WS2103",
                "the source's role may not replicate",
                hint=REPLICATION_HINT,
            )
        )
    return found


def release_to_take(server_version: int) -> str | None:
    """Name the release in which this server would lose no changes of new tables; None where it loses none."""
    version, release = divmod(server_version, 10_000)
    mended = _MENDED.get(version, 0)
    return f"{version}.{mended}" if release < mended else None


# Managed services grant replication by membership in a role of their own.
_MAY_REPLICATE: Final = """
SELECT rolsuper OR rolreplication OR EXISTS (
    SELECT FROM pg_catalog.pg_roles AS granted
    WHERE granted.rolname IN (
        'rds_replication', 'rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin', 'alloydbsuperuser')
    AND pg_catalog.pg_has_role(me.oid, granted.oid, 'MEMBER'))
FROM pg_catalog.pg_roles AS me WHERE rolname = current_user
"""


def of_table(session: Connection, table: Table) -> list[SourceRefused]:
    """Check that publishing this table neither breaks the application's own UPDATEs nor loses rows."""
    if not table.identity:
        return [
            SourceRefused(
                "WS2203",
                f"table {table.qualified_name} has no replica identity: published, its UPDATEs and DELETEs would fail",
                hint=f"ALTER TABLE {quote(table.schema, table.name)} ADD PRIMARY KEY (...), or REPLICA IDENTITY FULL",
            )
        ]
    found = [
        SourceRefused(
            "WS2203",
            f"partition {leaf} of {table.qualified_name} has a weaker replica identity than the table: published, its "
            "UPDATEs and DELETEs would fail or lack their key",
            hint=f"ALTER TABLE {leaf} REPLICA IDENTITY as that of {table.qualified_name}; partitions do not inherit it",
        )
        for leaf in table.weak_leaves
    ]
    all_published = len(table.published) == sum(not column.generated for column in table.columns)
    if session.server_version < _FILTERS_SINCE and (table.row_filter is not None or not all_published):
        found.append(
            SourceRefused(
                "WS2206",
                f"table {table.qualified_name}: `where` and `columns` need Postgres 15 on the source",
                hint="remove them from source.tables, or upgrade the server",
            )
        )
    outside = [name for name in table.identity if name not in table.published]
    if outside or (not all_published and table.replica_identity is ReplicaIdentity.FULL):
        found.append(
            SourceRefused(
                "WS2205",
                f"table {table.qualified_name}: `columns` must hold the replica identity; it lacks "
                f"{', '.join(outside) or 'columns, and REPLICA IDENTITY FULL needs all'}",
                hint="add them to `columns`",
            )
        )
    if table.row_filter is not None and not found:
        found.extend(_of_filter(session, table))
    return found


def of_tables(session: Connection, tables: Sequence[Table]) -> list[SourceRefused]:
    """Check every table."""
    return [problem for table in tables for problem in of_table(session, table)]


def _of_filter(session: Connection, table: Table) -> list[SourceRefused]:
    try:
        columns = _filter_columns(session, table)
    except psycopg2.Error as error:
        return [
            SourceRefused(
                "WS2204",
                f"table {table.qualified_name}: `where` is not a condition on it: {describe(error)}",
                hint="correct `where`: an SQL expression over the table's own columns",
            )
        ]
    outside = [name for name in columns if name not in table.identity]
    if not outside:
        return []
    return [
        SourceRefused(
            "WS2204",
            f"table {table.qualified_name}: `where` uses {', '.join(outside)}, outside the replica identity: "
            "the application's UPDATEs would fail",
            hint=f"filter on key columns only, or ALTER TABLE {quote(table.schema, table.name)} REPLICA IDENTITY FULL",
        )
    ]


def _filter_columns(session: Connection, table: Table) -> list[str]:
    # The server knows which columns a condition reads: a view over it, never committed, depends on exactly those.
    view = quote("pg_temp", "walsync_filter")
    with session.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            cursor.execute(
                f"CREATE VIEW {view} AS SELECT FROM {quote(table.schema, table.name)} WHERE ({table.row_filter})"
            )
            cursor.execute(
                """
                SELECT a.attname::text FROM pg_catalog.pg_rewrite AS r
                JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
                JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                WHERE r.ev_class = 'pg_temp.walsync_filter'::regclass AND d.refobjid = %s AND d.refobjsubid > 0
                ORDER BY a.attnum
                """,
                (table.relid,),
            )
            return [name for (name,) in cursor.fetchall()]
        finally:
            cursor.execute("ROLLBACK")


def _one(session: Connection, sql: str) -> Any:  # noqa: ANN401
    with session.cursor() as cursor:
        cursor.execute(sql)
        row = cursor.fetchone()
    return row[0] if row else None
