from struct import pack

import pytest

from walsync.errors import ProtocolError
from walsync.lsn import LSN
from walsync.pgoutput.decoder import Decoder, Streaming
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
from walsync.relation import Column, Relation, ReplicaIdentity
from walsync.row import UNCHANGED, write_tuple

TOP = 2**32 - 1  # the largest xid and oid: they are unsigned
HALF = 2**31
LAST_LSN = 2**64 - 1
BEFORE_2000 = -1

ROW = write_tuple([b"1", None, UNCHANGED, "ü".encode()])
KEY = write_tuple([b"0", None, None, None])

OUTSIDE: dict[bytes, Message] = {
    b"I" + pack("!I", TOP) + b"N" + ROW: Insert(TOP, ROW),
    b"I" + pack("!I", 1) + b"N\0\0": Insert(1, b"\0\0"),
    b"U" + pack("!I", HALF) + b"N" + ROW: Update(HALF, None, None, ROW),
    b"U" + pack("!I", HALF) + b"K" + KEY + b"N" + ROW: Update(HALF, KEY, None, ROW),
    b"U" + pack("!I", HALF) + b"O" + KEY + b"N" + ROW: Update(HALF, None, KEY, ROW),
    b"D" + pack("!I", TOP) + b"K" + KEY: Delete(TOP, KEY, None),
    b"D" + pack("!I", TOP) + b"O" + ROW: Delete(TOP, None, ROW),
    b"T" + pack("!IBII", 2, 3, HALF, TOP): Truncate((HALF, TOP), cascade=True, restart_identity=True),
    b"T" + pack("!IBI", 1, 0, 7): Truncate((7,), cascade=False, restart_identity=False),
    b"B" + pack("!QqI", LAST_LSN, BEFORE_2000, TOP): Begin(LSN(LAST_LSN), BEFORE_2000, TOP),
    b"C" + pack("!BQQq", 0, 5, 6, 7): Commit(LSN(5), LSN(6), 7),
    b"O" + pack("!Q", 0) + b'a "name"\0': Origin(LSN(0), 'a "name"'),
    b"M\1" + pack("!Q", 9) + b"p\0" + pack("!I", 3) + b"\0\xff\0": LogicalMessage(
        transactional=True, lsn=LSN(9), prefix="p", content=b"\0\xff\0"
    ),
    b"M\0" + pack("!Q", 9) + b"\0" + pack("!I", 0): LogicalMessage(
        transactional=False, lsn=LSN(9), prefix="", content=b""
    ),
    b"Y" + pack("!I", TOP) + b"s\0mood\0": Type(TOP, "s", "mood"),
    b"Y" + pack("!I", 16500) + b"\0int4\0": Type(16500, "pg_catalog", "int4"),
    b"R"
    + pack("!I", TOP)
    + b"s\0t\0i"
    + pack("!H", 2)
    + b"\1id\0"
    + pack("!Ii", HALF, -1)
    + b"\0n\0"
    + pack("!Ii", 1700, 0x7FFFFFFF): RelationMessage(
        Relation(
            TOP,
            "s",
            "t",
            ReplicaIdentity.INDEX,
            (Column("id", HALF, -1, in_identity=True), Column("n", 1700, 0x7FFFFFFF, in_identity=False)),
        )
    ),
    b"R" + pack("!I", 1) + b"\0pg_class\0n\0\0": RelationMessage(
        Relation(1, "pg_catalog", "pg_class", ReplicaIdentity.NOTHING, ())
    ),
    b"c" + pack("!IBQQq", TOP, 0, 5, 6, 7): StreamCommit(TOP, LSN(5), LSN(6), 7),
    b"b" + pack("!QQqI", 5, 6, 7, TOP) + b"it's\0": BeginPrepare(LSN(5), LSN(6), 7, TOP, "it's"),
    b"P\0" + pack("!QQqI", 5, 6, 7, TOP) + b"g\0": Prepare(LSN(5), LSN(6), 7, TOP, "g"),
    b"K\0" + pack("!QQqI", 5, 6, 7, TOP) + b"g\0": CommitPrepared(LSN(5), LSN(6), 7, TOP, "g"),
    b"r\0" + pack("!QQqqI", 5, 6, 7, 8, TOP) + b"g\0": RollbackPrepared(LSN(5), LSN(6), 7, 8, TOP, "g"),
    b"p\0" + pack("!QQqI", 5, 6, 7, TOP) + b"g\0": StreamPrepare(LSN(5), LSN(6), 7, TOP, "g"),
}
"""Messages outside stream blocks; those of StreamStart and StreamAbort depend on more and have tests of their own."""

