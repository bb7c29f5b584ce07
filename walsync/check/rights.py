"""Asks Postgres what a role may do, before `run` finds out: each step on the source, writing on a Postgres target."""

from collections.abc import Sequence
from typing import Any

from walsync.check.finding import Report
from walsync.identifier import quote
from walsync.postgres import Connection
from walsync.source import publication
from walsync.source.table import Table

_REGISTRY_HINT = "let an administrator run sql/role.sql for this role"


def row(session: Connection, sql: str, *parameters: object, **named: object) -> tuple[Any, ...]:
    """Run a query that returns exactly one row."""
    with session.cursor() as cursor:
        cursor.execute(sql, named or parameters or None)
        found = cursor.fetchone()
    if found is None:
        raise LookupError(f"no row: {sql}")
    return found


def check_publication_rights(
    session: Connection,
    name: str,
    found: publication.Publication | None,
    tables: Sequence[Table],
    report: Report,
    *,
    where: str,
) -> bool:
    """Note what keeps this role from creating the publication, or from adding tables to it."""
    published = set(found.tables) if found is not None else set()
    (foreign,) = row(
        session,
        """
        SELECT ARRAY(SELECT c.oid::regclass::text FROM pg_catalog.pg_class AS c
                     WHERE c.oid = ANY(%s::oid[]) AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE') ORDER BY 1)
        """,
        [table.relid for table in tables if table.relid not in published],
    )
    statement = publication.alter_statement if found is not None else publication.create_statement
    hint = f"let the owner of the tables run: {statement(name, tables)}" if tables else ""
    if foreign:
        report.error("WS2302", where, f"this role does not own {', '.join(foreign)}", hint)
    if found is None and not _may_create_in_database(session):
        report.error(
            "WS2302",
            where,
            f"this role may not create publication {name}",
            f"GRANT CREATE ON DATABASE {quote(session.info.dbname)} TO {quote(session.info.user)}, or {hint}",
        )
        return False
    return not foreign


def check_registry_rights(session: Connection, report: Report, where: str) -> bool:
    """Note what keeps this role from the registry; tell whether it can be read."""
    table, schema = _relation(session, "walsync", "target"), _schema(session, "walsync")
    if table is not None:
        (allowed,) = row(
            session,
            """
            SELECT pg_catalog.has_schema_privilege(%s::oid, 'USAGE') AND (
                SELECT bool_and(pg_catalog.has_table_privilege(%s::oid, privilege))
                FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege)
            """,
            schema,
            table,
        )
        missing = "the table walsync.target may not be used"
    elif schema is not None:
        allowed = _has_schema(session, "walsync", "USAGE") and _has_schema(session, "walsync", "CREATE")
        missing = "no table may be created in the schema walsync"
    else:
        allowed, missing = _may_create_in_database(session), "the schema walsync may not be created"
    if not allowed:
        report.error("WS5101", where, f"{missing} by this role", _REGISTRY_HINT)
    return bool(allowed)


def check_snapshot_rights(session: Connection, tables: Sequence[Table], report: Report, where: str) -> None:
    """Note which tables this role cannot read, or not to the last row."""
    user = quote(session.info.user)
    for table in tables:
        name = quote(table.schema, table.name)
        schema_usable, readable, hidden = row(
            session,
            """
            SELECT pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'),
                   pg_catalog.has_table_privilege(c.oid, 'SELECT') OR (
                       SELECT bool_and(pg_catalog.has_column_privilege(c.oid, name, 'SELECT'))
                       FROM unnest(%s::text[]) AS name),
                   pg_catalog.row_security_active(c.oid)
            FROM pg_catalog.pg_class AS c WHERE c.oid = %s::oid
            """,
            list(table.published),
            table.relid,
        )
        if not schema_usable:
            grant = f"GRANT USAGE ON SCHEMA {quote(table.schema)} TO {user}"
            report.error("WS2904", where, f"this role may not use the schema of {table.qualified_name}", grant)
        if not readable:
            report.error(
                "WS2904", where, f"this role may not read {table.qualified_name}", f"GRANT SELECT ON {name} TO {user}"
            )
        if hidden:
            report.error(
                "WS2905",
                where,
                f"row security hides rows of {table.qualified_name} from this role",
                f"ALTER ROLE {user} BYPASSRLS",
            )


def check_target_rights(session: Connection, tables: Sequence[Table], report: Report, where: str) -> bool:
    """Note what keeps this role from writing to a Postgres target."""
    before = len(report.findings)
    (standby,) = row(session, "SELECT pg_catalog.pg_is_in_recovery()")
    if standby:
        report.error(
            "WS4902", where, "the server is a standby: nothing can be written", "name the primary in this target's dsn"
        )
    user, database = quote(session.info.user), quote(session.info.dbname)
    may_create = _may_create_in_database(session)
    for schema in sorted({"walsync", *(table.target_name[0] for table in tables)}):
        oid = _schema(session, schema)
        if oid is None and not may_create:
            grant = f"on the target: GRANT CREATE ON DATABASE {database} TO {user}"
            report.error("WS4903", where, f"this role may not create the schema {schema}", grant)
        elif oid is not None:
            _check_schema(session, schema, tables, report, where=where)
    return len(report.findings) == before


def _check_schema(session: Connection, schema: str, tables: Sequence[Table], report: Report, *, where: str) -> None:
    user = quote(session.info.user)
    wanted = [name for home, name in (table.target_name for table in tables) if home == schema]
    if schema == "walsync":
        wanted = ["checkpoint", "table_state", *wanted]
    absent = False
    for name in wanted:
        oid = _relation(session, schema, name)
        if oid is None:
            absent = True
            continue
        (lacking,) = row(
            session,
            """
            SELECT ARRAY(SELECT privilege FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'])
                         AS privilege WHERE NOT pg_catalog.has_table_privilege(%s::oid, privilege))
            """,
            oid,
        )
        if lacking:
            grant = f"on the target: GRANT {', '.join(lacking)} ON {quote(schema, name)} TO {user}"
            report.error("WS4903", where, f"this role may not write {schema}.{name}", grant)
    if not _has_schema(session, schema, "USAGE") or (absent and not _has_schema(session, schema, "CREATE")):
        grant = f"on the target: GRANT USAGE, CREATE ON SCHEMA {quote(schema)} TO {user}"
        report.error("WS4903", where, f"this role may not use the schema {schema} or create tables in it", grant)


def _schema(session: Connection, name: str) -> int | None:
    oid: int | None = row(session, "SELECT (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %s)", name)[0]
    return oid


def _relation(session: Connection, schema: str, name: str) -> int | None:
    # to_regclass would fail where the role may not use the schema, which is what is being asked.
    query = "SELECT (SELECT oid FROM pg_catalog.pg_class WHERE relname = %s AND relnamespace = %s::oid)"
    oid: int | None = row(session, query, name, _schema(session, schema))[0]
    return oid


def _has_schema(session: Connection, schema: str, privilege: str) -> bool:
    return bool(row(session, "SELECT pg_catalog.has_schema_privilege(%s, %s)", schema, privilege)[0])


def _may_create_in_database(session: Connection) -> bool:
    found = row(session, "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database()::text, 'CREATE')")
    return bool(found[0])
