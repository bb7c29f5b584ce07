"""What real servers sent (see `captures.frames`), decoded."""

import itertools
from collections import Counter

import pytest
from captures.frames import CAPTURES, Capture

from walsync.errors import ProtocolError
from walsync.pgoutput.decoder import Decoder
from walsync.pgoutput.message import (
    Delete,
    Insert,
    LogicalMessage,
    Message,
    Origin,
    RelationMessage,
    StreamAbort,
    Truncate,
    Update,
)
from walsync.row import UNCHANGED, has_unchanged, read_tuple, write_tuple

every_capture = pytest.mark.parametrize("capture", CAPTURES, ids=str)

# Relation and Type are not counted: a server repeats them when it hears of DDL, early or late.
REPEATED = {"RelationMessage", "Type"}
ALWAYS = {"Delete": 22, "LogicalMessage": 38, "Origin": 3, "Truncate": 6, "Update": 36}
COUNTS = {
    "plain": ALWAYS | {"Begin": 65, "Commit": 65, "Insert": 187},
    "streamed": ALWAYS
    | {"Begin": 61, "Commit": 61, "Insert": 238}
    | {"StreamStart": 22, "StreamStop": 22, "StreamCommit": 5, "StreamAbort": 5},
    "prepared": ALWAYS
    | {"Begin": 60, "Commit": 60, "Insert": 239}
    | {"StreamStart": 23, "StreamStop": 23, "StreamCommit": 4, "StreamAbort": 4}
    | {"BeginPrepare": 3, "Prepare": 3, "StreamPrepare": 2, "CommitPrepared": 3, "RollbackPrepared": 2},
}
COUNTS["parallel"] = COUNTS["streamed"]
# 14 sends transactions without a published change too, and has no row filter, which turns updates into other changes.
COUNTS_14 = {
    "plain": COUNTS["plain"] | {"Begin": 103, "Commit": 103, "Delete": 21, "Update": 38},
    "streamed": COUNTS["streamed"] | {"Begin": 98, "Commit": 98, "Delete": 21, "Update": 38},
}


def messages(capture: Capture) -> list[Message]:
    decoder = capture.way.decoder()
    return [decoder.decode(frame.payload) for frame in capture.frames()]


def raw_tuples(capture: Capture) -> list[bytes]:
    tuples: list[bytes | None] = []
    for message in messages(capture):
        match message:
            case Insert():
                tuples.append(message.new)
            case Update():
                tuples += [message.key, message.old, message.new]
            case Delete():
                tuples += [message.key, message.old]
            case _:
                pass
    return [raw for raw in tuples if raw is not None]


def refuses(decoder: Decoder, data: bytes) -> bool:
    try:
        decoder.decode(data)
    except ProtocolError:
        return True
    return False


@every_capture
def test_every_message_is_decoded_and_every_kind_is_there_as_often_as_expected(capture: Capture) -> None:
    counts = Counter(type(message).__name__ for message in messages(capture))
    expected = (COUNTS_14 if capture.version == 14 else COUNTS)[capture.way.name]
    assert {kind: count for kind, count in counts.items() if kind not in REPEATED} == expected
    assert counts["RelationMessage"] >= 40
    assert counts["Type"] >= 10


@every_capture
def test_every_row_is_the_same_after_reading_and_writing_it(capture: Capture) -> None:
    tuples = raw_tuples(capture)
    assert len(tuples) > 240
    for raw in tuples:
        values = read_tuple(raw)
        assert write_tuple(values) == raw
        assert has_unchanged(raw) is (UNCHANGED in values)
    assert any(map(has_unchanged, tuples))


@every_capture
def test_every_row_has_as_many_values_as_the_relation_before_it_has_columns(capture: Capture) -> None:
    widths: dict[int, int] = {}
    for message in messages(capture):
        match message:
            case RelationMessage(relation=relation):
                widths[relation.relid] = len(relation.columns)
            case Insert(relid=relid, new=raw) | Update(relid=relid, new=raw):
                assert len(read_tuple(raw)) == widths[relid]
            case Truncate(relids=relids):
                assert set(relids) <= set(widths)
            case _:
                pass


@every_capture
def test_no_message_is_taken_when_it_is_cut_anywhere_or_has_one_byte_more(capture: Capture) -> None:
    decoder = capture.way.decoder()
    for frame in capture.frames():
        payload = frame.payload
        assert [size for size in range(len(payload)) if not refuses(decoder, payload[:size])] == []
        assert refuses(decoder, payload + b"\0")
        decoder.decode(payload)


@every_capture
def test_the_special_names_and_contents_of_the_scenario_arrive_whole(capture: Capture) -> None:
    found = messages(capture)
    relations = {message.relation.qualified_name for message in found if isinstance(message, RelationMessage)}
    assert 'Odd schema.Ta.ble "x"' in relations
    assert {message.name for message in found if isinstance(message, Origin)} == {'elsewhere "quoted"'}
    contents = {(message.prefix, message.content) for message in found if isinstance(message, LogicalMessage)}
    assert {("präfix", b"\x00\xff\x00"), ("", b"")} <= contents
    widths = Counter(len(read_tuple(message.new)) for message in found if isinstance(message, Insert))
    assert widths[0] == 1


@every_capture
def test_only_changes_in_stream_blocks_have_an_xid(capture: Capture) -> None:
    with_xid = sum(getattr(message, "xid", None) is not None for message in messages(capture) if is_change(message))
    assert (with_xid > 0) is (capture.way.streaming != "off")


def is_change(message: Message) -> bool:
    return isinstance(message, Insert | Update | Delete | Truncate | LogicalMessage | RelationMessage)


@pytest.mark.parametrize("capture", [capture for capture in CAPTURES if capture.way.streaming != "off"], ids=str)
def test_an_abort_names_its_position_only_when_streaming_is_parallel(capture: Capture) -> None:
    aborts = [message for message in messages(capture) if isinstance(message, StreamAbort)]
    assert {abort.abort_lsn is not None for abort in aborts} == {capture.way.streaming == "parallel"}
    assert {abort.xid == abort.subxid for abort in aborts} == {True, False}


@pytest.mark.parametrize("way", ["plain", "streamed"])
def test_versions_15_to_18_send_the_same_rows(way: str) -> None:
    rows = [raw_tuples(capture) for capture in CAPTURES if capture.way.name == way and capture.version > 14]
    for earlier, later in itertools.pairwise(rows[:-1]):
        assert earlier == later
    assert sum(len(raw) for raw in rows[-1]) > sum(len(raw) for raw in rows[0])  # 18 publishes a generated column
