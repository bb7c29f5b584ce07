"""Finds out whether a user may write: SurrealDB answers one who may not with nothing, and with no error.

Everything that is written for it is taken back.
"""

from collections.abc import Sequence
from typing import Final

from cbor2 import CBORTag

from walsync.errors import TargetRefused
from walsync.source.table import Table
from walsync.target.base import Finding
from walsync.target.surrealdb import statements
from walsync.target.surrealdb.client import Client, Failed, Thrown
from walsync.target.surrealdb.engine import encode
from walsync.target.surrealdb.failures import is_denial, judge
from walsync.target.surrealdb.schema import table_name
from walsync.target.surrealdb.values import RECORD_TAG

DENIAL: Final = "its user may not write"
DENIAL_HINT: Final = (
    "give the user the role EDITOR on the database; for a record access: DEFINE TABLE OVERWRITE ... PERMISSIONS FULL"
)


async def find_denials(client: Client, tables: Sequence[Table], *, may_define: bool) -> list[Finding]:
    """Try to write: a role holds for the whole database, the permissions of a record access for one table each."""
    if may_define:
        denied = await _is_denied(
            client, statements.try_out(statements.define("table", statements.STORE)), statements.STORE
        )
        return [Finding("WS4202", "the database", DENIAL, DENIAL_HINT)] if denied else []
    names = {statements.STORE: statements.STORE, statements.STAGE: statements.STAGE}
    names |= {table.qualified_name: table_name(table) for table in tables}
    return [
        Finding("WS4202", called, DENIAL, DENIAL_HINT)
        for called, name in names.items()
        if await _is_denied(client, statements.TRY_TO_WRITE, name)
    ]


async def _is_denied(client: Client, sql: str, table: str) -> bool:
    probe = {"probe": CBORTag(RECORD_TAG, [table, statements.PROBE])}
    try:
        await client.try_out(encode(sql, probe))
    except Thrown as thrown:
        return str(thrown) in (statements.DENIED, statements.GONE)
    except Failed as failed:
        error = judge(failed.text, client.about)
        if not isinstance(error, TargetRefused):
            raise error from None
        # What the table itself refuses, such as a field of another type, it refuses to whoever may write.
        return is_denial(failed.text)
    return False
