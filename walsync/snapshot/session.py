"""A session inside the snapshot's transaction, with a thread of its own; and all those that one snapshot has.

Whatever fails in a session ends it: the next reader gets another.
"""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeVar

import psycopg2
from psycopg2 import errors as pg
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - psycopg2's class has a lower-case name

from walsync.errors import SourceUnavailable
from walsync.identifier import quote
from walsync.postgres import Connection, connect, describe
from walsync.snapshot.parts import ALL_ROWS, PART_BLOCKS, Match, Part, Relation, copy_statement, divide
from walsync.source.copy_out import Chunk, CopyOut, cancellation
from walsync.source.session import source_error
from walsync.source.table import Table

_T = TypeVar("_T")
_CHUNK_BYTES: Final = 256 * 1024
_CANCEL_SECONDS: Final = 2.0
"""How long the server may take to end a statement when it is asked to; then the wire is cut."""

_SETTINGS: Final = {
    # A policy that hides rows from this role must be an error: with row security on they would be missing.
    "row_security": "off",
    # Who reads a part a second time gets the rows in the same order: it goes on behind those that it has.
    "synchronize_seqscans": "off",
    "max_parallel_workers_per_gather": "0",
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
    "enable_bitmapscan": "off",
    "enable_tidscan": "on",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a table is read in, and estimates of its rows, None without ground, and of its bytes on disk."""

    parts: list[Part]
    total_rows: int | None
    total_bytes: int


class SnapshotSession:
    """Reads one table after the other; one call at a time. Errors are the source's, and end it."""

    def __init__(self, connection: Connection, executor: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._executor = executor
        self._wire = socket.socket(fileno=os.dup(connection.fileno()))
        self.is_usable = True

    @classmethod
    async def open(cls, dsn: str, snapshot: str, application_name: str) -> Self:
        """Import the snapshot; SourceUnavailable when that is gone."""
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="snapshot")
        opening = asyncio.get_running_loop().run_in_executor(executor, _begin, dsn, snapshot, application_name)
        try:
            return cls(await asyncio.shield(opening), executor)
        except BaseException:
            opening.add_done_callback(_close_opened)
            executor.shutdown(wait=False)
            raise

    async def lock(self, table: Table, *, wait: bool = True) -> bool:
        """Keep others from rewriting the table until `unlock`; without `wait` False where somebody is about to.

        SourceUnavailable for a table that was truncated or rewritten since the snapshot: its rows have gone, also for
        the snapshot.
        """
        return await self._run(lambda: self._lock(table, wait=wait))

    async def plan(self, table: Table, part_blocks: int = PART_BLOCKS) -> Plan:
        """Divide a locked table."""
        return await self._run(lambda: self._plan(table, part_blocks))

    async def copy(self, table: Table, part: Part, match: Match = ALL_ROWS) -> AsyncGenerator[Chunk, None]:
        """Yield chunks of whole lines of a locked table; the session is of no use when this is left before the end."""
        ended = False
        try:
            copying = await self._run(lambda: self._start(table, part, match))
            while (chunk := await self._run(lambda: copying.read(_CHUNK_BYTES))).rows:
                yield chunk
            ended = True
        finally:
            self.is_usable = self.is_usable and ended

    async def unlock(self) -> None:
        """Give the table's lock back, and keep the snapshot."""
        # Who wants to TRUNCATE or ALTER a table waits for its own copy, and not for those of all the tables after it.
        await self._run(lambda: _execute(self._connection, "ROLLBACK TO SAVEPOINT walsync"))

    async def close(self) -> None:
        """End the session, and with it what it does."""
        self.is_usable = False
        with suppress(OSError):
            self._wire.shutdown(socket.SHUT_RDWR)
        await asyncio.get_running_loop().run_in_executor(self._executor, self._connection.close)
        self._wire.close()
        self._executor.shutdown(wait=False)

    async def _run(self, work: Callable[[], _T]) -> _T:
        running = asyncio.get_running_loop().run_in_executor(self._executor, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self.is_usable = False
            # It connects anew, which may hang: never on the loop, and never waited for at the process's end.
            threading.Thread(target=cancellation(self._connection), daemon=True).start()
            await asyncio.wait([running], timeout=_CANCEL_SECONDS)
            if not running.done():
                with suppress(OSError):
                    self._wire.shutdown(socket.SHUT_RDWR)
                await asyncio.wait([running])
            running.exception()  # the cancelled statement's: nobody else asks for it
            raise
        except psycopg2.Error as error:
            self.is_usable = False
            raise source_error(error) from error
        except SourceUnavailable:
            self.is_usable = False
            raise

    def _lock(self, table: Table, *, wait: bool) -> bool:
        name = f"{'' if table.is_partitioned else 'ONLY '}{quote(table.schema, table.name)}"
        with self._connection.cursor() as cursor:
            cursor.execute("SAVEPOINT walsync")
            try:
                cursor.execute(f"LOCK TABLE {name} IN ACCESS SHARE MODE{'' if wait else ' NOWAIT'}")
            except pg.LockNotAvailable:
                cursor.execute("ROLLBACK TO SAVEPOINT walsync")
                return False
            _refuse_rewritten(cursor, table)
        return True

    def _plan(self, table: Table, part_blocks: int) -> Plan:
        with self._connection.cursor() as cursor:
            cursor.execute(_RELATIONS, {"relid": table.relid, "is_partitioned": table.is_partitioned})
            found = cursor.fetchall()
        relations = [Relation(name, blocks, only) for name, only, _, blocks, _, _ in found]
        if not all(may_be_read for _, _, may_be_read, _, _, _ in found):
            relations = [Relation(quote(table.schema, table.name), only=not table.is_partitioned)]
        rows = [estimate for _, _, _, _, estimate, _ in found]
        known = None if None in rows else sum(rows)
        return Plan(divide(relations, part_blocks), known, sum(size for _, _, _, _, _, size in found))

    def _start(self, table: Table, part: Part, match: Match) -> CopyOut:
        sql, parameters = copy_statement(table, part, match)
        if not parameters:
            return CopyOut(self._connection, sql.encode())
        with self._connection.cursor() as cursor:
            return CopyOut(self._connection, cursor.mogrify(sql, parameters))


class SnapshotSessions:
    """All sessions of one snapshot: as many as are wanted from the start, others when these are in use."""

    def __init__(self, dsn: str, snapshot: str, application_name: str, count: int) -> None:
        self.count = count
        self._how = (dsn, snapshot, application_name)
        self._idle: list[SnapshotSession] = []

    async def __aenter__(self) -> Self:
        """Open them before the first row is read: who has imported the snapshot goes on without whoever exported it.

        One suffices where the server has no room for more.
        """
        try:
            self._idle.append(await SnapshotSession.open(*self._how))
            with suppress(SourceUnavailable):
                while len(self._idle) < self.count:
                    self._idle.append(await SnapshotSession.open(*self._how))
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    @property
    def has_idle(self) -> bool:
        """Whether one can be borrowed that is open already."""
        return bool(self._idle)

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[SnapshotSession]:
        """Lend a session for as long as the block lasts."""
        session = self._idle.pop() if self._idle else await SnapshotSession.open(*self._how)
        try:
            yield session
        except BaseException:
            session.is_usable = False
            raise
        finally:
            if session.is_usable:
                self._idle.append(session)
            else:
                await session.close()

    async def _close(self) -> None:
        while self._idle:
            await self._idle.pop().close()


def _begin(dsn: str, snapshot: str, application_name: str) -> Connection:
    try:
        connection = connect(dsn, application_name=application_name, settings=_SETTINGS)
        try:
            with connection.cursor() as cursor:
                cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                cursor.execute("SET TRANSACTION SNAPSHOT %s", (snapshot,))
        except BaseException:
            connection.close()
            raise
    except (pg.InvalidParameterValue, pg.UndefinedObject) as error:
        # The session that exported it has ended meanwhile.
        raise SourceUnavailable("WS2002", f"the snapshot is gone: {describe(error)}") from error
    except psycopg2.Error as error:
        raise source_error(error) from error
    return connection


def _close_opened(opening: "asyncio.Future[Connection]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _execute(connection: Connection, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


_RELATIONS: Final = """
SELECT c.oid::regclass::text,
       c.relkind = 'r',
       NOT %(is_partitioned)s OR may_read AND NOT pg_catalog.row_security_active(c.oid),
       CASE WHEN c.relkind = 'r' AND c.relam = 2 THEN blocks ELSE 0 END,
       CASE WHEN c.reltuples >= 0 AND c.relkind = 'r' AND (c.relpages > 0 OR blocks = 0)
            THEN (c.reltuples / greatest(c.relpages, 1) * blocks)::bigint END,
       coalesce(pg_catalog.pg_table_size(c.oid), 0)
FROM pg_catalog.pg_class AS c,
     LATERAL (SELECT coalesce(pg_catalog.pg_relation_size(c.oid), 0)
                     / pg_catalog.current_setting('block_size')::bigint,
                     pg_catalog.has_table_privilege(c.oid, 'SELECT')) AS now (blocks, may_read)
WHERE c.oid = %(relid)s AND NOT %(is_partitioned)s
   OR %(is_partitioned)s
      AND c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(%(relid)s) WHERE isleaf AND relid <> %(relid)s)
ORDER BY c.oid
"""
"""Rows can be chosen by block in a heap, 2 is the oid of that access method. Partitions may be closed to who may read
their root: then they are read through it."""

_REWRITTEN: Final = """
SELECT FROM pg_catalog.pg_class AS c
WHERE c.oid = ANY (%s::oid[]) AND c.relkind = 'r'
    AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid)
"""
"""The catalogue shows the snapshot's file, the function the file of now."""


def _refuse_rewritten(cursor: Cursor, table: Table) -> None:
    cursor.execute(_REWRITTEN, ([table.relid, *table.leaves],))
    if cursor.rowcount:
        raise SourceUnavailable(
            "WS6001",
            f"{table.qualified_name} was truncated or rewritten before its copy began: a new snapshot is taken",
        )
