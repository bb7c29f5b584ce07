"""pypgoutput reads the protocol independently; its decoders are right about B C R I U D T of protocol 1."""

from datetime import UTC, datetime, timedelta

import pytest
from captures.frames import CAPTURES, Capture
from pypgoutput import decoders as peer

from walsync.pgoutput.message import Begin, Commit, Delete, Insert, Message, RelationMessage, Truncate, Update
from walsync.row import UNCHANGED, Value, read_tuple

PEERS = {
    ord("B"): peer.Begin,
    ord("C"): peer.Commit,
    ord("R"): peer.Relation,
    ord("I"): peer.Insert,
    ord("U"): peer.Update,
    ord("D"): peer.Delete,
    ord("T"): peer.Truncate,
}
PLAIN = [capture for capture in CAPTURES if capture.way.protocol_version == 1]


def moment(microseconds: int) -> datetime:
    return datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def our_value(value: Value) -> tuple[str, str | None]:
    if value is None:
        return "n", None
    return ("u", None) if value is UNCHANGED else ("t", value.decode())


def our_row(raw: bytes | None) -> list[tuple[str, str | None]] | None:
    return None if raw is None else [our_value(value) for value in read_tuple(raw)]


def their_row(row: peer.TupleData | None) -> list[tuple[str, str | None]] | None:
    return None if row is None else [(column.col_data_category, column.col_data) for column in row.column_data]


def our_fields(message: Message) -> tuple[object, ...]:
    fields: tuple[object, ...]
    match message:
        case Begin():
            fields = int(message.commit_lsn), moment(message.commit_time), message.xid
        case Commit():
            fields = 0, int(message.commit_lsn), int(message.end_lsn), moment(message.commit_time)
        case RelationMessage(relation=relation):
            columns = [(column.in_identity, column.name, column.type_oid, column.typmod) for column in relation.columns]
            fields = relation.relid, relation.schema, relation.name, relation.replica_identity.value, columns
        case Insert():
            fields = message.relid, our_row(message.new)
        case Update():
            letter = "K" if message.key is not None else "O" if message.old is not None else None
            fields = message.relid, letter, our_row(message.key or message.old), our_row(message.new)
        case Delete():
            letter = "K" if message.key is not None else "O"
            fields = message.relid, letter, our_row(message.key or message.old)
        case Truncate():
            fields = message.relids, message.cascade + 2 * message.restart_identity
        case _:
            raise AssertionError(message)
    return fields


def their_fields(message: peer.PgoutputMessage) -> tuple[object, ...]:
    fields: tuple[object, ...]
    match message:
        case peer.Begin():
            fields = message.lsn, message.commit_ts, message.tx_xid
        case peer.Commit():
            fields = message.flags, message.lsn_commit, message.lsn, message.commit_ts
        case peer.Relation():
            columns = [(bool(c.part_of_pkey), c.name, c.type_id, c.atttypmod) for c in message.columns]
            identity = message.replica_identity_setting
            fields = message.relation_id, message.namespace, message.relation_name, identity, columns
        case peer.Insert():
            fields = message.relation_id, their_row(message.new_tuple)
        case peer.Update():
            letter = message.optional_tuple_identifier
            fields = message.relation_id, letter, their_row(message.old_tuple), their_row(message.new_tuple)
        case peer.Delete():
            fields = message.relation_id, message.message_type, their_row(message.old_tuple)
        case _:
            fields = tuple(message.relation_ids), message.option_bits
    return fields


@pytest.mark.parametrize("capture", PLAIN, ids=str)
def test_pypgoutput_reads_the_same_from_the_same_bytes(capture: Capture) -> None:
    decoder = capture.way.decoder()
    compared = set()
    for frame in capture.frames():
        ours = decoder.decode(frame.payload)
        if their_class := PEERS.get(frame.payload[0]):
            assert our_fields(ours) == their_fields(their_class(frame.payload))
            compared.add(frame.payload[0])
    assert compared == set(PEERS)
