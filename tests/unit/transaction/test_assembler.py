import pytest
from captures.frames import CAPTURES, Capture

from walsync.errors import ProtocolError
from walsync.lsn import LSN
from walsync.pgoutput import message as wire
from walsync.relation import Column, Relation, ReplicaIdentity
from walsync.row import UNCHANGED, Value, read_tuple, write_tuple
from walsync.transaction.assembler import Assembler
from walsync.transaction.change import Delete, Insert, Transaction, Truncate, Update

ITEMS = Relation(
    7,
    "public",
    "items",
    ReplicaIdentity.DEFAULT,
    (Column("id", 23, -1, in_identity=True), Column("body", 25, -1, in_identity=False)),
)


def begun(commit_lsn: int = 100) -> Assembler:
    assembler = Assembler()
    assembler.feed(wire.RelationMessage(ITEMS), 0, 10)
    assembler.feed(wire.Begin(LSN(commit_lsn), 5, 42), 90, 10)
    return assembler


def finish(assembler: Assembler, commit_lsn: int = 100) -> Transaction:
    transaction = assembler.feed(wire.Commit(LSN(commit_lsn), LSN(commit_lsn + 8), 5), commit_lsn + 8, 10)
    assert transaction is not None
    return transaction


def row(*values: Value) -> bytes:
    return write_tuple(values)


def test_changes_come_out_at_the_commit_in_order_with_their_positions() -> None:
    assembler = begun()
    assert assembler.feed(wire.Insert(7, row(b"1", b"a")), 91, 20) is None
    assert assembler.feed(wire.Delete(7, row(b"1", None), None), 92, 20) is None
    assert assembler.feed(wire.Truncate((7,), cascade=True, restart_identity=False), 93, 20) is None
    transaction = finish(assembler)
    assert transaction.changes == (
        Insert(ITEMS, row(b"1", b"a"), 91),
        Delete(ITEMS, row(b"1", None), 92),
        Truncate((ITEMS,), cascade=True, restart_identity=False, lsn=93),
    )
    assert (transaction.xid, transaction.commit_lsn, transaction.end_lsn) == (42, 100, 108)
    assert transaction.size_bytes > 60


def test_a_key_stored_out_of_line_is_filled_from_the_old_row() -> None:
    assembler = begun()
    assembler.feed(wire.Update(7, row(b"long key", None), None, row(UNCHANGED, b"b")), 91, 20)
    (change,) = finish(assembler).changes
    assert isinstance(change, Update)
    assert read_tuple(change.new) == [b"long key", b"b"]
    assert change.unsent == (0,)


def test_only_identity_columns_are_filled_from_a_key_row() -> None:
    assembler = begun()
    assembler.feed(wire.Update(7, row(b"1", None), None, row(b"2", UNCHANGED)), 91, 20)
    (change,) = finish(assembler).changes
    assert isinstance(change, Update)
    assert read_tuple(change.new) == [b"2", UNCHANGED]
    assert change.unsent == ()


def test_under_full_identity_every_unsent_value_is_filled() -> None:
    full = Relation(8, "public", "f", ReplicaIdentity.FULL, tuple(Column(n, 25, -1, in_identity=True) for n in "ab"))
    assembler = begun()
    assembler.feed(wire.RelationMessage(full), 0, 10)
    assembler.feed(wire.Update(8, None, row(b"1", b"old"), row(b"2", UNCHANGED)), 91, 20)
    (change,) = finish(assembler).changes
    assert isinstance(change, Update)
    assert read_tuple(change.new) == [b"2", b"old"]
    assert change.unsent == (1,)


def test_a_changed_relation_holds_from_where_it_came() -> None:
    assembler = begun()
    assembler.feed(wire.Insert(7, row(b"1", b"a")), 91, 20)
    renamed = Relation(7, "public", "things", ReplicaIdentity.DEFAULT, ITEMS.columns)
    assembler.feed(wire.RelationMessage(renamed), 0, 10)
    assembler.feed(wire.Insert(7, row(b"2", b"b")), 92, 20)
    first, second = finish(assembler).changes
    assert isinstance(first, Insert)
    assert isinstance(second, Insert)
    assert (first.relation.name, second.relation.name) == ("items", "things")