CHANGES = {data: message for data, message in OUTSIDE.items() if data[0] in b"IUDTMYR"}
STREAM_START = b"S" + pack("!IB", HALF, 1)


def full_decoder(*, in_stream: bool = False) -> Decoder:
    decoder = Decoder(4, "parallel")
    if in_stream:
        decoder.decode(STREAM_START)
    return decoder


@pytest.mark.parametrize(("data", "message"), OUTSIDE.items(), ids=lambda value: type(value).__name__)
def test_a_message_outside_a_stream_block_is_decoded(data: bytes, message: Message) -> None:
    decoded = full_decoder().decode(data)
    assert (type(decoded), decoded) == (type(message), message)


@pytest.mark.parametrize(("data", "message"), CHANGES.items(), ids=lambda value: type(value).__name__)
def test_a_change_inside_a_stream_block_carries_its_xid(data: bytes, message: Message) -> None:
    decoded = full_decoder(in_stream=True).decode(data[:1] + pack("!I", TOP) + data[1:])
    assert type(decoded) is type(message)
    assert getattr(decoded, "xid", None) == TOP
    assert full_decoder().decode(data) == message


def test_a_stream_block_starts_and_stops_and_may_have_an_origin_which_has_no_xid() -> None:
    decoder = Decoder(2, "on")
    assert decoder.decode(b"S" + pack("!IB", TOP, 1)) == StreamStart(TOP, first_segment=True)
    assert decoder.decode(b"O" + pack("!Q", 0) + b"o\0") == Origin(LSN(0), "o")
    assert decoder.decode(b"E") == StreamStop()
    assert decoder.decode(b"S" + pack("!IB", 1, 0)) == StreamStart(1, first_segment=False)
    assert decoder.decode(b"E") == StreamStop()
    assert decoder.decode(b"I" + pack("!I", 1) + b"N" + ROW) == Insert(1, ROW)


def test_an_abort_has_a_position_and_a_time_only_with_parallel_streaming() -> None:
    short = b"A" + pack("!II", HALF, TOP)
    long = short + pack("!Qq", 5, 6)
    assert Decoder(4, "on").decode(short) == StreamAbort(HALF, TOP)
    assert Decoder(4, "parallel").decode(long) == StreamAbort(HALF, TOP, LSN(5), 6)
    with pytest.raises(ProtocolError):
        Decoder(4, "on").decode(long)
    with pytest.raises(ProtocolError):
        Decoder(4, "parallel").decode(short)


def test_a_relation_may_have_the_1600_columns_a_table_can_have() -> None:
    columns = b"".join(b"\0c%d\0" % number + pack("!Ii", 23, -1) for number in range(1600))
    message = Decoder().decode(b"R" + pack("!I", 1) + b"public\0wide\0d" + pack("!H", 1600) + columns)
    assert isinstance(message, RelationMessage)
    assert [column.name for column in message.relation.columns] == [f"c{number}" for number in range(1600)]


@pytest.mark.parametrize("data", [*OUTSIDE, STREAM_START], ids=lambda data: chr(data[0]))
def test_a_message_with_a_byte_left_over_or_missing_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        full_decoder().decode(data + b"\0")
    for length in range(len(data)):
        with pytest.raises(ProtocolError):
            full_decoder().decode(data[:length])


@pytest.mark.parametrize("in_stream", [False, True])
def test_every_byte_that_is_no_kind_of_message_is_refused(*, in_stream: bool) -> None:
    known = b"IUDTMYROE" if in_stream else b"IUDTMYROBCSAcbPKrp"
    for kind in set(range(256)) - set(known):
        with pytest.raises(ProtocolError, match="no kind of message here"):
            full_decoder(in_stream=in_stream).decode(bytes((kind,)) + bytes(40))


