"""One START_REPLICATION session: WAL frames out, status updates with the confirmed LSN in, on a timer of its own.

It does not decode, and it confirms nothing but what `confirm` was told.
"""

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from struct import Struct
from typing import Final, NamedTuple, Self, TypeAlias

import psycopg2
from psycopg2 import errors as pg

from walsync.errors import ProtocolError, SourceUnavailable
from walsync.identifier import quote
from walsync.lsn import LSN
from walsync.postgres import Connection
from walsync.source import slot as slots
from walsync.source.copy_both import CopyBoth
from walsync.source.session import Identity, closed_on_error, identify, open_replication, refuse_standby, source_error
from walsync.source.slot import SlotActive

STATUS_INTERVAL_SECONDS: Final = 1.0
"""How often a status update goes out; after every transaction would cost a quarter of the throughput."""

SILENCE_SECONDS: Final = 60.0
"""A server that has not answered for this long, though asked every second, is gone."""

_UNTIMELY_REQUESTS: Final = 5
"""After so many requests for an answer in a row that no timeout explains, the server is waiting to shut down. One may
cross an answer that is on its way."""

_FRAMES_PER_READ: Final = 2000
_MICROSECONDS: Final = 1_000_000
_EPOCH_2000: Final = 946_684_800  # 2000-01-01 in Unix seconds: Postgres counts from there

_WAL_DATA: Final = Struct("!cQQq")
_KEEPALIVE: Final = Struct("!cQqB")
_STATUS: Final = Struct("!cQQQqB")


class SourceChanged(SourceUnavailable):
    """Another cluster answers, another timeline, or the slot has moved: every position has to be looked at again."""


class WalData(NamedTuple):
    """One message of the output plugin; `data_start` is 0 for messages that stand at no position."""

    data_start: int
    server_time: int
    payload: bytes


class Keepalive(NamedTuple):
    """The server has read, and sent, everything below `wal_end`; `server_time` in microseconds since 2000."""

    wal_end: LSN
    server_time: int


Frame: TypeAlias = WalData | Keepalive


class Stream:
    """A session in COPY BOTH mode. `read` and `send_status` belong to one thread; `confirm` and `wake` to any."""

    def __init__(self, connection: Connection, confirmed: LSN, sender_timeout_seconds: float = 0) -> None:
        self._connection = connection
        self._sender_timeout_seconds = sender_timeout_seconds
        self._untimely_requests = 0
        self._sent_at = 0.0
        self._copy = CopyBoth(connection)
        self._confirmed = confirmed
        # Sockets, not a pipe: a late `wake` meets a closed object, never a descriptor that is somebody else's by now.
        self._woken, self._waker = socket.socketpair()
        self._status_due = 0.0
        self._asked_at: float | None = None

    @classmethod
    def open(
        cls, dsn: str, *, identity: Identity, slot: str, publication: str, start: LSN, application_name: str
    ) -> Self:
        """Take the slot and stream everything that commits at or after `start`.

        A position means something on its own cluster and timeline only: `identity` is the one that `start` is of.
        The server raises a start below the slot's confirmed_flush_lsn in silence, which would be a gap: it is read on
        the same session first, and a start below it is refused.
        """
        connection = _session(dsn, application_name, identity)
        with closed_on_error(connection):
            _refuse_gap(connection, slot, start)
            return cls.start(connection, slot=slot, publication=publication, start=start)

    @classmethod
    def start(cls, connection: Connection, *, slot: str, publication: str, start: LSN, messages: bool = False) -> Self:
        """Stream from a slot on a replication session that is open, such as the one that made the slot.

        With `messages` also what pg_logical_emit_message() wrote. On an error the session stays open.
        """
        try:
            sender_timeout_seconds = _sender_timeout_seconds(connection)
            with connection.cursor() as cursor:
                cursor.start_replication_expert(_command(slot, publication, start, messages=messages), decode=False)  # type: ignore[attr-defined]
        except pg.ObjectInUse as error:
            raise SlotActive(str(error).strip()) from error
        except psycopg2.Error as error:
            raise source_error(error) from error
        return cls(connection, start, sender_timeout_seconds)

    @property
    def pid(self) -> int:
        """The server process of this session."""
        return self._connection.get_backend_pid()

    def confirm(self, lsn: LSN) -> None:
        """Let the next status update say that everything below `lsn` is durable in all targets."""
        self._confirmed = lsn

    def wake(self) -> None:
        """Make a waiting `read` return."""
        with suppress(OSError):
            self._waker.send(b"\0")

    def read(self, most: int = _FRAMES_PER_READ) -> Sequence[Frame]:
        """Return what has arrived, up to `most` frames; waits for the first until the next status update is due."""
        self.send_status_when_due()
        frames = self._arrived(most)
        if frames:
            return frames
        if self._copy.wait(max(0.0, self._status_due - time.monotonic()), self._woken.fileno()):
            self._copy.receive()
            return self._arrived(most)
        self._refuse_silence()
        return ()

    def send_status_when_due(self) -> float:
        """Send a status update if its time has come; return the seconds until the next one."""
        now = time.monotonic()
        if now >= self._status_due:
            self.send_status(ask=True)
            self._asked_at = self._asked_at or now
        return max(0.0, self._status_due - now)

    def send_status(self, *, ask: bool = False) -> None:
        """Send a status update now; `ask` for a keepalive, which tells the end of the WAL."""
        lsn = self._confirmed
        clock = int((time.time() - _EPOCH_2000) * _MICROSECONDS)
        self._copy.write(_STATUS.pack(b"r", lsn, lsn, lsn, clock, ask))
        self._sent_at = time.monotonic()
        self._status_due = self._sent_at + STATUS_INTERVAL_SECONDS

    def close(self) -> None:
        """End the session; the slot is free when the server has noticed."""
        self._connection.close()
        self._woken.close()
        self._waker.close()

    def _arrived(self, most: int) -> list[Frame]:
        frames: list[Frame] = []
        read = self._copy.read
        while len(frames) < most and (raw := read()) is not None:
            if raw[0] == ord("w") and len(raw) > _WAL_DATA.size:
                _, data_start, _, server_time = _WAL_DATA.unpack_from(raw)
                frames.append(WalData(data_start, server_time, raw[_WAL_DATA.size :]))
            else:
                frames.append(self._keepalive(raw))
        if frames:
            self._asked_at = None
            if isinstance(frames[-1], WalData):
                self._untimely_requests = 0
        return frames

    def _keepalive(self, raw: bytes) -> Keepalive:
        if len(raw) != _KEEPALIVE.size or raw[0] != ord("k"):
            raise ProtocolError(f"unknown replication frame {raw[:1]!r} of {len(raw)} bytes")
        _, wal_end, server_time, reply = _KEEPALIVE.unpack(raw)
        if reply:
            self._note_request()
            self.send_status()
        return Keepalive(LSN(wal_end), server_time)

    def _note_request(self) -> None:
        """Leave a server that is shutting down.

        It asks when half of wal_sender_timeout has passed without an answer; or, when it shuts down, again after every
        answer, at full speed and for ever, until everything is confirmed. That may never come: a target may be away,
        and what was not published is confirmed only with the next checkpoint. Nothing is lost by going: the slot stays.
        """
        waited = time.monotonic() - self._sent_at
        timely = 0 < self._sender_timeout_seconds / 2 <= waited
        self._untimely_requests = 0 if timely else self._untimely_requests + 1
        if self._untimely_requests >= _UNTIMELY_REQUESTS:
            raise SourceUnavailable("WS2002", "the source is shutting down")

    def _refuse_silence(self) -> None:
        if self._asked_at is not None and time.monotonic() - self._asked_at > SILENCE_SECONDS:
            raise SourceUnavailable("WS2002", f"the source has not answered for {SILENCE_SECONDS:.0f} s")