def test_a_transaction_keeps_its_origin_and_messages_and_the_next_one_starts_clean() -> None:
    assembler = begun()
    assembler.feed(wire.Origin(LSN(0), "elsewhere"), 0, 10)
    message = wire.LogicalMessage(transactional=True, lsn=LSN(95), prefix="p", content=b"c")
    assert assembler.feed(message, 95, 10) is None
    transaction = finish(assembler)
    assert (transaction.origin, transaction.messages) == ("elsewhere", (message,))
    assembler.feed(wire.Begin(LSN(200), 5, 43), 190, 10)
    assert finish(assembler, 200)[4:] == ((), 0, None, (), ())


def test_a_message_keeps_its_place_among_the_changes() -> None:
    assembler = begun()
    messages = [wire.LogicalMessage(transactional=True, lsn=LSN(lsn), prefix="p", content=b"") for lsn in (92, 93, 95)]
    assembler.feed(wire.Insert(7, row(b"1", b"a")), 91, 20)
    assembler.feed(messages[0], 92, 10)
    assembler.feed(messages[1], 93, 10)
    # The next record starts where the message ends: their positions alone could not tell which came first.
    assembler.feed(wire.Insert(7, row(b"2", b"b")), 93, 20)
    assembler.feed(messages[2], 95, 10)
    transaction = finish(assembler)
    assert (transaction.messages, transaction.message_places) == (tuple(messages), (1, 1, 2))


def test_a_message_outside_of_transactions_stands_alone() -> None:
    message = wire.LogicalMessage(transactional=False, lsn=LSN(50), prefix="p", content=b"c")
    transaction = Assembler().feed(message, 50, 10)
    assert transaction is not None
    assert (transaction.end_lsn, transaction.changes, transaction.messages) == (50, (), (message,))


def test_a_keepalive_says_nothing_inside_a_transaction() -> None:
    assembler = begun()
    assert assembler.keepalive(LSN(99), 1) is None
    finish(assembler)
    assert assembler.keepalive(LSN(120), 1) == Transaction.keepalive(LSN(120), 1)


@pytest.mark.parametrize(
    "message",
    [
        wire.Insert(7, row(b"1", b"a")),
        wire.Insert(9, row(b"1", b"a")),
        wire.Commit(LSN(1), LSN(2), 0),
        wire.StreamStart(1, first_segment=True),
        wire.LogicalMessage(transactional=True, lsn=LSN(1), prefix="", content=b""),
        wire.CommitPrepared(LSN(1), LSN(2), 0, 1, "gid"),
    ],
)
def test_a_message_at_the_wrong_place_is_a_protocol_error(message: wire.Message) -> None:
    assembler = Assembler()
    assembler.feed(wire.RelationMessage(ITEMS), 0, 10)
    with pytest.raises(ProtocolError):
        assembler.feed(message, 1, 10)


def test_a_begin_inside_a_transaction_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        begun().feed(wire.Begin(LSN(300), 0, 1), 0, 10)


@pytest.mark.parametrize("capture", [c for c in CAPTURES if c.way.name == "plain"], ids=str)
def test_what_real_servers_send_becomes_whole_transactions_in_commit_order(capture: Capture) -> None:
    decoder, assembler = capture.way.decoder(), Assembler()
    transactions = []
    for frame in capture.frames():
        transaction = assembler.feed(decoder.decode(frame.payload), frame.data_start, len(frame.payload))
        if transaction is not None and transaction.xid:
            transactions.append(transaction)
    assert len(transactions) > 10
    assert not assembler.inside_transaction
    ends = [transaction.end_lsn for transaction in transactions]
    assert ends == sorted(set(ends))
    for transaction in transactions:
        lsns = [change.lsn for change in transaction.changes]
        assert lsns == sorted(lsns)
        assert all(lsn < transaction.commit_lsn < transaction.end_lsn for lsn in lsns)