@pytest.mark.parametrize(
    ("protocol_version", "streaming", "kinds"),
    [
        (1, "off", b"IUDTMYROBC"),
        (2, "off", b"IUDTMYROBC"),
        (2, "on", b"IUDTMYROBCSAc"),
        (3, "off", b"IUDTMYROBCbPKr"),
        (3, "on", b"IUDTMYROBCSAcbPKrp"),
        (4, "parallel", b"IUDTMYROBCSAcbPKrp"),
    ],
)
def test_only_the_kinds_that_the_session_asked_for_are_taken(
    protocol_version: int, streaming: Streaming, kinds: bytes
) -> None:
    for kind in range(256):
        with pytest.raises(ProtocolError) as refused:
            Decoder(protocol_version, streaming).decode(bytes((kind,)))
        assert ("no kind of message" in refused.value.message) is (kind not in kinds)


@pytest.mark.parametrize(
    ("protocol_version", "streaming"), [(0, "off"), (5, "off"), (1, "on"), (3, "parallel"), (1, "parallel")]
)
def test_options_that_no_server_offers_are_refused(protocol_version: int, streaming: Streaming) -> None:
    with pytest.raises(ValueError, match="no server offers"):
        Decoder(protocol_version, streaming)


@pytest.mark.parametrize(
    "data",
    [
        b"C" + pack("!BQQq", 1, 5, 6, 7),
        b"c" + pack("!IBQQq", 1, 128, 5, 6, 7),
        b"P\1" + pack("!QQqI", 5, 6, 7, 1) + b"g\0",
        b"K\1" + pack("!QQqI", 5, 6, 7, 1) + b"g\0",
        b"r\1" + pack("!QQqqI", 5, 6, 7, 8, 1) + b"g\0",
        b"p\1" + pack("!QQqI", 5, 6, 7, 1) + b"g\0",
        b"S" + pack("!IB", 1, 2),
        b"M\2" + pack("!Q", 9) + b"p\0" + pack("!I", 0),
        b"T" + pack("!IBI", 1, 4, 7),
        b"R" + pack("!I", 1) + b"s\0t\0d" + pack("!H", 1) + b"\2id\0" + pack("!Ii", 23, -1),
    ],
    ids=lambda data: chr(data[0]),
)
def test_flags_that_the_protocol_does_not_define_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="flag"):
        full_decoder().decode(data)


@pytest.mark.parametrize("letter", [b"x", b"\0", b"D", b"\xff"])
def test_an_unknown_replica_identity_is_refused(letter: bytes) -> None:
    with pytest.raises(ProtocolError, match="replica identity"):
        Decoder().decode(b"R" + pack("!I", 1) + b"s\0t\0" + letter + b"\0\0")


@pytest.mark.parametrize(
    "data",
    [
        b"R" + pack("!I", 1) + b"\xff\0t\0d\0\0",
        b"Y" + pack("!I", 1) + b"s\0\xc3\0",
        b"O" + pack("!Q", 1) + b"\x80\0",
        b"b" + pack("!QQqI", 5, 6, 7, 1) + b"\xed\xa0\x80\0",
    ],
    ids=lambda data: chr(data[0]),
)
def test_a_name_that_is_not_utf8_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="not UTF-8"):
        full_decoder().decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"I" + pack("!I", 1) + b"O" + ROW,
        b"I" + pack("!I", 1) + b"N" + ROW + b"N" + ROW,
        b"U" + pack("!I", 1) + b"K" + KEY,
        b"U" + pack("!I", 1) + b"K" + KEY + b"O" + ROW,
        b"U" + pack("!I", 1) + b"X" + KEY + b"N" + ROW,
        b"U" + pack("!I", 1) + b"N" + ROW + b"N" + ROW,
        b"D" + pack("!I", 1) + b"N" + ROW,
        b"D" + pack("!I", 1) + b"K" + KEY + b"O" + ROW,
    ],
)
def test_rows_that_are_not_the_ones_the_kind_has_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Decoder().decode(data)


def test_a_count_far_beyond_the_message_is_refused_without_being_tried() -> None:
    with pytest.raises(ProtocolError):
        Decoder().decode(b"T" + pack("!IBI", TOP, 0, 7))
    with pytest.raises(ProtocolError):
        Decoder().decode(b"M\0" + pack("!Q", 9) + b"p\0" + pack("!I", TOP))


def test_a_refused_start_or_stop_of_a_block_leaves_the_decoder_where_it_was() -> None:
    decoder = full_decoder()
    with pytest.raises(ProtocolError):
        decoder.decode(STREAM_START + b"\0")
    decoder.decode(STREAM_START)
    with pytest.raises(ProtocolError):
        decoder.decode(b"E\0")
    assert decoder.decode(b"E") == StreamStop()
