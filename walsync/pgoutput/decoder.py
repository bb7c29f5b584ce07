"""Turns the bytes of one pgoutput message into that message, or raises ProtocolError; it never waits or looks further.

Protocol versions 1 to 4, as servers 14 to 18 send them, in text mode. A decoder belongs to one replication session and
remembers one thing about it: whether it is inside a stream block, where messages carry an xid. It does not know
relations and does not put transactions together.
"""

import struct
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from walsync.errors import ProtocolError
from walsync.lsn import LSN
from walsync.pgoutput.message import (
    Begin,
    BeginPrepare,
    Commit,
    CommitPrepared,
    Delete,
    Insert,
    LogicalMessage,
    Message,
    Origin,
    Prepare,
    RelationMessage,
    RollbackPrepared,
    StreamAbort,
    StreamCommit,
    StreamPrepare,
    StreamStart,
    StreamStop,
    Truncate,
    Type,
    Update,
)
from walsync.pgoutput.reader import Reader
from walsync.relation import Column, Relation, ReplicaIdentity

try:
    from walsync.pgoutput.compiled import tuple_end
except ImportError:  # no C compiler was there when walsync was installed
    from walsync.pgoutput.tuple import tuple_end

Streaming: TypeAlias = Literal["off", "on", "parallel"]
_Whole: TypeAlias = Callable[[bytes], Message]
_Change: TypeAlias = Callable[..., Message]

_STREAMING_SINCE: Final = {"off": 1, "on": 2, "parallel": 4}
_TWO_PHASE_SINCE: Final = 3

# A leading x is the kind. Struct.unpack takes exactly its own size, so it finds bytes that are cut or left over.
_XID: Final = struct.Struct("!I")
_ROW: Final = struct.Struct("!IB")
_BEGIN: Final = struct.Struct("!xQqI")
_COMMIT: Final = struct.Struct("!xBQQq")
_STREAM_START: Final = struct.Struct("!xIB")
_STREAM_COMMIT: Final = struct.Struct("!xIBQQq")
_STREAM_ABORT: Final = struct.Struct("!xII")
_STREAM_ABORT_PARALLEL: Final = struct.Struct("!xIIQq")

_KEY, _OLD, _NEW = b"KON"
_STREAM_STOP: Final = StreamStop()
_CASCADE, _RESTART_IDENTITY = 1, 2


class Decoder:
    """Decodes the messages of one session; after a ProtocolError the session is over and the decoder with it."""

    __slots__ = ("_in_stream", "_whole")

    def __init__(self, protocol_version: int = 1, streaming: Streaming = "off") -> None:
        """Take the options the stream was started with; kinds they rule out are refused as unknown."""
        if not _STREAMING_SINCE[streaming] <= protocol_version <= _STREAMING_SINCE["parallel"]:
            raise ValueError(f"no server offers protocol version {protocol_version} with streaming {streaming}")
        self._in_stream = False
        self._whole = _whole_messages(protocol_version, streaming)

    def decode(self, data: bytes) -> Message:
        """Decode one whole message."""
        try:
            if self._in_stream:
                return self._decode_in_stream(data)
            message = self._whole[data[0]](data)
        except KeyError as error:
            raise ProtocolError(f"{data[:1]!r} is no kind of message here") from error
        except (IndexError, struct.error) as error:
            raise ProtocolError(f"a message {data[:1]!r} cannot be {len(data)} bytes long") from error
        if type(message) is StreamStart:
            self._in_stream = True
        return message

    def _decode_in_stream(self, data: bytes) -> Message:
        kind = data[0]
        if kind == ord("E"):
            message = _stream_stop(data)
            self._in_stream = False
            return message
        if kind == ord("O"):  # the one message of a block without an xid
            return _origin(data)
        return _CHANGES[kind](data, 5, _XID.unpack_from(data, 1)[0])


def _insert(data: bytes, start: int = 1, xid: int | None = None) -> Insert:
    relid, letter = _ROW.unpack_from(data, start)
    start += 5
    if letter != _NEW or tuple_end(data, start) != len(data):
        raise _bad_row(data)
    return Insert(relid, data[start:], xid)


