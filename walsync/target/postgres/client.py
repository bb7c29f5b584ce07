"""The one session of a Postgres target and the one thread that its blocking calls run in.

Every call is one transaction: `run` commits what `work` did, or rolls it back. It never reconnects under a writer: a
lost connection makes the claim void, and only work that asks for no claim opens the next session.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

import psycopg2
import psycopg2.errors

from walsync.errors import Fenced, TargetUnavailable, WalsyncError
from walsync.identifier import quote
from walsync.postgres import Connection, connect
from walsync.relation import Relation
from walsync.target.base import Writer
from walsync.target.postgres.failures import judge, judge_connecting

T = TypeVar("T")

_SESSION: Final = {
    # A COMMIT that returns is on the target's disk, whatever ALTER ROLE says: an acknowledgement rests on it.
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    # An error instead of rows that a policy hides: a delete that hits nothing would pass for done.
    "row_security": "off",
    # A frozen instance must not hold the checkpoint's row for longer than this.
    "idle_in_transaction_session_timeout": "60s",
    # The server notices a client host that vanished after about 25 s, not 2 h, and gives its locks back.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
"""lock_timeout stays off: whoever waits for the checkpoint's row or a user's lock does right to wait."""

_END_SECONDS: Final = 5.0
"""How long abandoned work may take to end when the server is asked to end its session; then the wire is cut."""

_CUT_SECONDS: Final = 1.0


@dataclass(slots=True)
class Session:
    """An open connection and what is true only as long as it lives."""

    connection: Connection
    wire: socket.socket
    replica_role: bool
    writer: Writer | None = None
    staging: dict[Relation, str] = field(default_factory=dict)
    not_committed: list[Relation] = field(default_factory=list)
    made: int = 0

    def stage(self, relation: Relation) -> str:
        """Name a new staging table; the name is never used again in this session."""
        self.made += 1
        self.staging[relation] = quote("pg_temp", f"walsync_{relation.relid}_{self.made}")
        self.not_committed.append(relation)
        return self.staging[relation]

    def rolled_back(self) -> None:
        """Forget the staging tables that went with the transaction."""
        for relation in self.not_committed:
            self.staging.pop(relation, None)
        self.not_committed.clear()

    def cut(self) -> None:
        """End the conversation without asking; a call that is stuck in it returns with an error."""
        with suppress(OSError):
            self.wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection back."""
        with suppress(psycopg2.Error):
            self.connection.close()
        self.wire.close()


class Client:
    """Runs blocking work on one session, one piece at a time, off the event loop."""

    def __init__(self, dsn: str, about: str) -> None:
        self.application_name = "walsync"
        self._dsn = dsn
        self._about = about
        self._session: Session | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=about.replace(" ", "-"))

    async def run(self, work: Callable[[Session], T], interrupt: Callable[[], None] | None = None) -> T:
        """Run `work` as one transaction, in this target's thread, on the session or a new one.

        Cancelling takes the work back: the server ends its session, and nothing of it is committed,
        unless the COMMIT itself was under way. `interrupt` wakes work that waits for something else than the server.
        """
        abandoned = threading.Event()
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, self._work, work, abandoned)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            abandoned.set()
            if interrupt is not None:
                interrupt()
            future.add_done_callback(_take_exception)
            await self._take_back(future)
            raise

    async def close(self) -> None:
        """Close the session and end the thread."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._drop)
        self._executor.shutdown(wait=False)

    async def _take_back(self, future: asyncio.Future[T]) -> None:
        session = self._session
        if session is not None:
            pid = session.connection.info.backend_pid
            # It connects anew, which may hang: never on the loop, and never waited for at the process's end.
            threading.Thread(target=self._end_session, args=(pid,), daemon=True).start()
        await asyncio.wait({future}, timeout=_END_SECONDS)
        if not future.done() and session is not None:
            session.cut()
            await asyncio.wait({future}, timeout=_CUT_SECONDS)

    def _end_session(self, pid: int) -> None:
        """Have the server end a session and roll it back, whatever it is doing.

        Not by psycopg2's cancel(): it holds the GIL until the server answers, and misses work between statements.
        """
        with (
            suppress(psycopg2.Error),
            closing(connect(self._dsn, application_name=self.application_name)) as other,
            other.cursor() as cursor,
        ):
            cursor.execute(
                "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
                " WHERE pid = %s AND usename = current_user AND datname = pg_catalog.current_database()",
                (pid,),
            )

    def _work(self, work: Callable[[Session], T], abandoned: threading.Event) -> T:
        session = self._open()
        try:
            return _transact(session, work, abandoned)
        except psycopg2.Error as error:
            failure = judge(error, self._about)
            self._fail(session, failure)
            # No chain: the server's DETAIL holds rows.
            raise failure from None
        except BaseException as error:
            self._fail(session, error)
            raise
        finally:
            if abandoned.is_set():
                # The server is ending it.
                self._drop()

    def _fail(self, session: Session, error: BaseException) -> None:
        if isinstance(error, TargetUnavailable | Fenced) or not isinstance(error, WalsyncError):
            session.writer = None
        try:
            session.rolled_back()
            session.connection.rollback()
        except psycopg2.Error:
            self._drop()

    def _open(self) -> Session:
        if self._session is not None and self._session.connection.closed:
            self._drop()
        if self._session is None:
            try:
                self._session = _connect(self._dsn, self.application_name)
            except psycopg2.Error as error:
                raise judge_connecting(error, self._about) from None
        return self._session

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


def _transact(session: Session, work: Callable[[Session], T], abandoned: threading.Event) -> T:
    result = work(session)
    if abandoned.is_set():
        # The session is closed next, which rolls back; nobody waits for the result.
        return result
    session.connection.commit()
    session.not_committed.clear()
    return result


def require_writer(session: Session) -> Writer:
    """Take the writer that claimed this very session; a session opened since then has none."""
    if session.writer is None:
        raise TargetUnavailable("WS4103", "the target was not claimed since its connection was lost")
    return session.writer


def _connect(dsn: str, application_name: str) -> Session:
    opened = connect(dsn, application_name=application_name, settings=_SESSION)
    try:
        replica_role = _take_replica_role(opened)
        opened.autocommit = False
        return Session(opened, socket.socket(fileno=os.dup(opened.fileno())), replica_role)
    except BaseException:
        opened.close()
        raise


def _take_replica_role(opened: Connection) -> bool:
    """Switch triggers and foreign keys off for this session, as native logical replication does, where allowed."""
    with opened.cursor() as cursor:
        try:
            cursor.execute("SET session_replication_role = replica")
        except psycopg2.errors.InsufficientPrivilege:
            return False
    return True


def _take_exception(future: asyncio.Future[T]) -> None:
    """Look at the outcome that nobody waits for, so that asyncio does not report it."""
    if not future.cancelled():
        future.exception()
