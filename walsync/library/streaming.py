"""A slot as an asynchronous iterator of transactions, acknowledged as the reader goes on; at least once."""

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Final, Self

import psycopg2

from walsync.errors import SourceRefused
from walsync.identifier import quote
from walsync.lsn import LSN, ZERO
from walsync.opening import opened
from walsync.pgoutput.message import Type
from walsync.reader import Reader
from walsync.source import publication as publications
from walsync.source import slot as slots
from walsync.source.session import open_replication, open_session, source_error
from walsync.source.stream import Stream
from walsync.transaction.assembler import Assembler
from walsync.transaction.change import Transaction

MAX_BYTES: Final = 64 * 1024**2
_NAME: Final = "walsync stream"


class TransactionStream:
    """The transactions that a slot has, and those to come: ``async for transaction in stream``.

    A transaction is acknowledged when the next one is asked for, unless `acknowledge_automatically` is off; the slot
    forgets it then. What was not acknowledged when the loop ended comes again in the next one: at least once. While
    the loop's body works, a thread answers the server and reads ahead, up to `max_bytes`. SourceUnavailable when the
    connection breaks: a new loop goes on from what was acknowledged. SourceRefused when a person has to act. A loop
    that is left by break ends when the stream is closed: ``async with``, `aclose`, or when nothing refers to it.
    """

    def __init__(
        self,
        dsn: str,
        *,
        slot: str,
        publication: str,
        create_slot: bool = False,
        messages: bool = False,
        acknowledge_automatically: bool = True,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Name a slot of the plugin pgoutput, which is used as it stands.

        With `create_slot` it is made where it is absent, and has what commits from then on; with `messages` also what
        pg_logical_emit_message() wrote is read.
        """
        self._dsn = dsn
        self._slot = slot
        self._publication = publication
        self._create_slot = create_slot
        self._messages = messages
        self._automatic = acknowledge_automatically
        self._max_bytes = max_bytes
        self.types: dict[int, Type] = {}
        """The types that are not built in, as far as they came by; for `walsync.renderer`."""
        self._reader: Reader | None = None
        self._reading: weakref.ref[AsyncGenerator[Transaction, None]] | None = None
        self._given = self._acknowledged = self._idle = ZERO

    def acknowledge(self, transaction: Transaction) -> None:
        """Let the slot forget this transaction and all before it; the server hears of it within about a second."""
        self._acknowledged = max(self._acknowledged, transaction.end_lsn)
        self._confirm()

    def __aiter__(self) -> AsyncGenerator[Transaction, None]:
        reading = self._read()
        # Not held: a loop that was left ends when nothing refers to it.
        self._reading = weakref.ref(reading)
        return reading

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the loop, which tells the slot what was acknowledged; the server frees that a moment later."""
        reading = self._reading() if self._reading is not None else None
        if reading is not None:
            await reading.aclose()

    async def _read(self) -> AsyncGenerator[Transaction, None]:
        stream = await opened(self._open)
        queue = _Queue(self._max_bytes)
        assembler = Assembler()
        assembler.types = self.types
        reader = Reader(stream, queue.put, assembler)
        queue.reader = self._reader = reader
        self._given = self._acknowledged = self._idle = ZERO
        reading = asyncio.create_task(asyncio.to_thread(reader.run))
        try:
            while (transaction := await queue.get(reading)) is not None:
                if not transaction.changes and not transaction.messages:
                    self._idle = transaction.end_lsn
                    self._confirm()
                    continue
                self._given = transaction.end_lsn
                yield transaction
                if self._automatic:
                    self.acknowledge(transaction)
        finally:
            self._reader = None
            reader.stop()
            await asyncio.wait([reading])
            if not reading.cancelled():
                reading.exception()  # said already, where it mattered

    def _confirm(self) -> None:
        """Tell the reader how far the slot may go: past what is not published, where nothing before it is open."""
        if self._reader is None:
            return
        everything = self._acknowledged >= self._given
        position = max(self._acknowledged, self._idle) if everything else self._acknowledged
        if position:
            self._reader.confirm(position)

    def _open(self) -> Stream:
        try:
            start = self._find_start()
            replication = open_replication(self._dsn, _NAME)
            try:
                return Stream.start(
                    replication, slot=self._slot, publication=self._publication, start=start, messages=self._messages
                )
            except BaseException:
                replication.close()
                raise
        except psycopg2.Error as error:
            raise source_error(error) from error

    def _find_start(self) -> LSN:
        with closing(open_session(self._dsn, _NAME)) as session:
            if publications.find(session, self._publication) is None:
                raise SourceRefused(
                    "WS2303",
                    f"publication {self._publication} does not exist in database {session.info.dbname}",
                    hint=f"CREATE PUBLICATION {quote(self._publication)} FOR ALL TABLES; or FOR TABLE ...",
                )
            found = slots.find(session, self._slot)
            if found is not None:
                return slots.usable(found, session.info.dbname)
        if not self._create_slot:
            raise SourceRefused(
                "WS2406",
                f"slot {self._slot} does not exist",
                hint=f"create_slot=True; or SELECT pg_create_logical_replication_slot('{self._slot}', 'pgoutput')",
            )
        with closing(open_replication(self._dsn, _NAME)) as replication:
            return slots.create(replication, self._slot).consistent_point


class _Queue:
    """What was read and not asked for yet; the reader waits while it is full."""

    def __init__(self, max_bytes: int) -> None:
        self.reader: Reader | None = None
        self._loop = asyncio.get_running_loop()
        self._max_bytes = max_bytes
        self._waiting: deque[Transaction] = deque()
        self._size = 0
        self._arrived = asyncio.Event()

    def put(self, transactions: Sequence[Transaction], _received_bytes: int) -> None:
        """Take what was read, in the reader's thread."""
        if transactions:
            self._loop.call_soon_threadsafe(self._take, transactions)

    async def get(self, reading: "asyncio.Task[None]") -> Transaction | None:
        """Wait for the next one; raise what the reading ended with."""
        while not self._waiting:
            self._arrived.clear()
            arriving = asyncio.create_task(self._arrived.wait())
            try:
                await asyncio.wait([arriving, reading], return_when=asyncio.FIRST_COMPLETED)
            finally:
                arriving.cancel()
            if reading.done() and not self._waiting:
                reading.result()
                return None
        transaction = self._waiting.popleft()
        self._size -= transaction.size_bytes
        if self.reader is not None and self._size < self._max_bytes:
            self.reader.go_on()
        return transaction

    def _take(self, transactions: Sequence[Transaction]) -> None:
        for transaction in transactions:
            is_keepalive = not transaction.changes and not transaction.messages
            if is_keepalive and self._waiting and not self._waiting[-1].changes and not self._waiting[-1].messages:
                self._waiting.pop()  # two in a row say no more than the second
            self._waiting.append(transaction)
            self._size += transaction.size_bytes
        if self.reader is not None and self._size >= self._max_bytes:
            self.reader.hold()
        self._arrived.set()


stream = TransactionStream
"""What a program calls: ``async for transaction in walsync.stream(dsn, slot="app", publication="app")``."""