def _update(data: bytes, start: int = 1, xid: int | None = None) -> Update:
    relid, letter = _ROW.unpack_from(data, start)
    start += 5
    key = old = None
    if letter != _NEW:
        end = tuple_end(data, start)
        if letter == _KEY:
            key = data[start:end]
        elif letter == _OLD:
            old = data[start:end]
        else:
            raise _bad_row(data)
        letter = data[end]
        start = end + 1
    if letter != _NEW or tuple_end(data, start) != len(data):
        raise _bad_row(data)
    return Update(relid, key, old, data[start:], xid)


def _delete(data: bytes, start: int = 1, xid: int | None = None) -> Delete:
    relid, letter = _ROW.unpack_from(data, start)
    start += 5
    if tuple_end(data, start) != len(data):
        raise _bad_row(data)
    if letter == _KEY:
        return Delete(relid, data[start:], None, xid)
    if letter == _OLD:
        return Delete(relid, None, data[start:], xid)
    raise _bad_row(data)


def _bad_row(data: bytes) -> ProtocolError:
    return ProtocolError(
        f"a message {data[:1]!r} of {len(data)} bytes has a row too many, a wrong one, or bytes left over"
    )


def _begin(data: bytes) -> Begin:
    commit_lsn, commit_time, xid = _BEGIN.unpack(data)
    return Begin(LSN(commit_lsn), commit_time, xid)


def _commit(data: bytes) -> Commit:
    flags, commit_lsn, end_lsn, commit_time = _COMMIT.unpack(data)
    _no_flags(flags)
    return Commit(LSN(commit_lsn), LSN(end_lsn), commit_time)


def _origin(data: bytes) -> Origin:
    reader = Reader(data, 1)
    message = Origin(LSN(reader.u64()), reader.string())
    reader.end()
    return message


def _logical_message(data: bytes, start: int = 1, xid: int | None = None) -> LogicalMessage:
    reader = Reader(data, start)
    transactional = _flag(reader.u8())
    lsn = LSN(reader.u64())
    prefix = reader.string()
    message = LogicalMessage(transactional, lsn, prefix, reader.bytes(reader.u32()), xid)
    reader.end()
    return message


def _relation(data: bytes, start: int = 1, xid: int | None = None) -> RelationMessage:
    reader = Reader(data, start)
    relid = reader.u32()
    schema = _schema(reader)
    name = reader.string()
    identity = _replica_identity(reader.u8())
    columns = tuple([_column(reader) for _ in range(reader.u16())])
    reader.end()
    return RelationMessage(Relation(relid, schema, name, identity, columns), xid)


def _replica_identity(letter: int) -> ReplicaIdentity:
    try:
        return ReplicaIdentity(chr(letter))
    except ValueError as error:
        raise ProtocolError(f"{chr(letter)!r} is no replica identity") from error


def _column(reader: Reader) -> Column:
    in_identity = _flag(reader.u8())
    name = reader.string()
    return Column(name, reader.u32(), reader.i32(), in_identity)


def _schema(reader: Reader) -> str:
    return reader.string() or "pg_catalog"  # the server leaves this one name out


def _type(data: bytes, start: int = 1, xid: int | None = None) -> Type:
    reader = Reader(data, start)
    message = Type(reader.u32(), _schema(reader), reader.string(), xid)
    reader.end()
    return message


def _truncate(data: bytes, start: int = 1, xid: int | None = None) -> Truncate:
    reader = Reader(data, start)
    count = reader.u32()
    flags = reader.u8()
    if flags > _CASCADE | _RESTART_IDENTITY:
        raise ProtocolError(f"TRUNCATE has no flags {flags}")
    relids = tuple(relid for (relid,) in _XID.iter_unpack(reader.bytes(4 * count)))
    reader.end()
    return Truncate(relids, bool(flags & _CASCADE), bool(flags & _RESTART_IDENTITY), xid)


def _stream_start(data: bytes) -> StreamStart:
    xid, first_segment = _STREAM_START.unpack(data)
    return StreamStart(xid, _flag(first_segment))


