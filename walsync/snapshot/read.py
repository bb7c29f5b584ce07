"""Reads tables under an exported snapshot as COPY text, in chunks of whole lines, no faster than they are taken."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, TypeAlias

import psycopg2
from psycopg2 import errors as pg
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - psycopg2's class has a lower-case name

from walsync.errors import SourceUnavailable
from walsync.identifier import quote
from walsync.postgres import Connection, connect, describe
from walsync.source.session import source_error
from walsync.source.table import Table

Match: TypeAlias = Mapping[str, frozenset[bytes]]
"""Which values a column may have, as Postgres prints them."""

_ALL_ROWS: Final[Match] = {}
_CHUNK_BYTES: Final = 256 * 1024
_CHUNKS_AHEAD: Final = 8


class SnapshotReader:
    """One session inside the snapshot's transaction; reads one table after the other."""

    def __init__(self, dsn: str, snapshot: str, application_name: str) -> None:
        self._dsn = dsn
        self._snapshot = snapshot
        self._application_name = application_name
        self._session: Connection | None = None

    async def __aenter__(self) -> Self:
        self._session = await asyncio.to_thread(self._begin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await asyncio.to_thread(self._session.close)

    async def read(self, table: Table, match: Match = _ALL_ROWS) -> AsyncGenerator[bytes, None]:
        """Yield the table's rows, or those that match; SourceUnavailable when the session breaks: start again."""
        if self._session is None:
            raise RuntimeError("SnapshotReader is used as `async with`")
        pipe = _Pipe(asyncio.get_running_loop())
        copying = asyncio.create_task(asyncio.to_thread(_copy, self._session, table, match, pipe))
        try:
            while (chunk := await pipe.get()) is not None:
                yield chunk
            await copying
        finally:
            pipe.stop()
            if not copying.done():
                with suppress(psycopg2.Error):
                    self._session.cancel()
            with suppress(Exception):
                await copying

    def _begin(self) -> Connection:
        try:
            session = connect(
                self._dsn,
                application_name=self._application_name,
                # A policy that hides rows from this role must be an error: with row security on they would be missing.
                settings={"row_security": "off"},
            )
            with session.cursor() as cursor:
                cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                cursor.execute("SET TRANSACTION SNAPSHOT %s", (self._snapshot,))
        except (pg.InvalidParameterValue, pg.UndefinedObject) as error:
            # The session that exported it has ended meanwhile.
            raise SourceUnavailable("WS2002", f"the snapshot is gone: {describe(error)}") from error
        except psycopg2.Error as error:
            raise source_error(error) from error
        return session


def copy_statement(table: Table, match: Match = _ALL_ROWS) -> tuple[str, list[list[str]]]:
    """Write the COPY that reads the published rows and columns of a table, and its parameters."""
    columns = ", ".join(quote(name) for name in table.published)
    name = quote(table.schema, table.name)
    conditions = [f"({table.row_filter})"] if table.row_filter is not None else []
    if not (conditions or match or table.is_partitioned):
        return f"COPY {name} ({columns}) TO STDOUT", []
    # format() prints as the stream does; a cast to text does not: a boolean would be true instead of t.
    parameters = [sorted(value.decode() for value in values) for values in match.values()]
    escaped = [condition.replace("%", "%%") if parameters else condition for condition in conditions]
    escaped += [_matches(quote(column).replace("%", "%%")) for column in match]
    # Children of an inheriting table are tables of their own in the stream; partitions are part of their root.
    source = name if table.is_partitioned else f"ONLY {name}"
    select = f"SELECT {columns} FROM {source}"
    select = select.replace("%", "%%") if parameters else select
    return f"COPY ({select}{' WHERE ' if escaped else ''}{' AND '.join(escaped)}) TO STDOUT", parameters


def _matches(column: str) -> str:
    # format() prints NULL as an empty string, which is a value; IS NOT NULL looks into a composite.
    return f"{column} IS DISTINCT FROM NULL AND pg_catalog.format('%%s', {column}) = ANY(%s)"


def _copy(session: Connection, table: Table, match: Match, pipe: "_Pipe") -> None:
    sql, parameters = copy_statement(table, match)
    try:
        with session.cursor() as cursor:
            # Rolling back to it gives the table's lock back, and keeps the snapshot: who wants to TRUNCATE or ALTER a
            # table on the source waits for its own copy, and not for those of all the tables after it.
            cursor.execute("SAVEPOINT walsync")
            _refuse_rewritten(cursor, table)
            cursor.copy_expert(cursor.mogrify(sql, parameters) if parameters else sql, pipe)
            cursor.execute("ROLLBACK TO SAVEPOINT walsync")
        pipe.flush()
    except psycopg2.Error as error:
        raise source_error(error) from error
    finally:
        pipe.end()


_REWRITTEN: Final = """
SELECT FROM pg_catalog.pg_class AS c
WHERE c.oid = ANY (%s::oid[]) AND c.relkind = 'r'
    AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid)
"""
"""The catalogue shows the snapshot's file, the function the file of now."""


def _refuse_rewritten(cursor: Cursor, table: Table) -> None:
    """Refuse a table that was truncated or rewritten since the snapshot: its rows have gone, also for the snapshot."""
    only = "" if table.is_partitioned else "ONLY "
    cursor.execute(f"LOCK TABLE {only}{quote(table.schema, table.name)} IN ACCESS SHARE MODE")
    cursor.execute(_REWRITTEN, ([table.relid, *table.leaves],))
    if cursor.rowcount:
        raise SourceUnavailable(
            "WS6001",
            f"{table.qualified_name} was truncated or rewritten before its copy began: a new snapshot is taken",
        )


class _Pipe:
    """A file for the copying thread, a queue for the loop: the thread waits while the queue is full."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_CHUNKS_AHEAD)
        self._lines: list[bytes] = []
        self._size = 0
        self._stopped = False

    async def get(self) -> bytes | None:
        return await self._queue.get()

    def stop(self) -> None:
        """Let the copying thread fail at its next line, and free it if it waits."""
        self._stopped = True
        while not self._queue.empty():
            self._queue.get_nowait()

    def write(self, line: bytes) -> int:
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _CHUNK_BYTES:
            self.flush()
        return len(line)

    def flush(self) -> None:
        if self._lines:
            self._put(b"".join(self._lines))
            self._lines, self._size = [], 0

    def end(self) -> None:
        self._put(None)

    def _put(self, chunk: bytes | None) -> None:
        if self._stopped:
            if chunk is not None:
                raise InterruptedError("nobody reads this table any more")
            return
        asyncio.run_coroutine_threadsafe(self._queue.put(chunk), self._loop).result()