class SlotCopy:
    """A temporary slot that stands where another one stands, and a session for the stream that begins there later."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._is_streaming = False

    @classmethod
    def take(cls, dsn: str, *, identity: Identity, slot: str, name: str, application_name: str) -> Self:
        """Copy a slot, which may be in use; the copy ends with its session."""
        connection = _session(dsn, application_name, identity)
        with closed_on_error(connection):
            slots.copy(connection, slot, name, temporary=True)
        return cls(connection, name)

    def stream(self, publication: str, start: LSN) -> Stream:
        """Stream from the copy as `Stream.open` does; the session is the stream's from now on."""
        with closed_on_error(self._connection):
            _refuse_gap(self._connection, self._name, start)
            stream = Stream.start(self._connection, slot=self._name, publication=publication, start=start)
        self._is_streaming = True
        return stream

    def close(self) -> None:
        """End the session, unless it is a stream's."""
        if not self._is_streaming:
            self._connection.close()


def _session(dsn: str, application_name: str, identity: Identity) -> Connection:
    connection = open_replication(dsn, application_name)
    with closed_on_error(connection):
        refuse_standby(connection)
        _refuse_another(connection, identity)
    return connection


def _command(slot: str, publication: str, start: LSN, *, messages: bool) -> str:
    # The publication is an identifier inside a literal: quoted as the one, then as the other.
    names = quote(publication).replace("'", "''")
    options = f"proto_version '1', publication_names '{names}'" + (", messages 'true'" if messages else "")
    return f"START_REPLICATION SLOT {quote(slot)} LOGICAL {start} ({options})"


def _sender_timeout_seconds(connection: Connection) -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'")
        row = cursor.fetchone()
    return row[0] / 1000 if row else 0


def _refuse_another(connection: Connection, expected: Identity) -> None:
    found = identify(connection)
    if (found.system_identifier, found.timeline) != (expected.system_identifier, expected.timeline):
        raise SourceChanged(
            "WS2004",
            f"the source was cluster {expected.system_identifier} on timeline {expected.timeline} and is now "
            f"{found.system_identifier} on timeline {found.timeline}: every target's position is checked again",
        )


def _refuse_gap(connection: Connection, name: str, start: LSN) -> None:
    slot = slots.require(connection, name)
    confirmed = slots.usable(slot, connection.info.dbname)
    if slot.active_pid not in (None, connection.get_backend_pid()):  # who reads it moves it: asked once it is free
        raise SlotActive(f"replication slot {name} is active for PID {slot.active_pid}")
    if confirmed > start:
        # Another instance had it meanwhile, or somebody advanced it: each target's checkpoint tells which.
        raise SourceChanged(
            "WS2407",
            f"slot {name} has moved on to {confirmed}, past {start} where the stream was to go on",
            hint="every target's position is checked again",
        )