def _stream_stop(data: bytes) -> StreamStop:
    Reader(data, 1).end()
    return _STREAM_STOP


def _stream_commit(data: bytes) -> StreamCommit:
    xid, flags, commit_lsn, end_lsn, commit_time = _STREAM_COMMIT.unpack(data)
    _no_flags(flags)
    return StreamCommit(xid, LSN(commit_lsn), LSN(end_lsn), commit_time)


def _stream_abort(data: bytes) -> StreamAbort:
    xid, subxid = _STREAM_ABORT.unpack(data)
    return StreamAbort(xid, subxid)


def _stream_abort_parallel(data: bytes) -> StreamAbort:
    xid, subxid, abort_lsn, abort_time = _STREAM_ABORT_PARALLEL.unpack(data)
    return StreamAbort(xid, subxid, LSN(abort_lsn), abort_time)


def _begin_prepare(data: bytes) -> BeginPrepare:
    return BeginPrepare(*_two_phase(Reader(data, 1)))


def _prepare(data: bytes) -> Prepare:
    return Prepare(*_two_phase(_after_flags(data)))


def _commit_prepared(data: bytes) -> CommitPrepared:
    return CommitPrepared(*_two_phase(_after_flags(data)))


def _stream_prepare(data: bytes) -> StreamPrepare:
    return StreamPrepare(*_two_phase(_after_flags(data)))


def _rollback_prepared(data: bytes) -> RollbackPrepared:
    reader = _after_flags(data)
    prepare_end_lsn, rollback_end_lsn = LSN(reader.u64()), LSN(reader.u64())
    prepare_time, rollback_time = reader.i64(), reader.i64()
    xid, gid = reader.u32(), reader.string()
    reader.end()
    return RollbackPrepared(prepare_end_lsn, rollback_end_lsn, prepare_time, rollback_time, xid, gid)


def _two_phase(reader: Reader) -> tuple[LSN, LSN, int, int, str]:
    """Read what b, P, K and p share: a record's start and the LSN past it, its time, the xid and the gid."""
    fields = LSN(reader.u64()), LSN(reader.u64()), reader.i64(), reader.u32(), reader.string()
    reader.end()
    return fields


def _after_flags(data: bytes) -> Reader:
    reader = Reader(data, 1)
    _no_flags(reader.u8())
    return reader


def _no_flags(flags: int) -> None:
    if flags:
        raise ProtocolError(f"flags are {flags} where the protocol has none yet")


def _flag(value: int) -> bool:
    if value > 1:
        raise ProtocolError(f"a flag is {value}, not 0 or 1")
    return value == 1


_CHANGES: Final[dict[int, _Change]] = {
    ord("I"): _insert,
    ord("U"): _update,
    ord("D"): _delete,
    ord("R"): _relation,
    ord("Y"): _type,
    ord("T"): _truncate,
    ord("M"): _logical_message,
}
"""The kinds that may stand in a stream block, where an xid is put before their fields."""

_TRANSACTIONS: Final[dict[int, _Whole]] = {ord("B"): _begin, ord("C"): _commit, ord("O"): _origin}
_STREAMS: Final[dict[int, _Whole]] = {ord("S"): _stream_start, ord("c"): _stream_commit}
_PREPARED: Final[dict[int, _Whole]] = {
    ord("b"): _begin_prepare,
    ord("P"): _prepare,
    ord("K"): _commit_prepared,
    ord("r"): _rollback_prepared,
}


def _whole_messages(protocol_version: int, streaming: Streaming) -> dict[int, _Whole]:
    """Return what may stand outside a stream block under these options."""
    kinds: dict[int, _Whole] = {**_CHANGES, **_TRANSACTIONS}
    if streaming != "off":
        kinds |= _STREAMS
        kinds[ord("A")] = _stream_abort_parallel if streaming == "parallel" else _stream_abort
    if protocol_version >= _TWO_PHASE_SINCE:
        kinds |= _PREPARED
        if streaming != "off":
            kinds[ord("p")] = _stream_prepare
    return kinds
