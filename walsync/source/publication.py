"""The publication: created, kept equal to the tables of the configuration, never dropped and made again.

walsync knows its own publication by its comment, which also holds a digest of the definition: the server stores a row
filter in words of its own, so the two texts cannot be compared. A publication without that comment is somebody else's:
it is used as it stands when it publishes exactly the wanted tables, and never altered.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import psycopg2
from psycopg2 import errors as pg

from walsync.errors import SourceRefused, WalsyncError
from walsync.identifier import quote
from walsync.postgres import Connection, describe
from walsync.source.session import source_error
from walsync.source.table import Table

_MARK: Final = "kept by walsync"
_COLUMN_LISTS_SINCE: Final = 150000
_GENERATED_COLUMNS_SINCE: Final = 180000
_PUBLISH: Final = "insert, update, delete, truncate"


@dataclass(frozen=True, slots=True)
class Publication:
    """A publication as the catalogue shows it; `tables` maps relid to the published columns, None for all.

    `complete` means that it publishes every kind of change, and generated columns never. `memberships` names, by relid,
    since when a table is in it without a break: a table that was taken out and put back has another membership, and
    what changed between was not published.
    """

    comment: str
    may_alter: bool
    owner: str
    all_tables: bool
    complete: bool
    via_root: bool
    tables: dict[int, tuple[str, ...] | None]
    filtered: frozenset[int]
    memberships: dict[int, str]

    @property
    def is_ours(self) -> bool:
        """Whether walsync made it."""
        return self.comment.startswith(_MARK)


def find(session: Connection, name: str) -> Publication | None:
    """Look the publication up; None when there is none."""
    with session.cursor() as cursor:
        cursor.execute(
            """
            SELECT oid, coalesce(pg_catalog.obj_description(oid, 'pg_publication'), ''),
                   pg_catalog.pg_has_role(pubowner, 'USAGE'), pg_catalog.pg_get_userbyid(pubowner), puballtables,
                   pubinsert AND pubupdate AND pubdelete AND pubtruncate
                       AND coalesce(pg_catalog.to_jsonb(p) ->> 'pubgencols', 'n') = 'n', pubviaroot
            FROM pg_catalog.pg_publication AS p WHERE pubname = %s
            """,
            (name,),
        )
        row = cursor.fetchone()
        if row is None:
            return None
        oid, comment, may_alter, owner, all_tables, complete, via_root = row
        cursor.execute(_tables_sql(session.server_version), {"oid": oid})
        members = cursor.fetchall()
    return Publication(
        comment=comment,
        may_alter=may_alter,
        owner=owner,
        all_tables=all_tables,
        complete=complete,
        via_root=via_root,
        tables={relid: None if columns is None else tuple(columns) for relid, _, columns, _ in members},
        filtered=frozenset(relid for relid, _, _, has_filter in members if has_filter),
        memberships={relid: f"{name}/{membership}" for relid, membership, _, _ in members},
    )


def has_narrowed(before: Publication, now: Publication | None) -> bool:
    """Tell whether changes of a table that was published `before` may have been left out since."""
    if now is None or (now.complete, now.via_root) != (before.complete, before.via_root):
        return True
    return any(
        (now.memberships.get(relid), now.tables.get(relid)) != (membership, before.tables[relid])
        for relid, membership in before.memberships.items()
    )


def problem(found: Publication | None, name: str, tables: Sequence[Table]) -> SourceRefused | None:
    """Tell why this publication could not be brought in line, without touching it."""
    if found is None or _matches(found, tables):
        return None
    statement = alter_statement(name, tables)
    if found.all_tables:
        return SourceRefused(
            "WS2301",
            f"publication {name} is FOR ALL TABLES: it is not walsync's and cannot be kept equal to source.tables",
            hint="give source.publication another name",
        )
    if not found.is_ours:
        return SourceRefused(
            "WS2301",
            f"publication {name} is not walsync's (owner {found.owner}) and does not publish exactly source.tables",
            hint=f"give source.publication another name, or let its owner run: {statement}",
        )
    if not found.may_alter:
        return SourceRefused(
            "WS2302",
            f"publication {name} has to change, but this role is not its owner ({found.owner})",
            hint=f"let {found.owner} run: {statement}",
        )
    return None


def is_kept(session: Connection, name: str, tables: Sequence[Table]) -> bool:
    """Tell whether `keep` would have nothing to do."""
    found = find(session, name)
    return found is not None and _matches(found, tables)


def keep(session: Connection, name: str, tables: Sequence[Table]) -> bool:
    """Create the publication or bring it in line with `tables`; tell whether anything was changed."""
    found = find(session, name)
    refusal = problem(found, name, tables)
    if refusal is not None:
        raise refusal
    if found is not None and _matches(found, tables):
        return False
    statements = [create_statement(name, tables)] if found is None else _alter(name, found, tables, session)
    try:
        with session.cursor() as cursor:
            cursor.execute("BEGIN")
            for statement in statements:
                cursor.execute(statement)
            cursor.execute(f"COMMENT ON PUBLICATION {quote(name)} IS %s", (_comment(tables),))
            cursor.execute("COMMIT")
    except psycopg2.Error as error:
        _roll_back(session)
        raise _refused(error, name, statements[-1]) from error
    return True


def drop(session: Connection, name: str) -> bool:
    """Drop the publication if walsync made it; tell whether it did."""
    found = find(session, name)
    if found is None or not found.is_ours:
        return False
    with session.cursor() as cursor:
        cursor.execute(f"DROP PUBLICATION {quote(name)}")
    return True


def create_statement(name: str, tables: Sequence[Table]) -> str:
    """Write the CREATE PUBLICATION that `keep` runs."""
    return (
        f"CREATE PUBLICATION {quote(name)} FOR TABLE {_members(tables)}"
        f" WITH (publish = '{_PUBLISH}', publish_via_partition_root = true)"
    )


def alter_statement(name: str, tables: Sequence[Table]) -> str:
    """Write the ALTER PUBLICATION that `keep` runs: the whole list in one statement, so no moment lacks a table."""
    return f"ALTER PUBLICATION {quote(name)} SET TABLE {_members(tables)}"


def _alter(name: str, found: Publication, tables: Sequence[Table], session: Connection) -> list[str]:
    statements = [alter_statement(name, tables)]
    if found.complete and found.via_root:
        return statements
    generated = ", publish_generated_columns = none" if session.server_version >= _GENERATED_COLUMNS_SINCE else ""
    options = f"publish = '{_PUBLISH}', publish_via_partition_root = true{generated}"
    statements.insert(0, f"ALTER PUBLICATION {quote(name)} SET ({options})")
    kept = [quote(table.schema, table.name) for table in tables if table.relid in found.tables]
    if kept:
        # Changes went by that nobody will see again: tables that leave and come back get a new snapshot.
        statements.insert(0, f"ALTER PUBLICATION {quote(name)} DROP TABLE ONLY {', ONLY '.join(kept)}")
    return statements


def _members(tables: Sequence[Table]) -> str:
    return ", ".join(_member(table) for table in sorted(tables, key=lambda table: table.qualified_name))


def _member(table: Table) -> str:
    columns = "" if _publishes_all(table) else f" ({', '.join(quote(column) for column in table.published)})"
    # The filter is SQL by its nature: the operator's own, from the configuration file.
    row_filter = f" WHERE ({table.row_filter})" if table.row_filter is not None else ""
    # ONLY: inheriting tables would be published too, and without a key of their own their UPDATEs would fail.
    return f"ONLY {quote(table.schema, table.name)}{columns}{row_filter}"


def _publishes_all(table: Table) -> bool:
    return all(column.generated or column.name in table.published for column in table.columns)


def _matches(found: Publication, tables: Sequence[Table]) -> bool:
    wanted = {table.relid: None if _publishes_all(table) else table.published for table in tables}
    if found.all_tables or not found.complete or found.tables != wanted:
        return False
    if found.is_ours:
        return found.via_root and found.comment == _comment(tables)
    # Somebody else's filter cannot be compared, and without partitioned tables the root setting changes nothing.
    needs_root = any(table.is_partitioned for table in tables)
    needs_filter = any(table.row_filter is not None for table in tables)
    return not found.filtered and not needs_filter and (found.via_root or not needs_root)


def _comment(tables: Sequence[Table]) -> str:
    digest = hashlib.sha256(_members(tables).encode()).hexdigest()[:16]
    return f"{_MARK}; definition {digest}"


def _tables_sql(server_version: int) -> str:
    if server_version < _COLUMN_LISTS_SINCE:
        return (
            "SELECT prrelid::bigint, oid::bigint, NULL, false FROM pg_catalog.pg_publication_rel"
            " WHERE prpubid = %(oid)s"
        )
    return """
        SELECT r.prrelid::bigint, r.oid::bigint, CASE WHEN r.prattrs IS NOT NULL THEN ARRAY(
                   SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
                   WHERE a.attrelid = r.prrelid AND a.attnum = ANY(r.prattrs) ORDER BY a.attnum) END,
               r.prqual IS NOT NULL
        FROM pg_catalog.pg_publication_rel AS r WHERE r.prpubid = %(oid)s
        """


def _roll_back(session: Connection) -> None:
    if not session.closed:
        with session.cursor() as cursor:
            cursor.execute("ROLLBACK")


def _refused(error: psycopg2.Error, name: str, statement: str) -> WalsyncError:
    if isinstance(error, pg.InsufficientPrivilege):
        return SourceRefused(
            "WS2302",
            f"publication {name} cannot be created or changed: {describe(error)}",
            hint=f"let the owner of the tables run: {statement}",
        )
    return source_error(error)
