from functools import cache

from captures.frames import CAPTURES, Way
from hypothesis import example, given
from hypothesis import strategies as st

from walsync.errors import ProtocolError
from walsync.pgoutput.decoder import Decoder
from walsync.pgoutput.message import Insert, StreamStart, StreamStop
from walsync.pgoutput.tuple import tuple_end
from walsync.row import UNCHANGED, Value, read_tuple, write_tuple

STREAM_START = b"S\0\0\0\1\1"


def decodes_or_raises(decoder: Decoder, data: bytes) -> None:
    try:
        decoder.decode(data)
    except ProtocolError:
        return


def decoder_for(way: Way, *, in_stream: bool) -> Decoder:
    decoder = way.decoder()
    if in_stream:
        decoder.decode(STREAM_START)
    return decoder


@cache
def captured() -> list[tuple[Way, bool, bytes]]:
    """Every different captured message, with how it was asked for and whether it stood in a stream block."""
    found: dict[tuple[Way, bool, bytes], None] = {}
    for capture in CAPTURES:
        decoder = capture.way.decoder()
        in_stream = False
        for frame in capture.frames():
            found[capture.way, in_stream, frame.payload] = None
            message = decoder.decode(frame.payload)
            in_stream = isinstance(message, StreamStart) or (in_stream and not isinstance(message, StreamStop))
    return list(found)


@given(data=st.binary(max_size=200), in_stream=st.booleans())
@example(data=b"", in_stream=False)
@example(data=b"", in_stream=True)
def test_any_bytes_decode_or_are_refused(data: bytes, *, in_stream: bool) -> None:
    decoder = Decoder(4, "parallel")
    if in_stream:
        decoder.decode(STREAM_START)
    decodes_or_raises(decoder, data)


@given(kind=st.sampled_from(b"IUDTMYROBCSEAcbPKrp"), rest=st.binary(max_size=80), in_stream=st.booleans())
def test_any_bytes_after_a_known_kind_decode_or_are_refused(kind: int, rest: bytes, *, in_stream: bool) -> None:
    decoder = Decoder(4, "parallel")
    if in_stream:
        decoder.decode(STREAM_START)
    decodes_or_raises(decoder, bytes((kind,)) + rest)


@given(data=st.data())
def test_a_captured_message_with_bytes_changed_lost_or_added_decodes_or_is_refused(data: st.DataObject) -> None:
    way, in_stream, payload = data.draw(st.sampled_from(captured()))
    mutated = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(mutated)))
        end = data.draw(st.integers(start, min(start + 4, len(mutated))))
        mutated[start:end] = data.draw(st.binary(max_size=4))
    decodes_or_raises(decoder_for(way, in_stream=in_stream), bytes(mutated))


values: st.SearchStrategy[Value] = st.one_of(st.none(), st.just(UNCHANGED), st.binary(max_size=20))


@given(row=st.lists(values, max_size=30), before=st.binary(max_size=5), after=st.binary(max_size=5))
def test_any_row_is_found_whole_between_other_bytes(row: list[Value], before: bytes, after: bytes) -> None:
    raw = write_tuple(row)
    assert tuple_end(before + raw + after, len(before)) == len(before) + len(raw)


@given(row=st.lists(values, max_size=30), relid=st.integers(0, 2**32 - 1))
def test_any_inserted_row_arrives_as_it_was_sent(row: list[Value], relid: int) -> None:
    message = Decoder().decode(b"I" + relid.to_bytes(4, "big") + b"N" + write_tuple(row))
    assert isinstance(message, Insert)
    assert message.relid == relid
    assert read_tuple(message.new) == row
