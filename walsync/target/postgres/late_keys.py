"""Takes a table's keys off while its rows are copied, and puts them back after: built at once they cost a fraction.

Row by row a key of one growing integer takes a third of the target's time; one in no order takes much more. All of it
happens in the copy's own transaction, under the lock that its TRUNCATE holds anyway: nobody sees the table without.
"""

from typing import Final, NamedTuple

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - psycopg2's class has a lower-case name

from walsync.errors import TargetUnavailable
from walsync.identifier import quote
from walsync.target.postgres.failures import judge


class LateKey(NamedTuple):
    """A primary or unique key, and all that has to be as before when it is back."""

    name: str
    definition: str
    index_definition: str


_PLAIN_KEYS: Final = """
WITH here (fires) AS (
    SELECT ARRAY['A', CASE pg_catalog.current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END]
)
SELECT k.conname::text, pg_catalog.pg_get_constraintdef(k.oid), pg_catalog.pg_get_indexdef(x.oid)
FROM here, pg_catalog.pg_class AS t
JOIN pg_catalog.pg_constraint AS k ON k.conrelid = t.oid AND k.contype IN ('p', 'u')
JOIN pg_catalog.pg_index AS i ON i.indexrelid = k.conindid
JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
WHERE t.oid = %(table)s::regclass AND t.relkind = 'r' AND NOT t.relispartition
    AND i.indimmediate AND i.indisvalid AND NOT i.indisclustered AND NOT i.indisreplident AND NOT i.indisexclusion
    AND x.relname = k.conname AND x.reltablespace = 0 AND x.reloptions IS NULL
    AND pg_catalog.pg_has_role(t.relowner, 'USAGE') AND pg_catalog.has_schema_privilege(t.relnamespace, 'CREATE')
    AND pg_catalog.current_setting('temp_file_limit') = '-1'
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_inherits WHERE t.oid IN (inhrelid, inhparent))
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend AS d
        WHERE (d.refclassid, d.refobjid) IN (('pg_catalog.pg_constraint'::regclass, k.oid),
                                             ('pg_catalog.pg_class'::regclass, x.oid))
            AND (d.classid, d.objid) <> ('pg_catalog.pg_class'::regclass, x.oid)
        OR (d.classid, d.objid) IN (('pg_catalog.pg_constraint'::regclass, k.oid),
                                    ('pg_catalog.pg_class'::regclass, x.oid))
            AND d.deptype IN ('e', 'x'))
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_description AS d
        WHERE (d.classoid, d.objoid) IN (('pg_catalog.pg_constraint'::regclass, k.oid),
                                         ('pg_catalog.pg_class'::regclass, x.oid)))
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_trigger
        WHERE tgrelid = t.oid AND (NOT tgisinternal OR tgdeferrable) AND tgenabled = ANY (fires))
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_event_trigger WHERE evtevent <> 'login' AND evtenabled = ANY (fires))
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_publication AS p
        WHERE p.puballtables OR t.oid IN (SELECT relid FROM pg_catalog.pg_get_publication_tables(p.pubname)))
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_replication_slots WHERE database = pg_catalog.current_database()
            AND plugin <> 'pgoutput')
ORDER BY x.oid
"""
"""The keys that can be put back exactly, and whose absence nobody notices: nothing refers to them, nothing is noted on
them, their index is an ordinary one. A trigger may look rows up by the key, and one that is deferred keeps the table
from being altered; an event trigger notes what is done to tables; who reads the target's own changes tells rows by
their key; the sort needs temporary files, which may be limited."""


def take_off(cursor: Cursor, name: str) -> list[LateKey]:
    """Drop the keys that can be put back, and return them; none where that is not sure.

    `name` is quoted, and the table locked. Whether they can is tried out, while its rows are few.
    """
    keys = _plain_keys(cursor, name)
    if not keys:
        return []
    # A server or role may have another default, in which the index would not have been.
    cursor.execute("SET LOCAL default_tablespace = ''")
    cursor.execute("SAVEPOINT walsync_keys")
    try:
        cursor.execute(f"ALTER TABLE {name} {_drop(keys)}, {_add(keys)}")
        can_be_put_back = _plain_keys(cursor, name) == keys
    except psycopg2.Error as error:
        if isinstance(judge(error, name), TargetUnavailable):
            raise
        can_be_put_back = False
    if not can_be_put_back:
        cursor.execute("ROLLBACK TO SAVEPOINT walsync_keys")
        return []
    cursor.execute(f"ALTER TABLE {name} {_drop(keys)}")
    cursor.execute("RELEASE SAVEPOINT walsync_keys")
    return keys


def put_back(cursor: Cursor, name: str, keys: list[LateKey]) -> None:
    """Build the keys again; rows that one refuses are an error of the same code as in an INSERT."""
    if keys:
        cursor.execute(f"ALTER TABLE {name} {_add(keys)}")


def _plain_keys(cursor: Cursor, name: str) -> list[LateKey]:
    cursor.execute(_PLAIN_KEYS, {"table": name})
    return [LateKey(*row) for row in cursor.fetchall()]


def _drop(keys: list[LateKey]) -> str:
    return ", ".join(f"DROP CONSTRAINT {quote(key.name)}" for key in keys)


def _add(keys: list[LateKey]) -> str:
    return ", ".join(f"ADD CONSTRAINT {quote(key.name)} {key.definition}" for key in keys)
