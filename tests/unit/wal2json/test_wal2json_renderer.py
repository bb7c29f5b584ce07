"""What wal2json 2.6 writes, where Debian's 2.5 cannot be asked, and what no server sends every day."""

import json

import pytest

from walsync import wal2json
from walsync.errors import ProtocolError
from walsync.lsn import LSN
from walsync.pgoutput.message import LogicalMessage
from walsync.relation import Column, Relation, ReplicaIdentity
from walsync.row import UNCHANGED, Value, write_tuple
from walsync.source.description import ColumnDescription, TableDescription, TypeDescription, from_stream
from walsync.transaction.change import Change, Delete, Insert, Transaction, Update

INT4, TEXT, FLOAT8, BYTEA = 23, 25, 701, 17


def relation(*columns: tuple[str, int], identity: ReplicaIdentity = ReplicaIdentity.DEFAULT) -> Relation:
    full = identity is ReplicaIdentity.FULL
    made = (Column(name, oid, -1, in_identity=full or place == 0) for place, (name, oid) in enumerate(columns))
    return Relation(1, "public", "t", identity, tuple(made))


ITEMS = relation(("id", INT4), ("v", TEXT))


def row(*values: Value) -> bytes:
    return write_tuple(values)


def transaction(*changes: Change, xid: int = 7) -> Transaction:
    return Transaction(xid, LSN(100), LSN(108), 0, changes, 0)


def render(made: Transaction, *options: tuple[str, str], described: TableDescription | None = None) -> list[str]:
    def describe(of: Relation) -> TableDescription:
        return described or from_stream(of, lambda _oid: None)

    return [record.decode() for record in wal2json.Renderer(wal2json.parse(options), describe).render(made)]


def first(made: Transaction, *options: tuple[str, str]) -> str:
    return render(made, ("format-version", "2"), ("include-transaction", "0"), *options)[0]


def test_a_keepalive_prints_nothing() -> None:
    assert render(Transaction.keepalive(LSN(5), 0)) == []


def test_an_empty_transaction_of_an_old_server_is_printed() -> None:
    assert render(transaction()) == ['{"change":[]}']


def test_format_1_has_the_primary_key_beside_a_full_identity() -> None:
    full = relation(("id", INT4), ("v", TEXT), identity=ReplicaIdentity.FULL)
    columns = from_stream(full, lambda _oid: None).columns
    described = TableDescription(columns, columns[:1])
    (record,) = render(transaction(Delete(full, row(b"1", None), 1)), ("include-pk", "1"), described=described)
    assert record == (
        '{"change":[{"kind":"delete","schema":"public","table":"t","pk":{"pknames":["id"],"pktypes":["integer"]},'
        '"oldkeys":{"keynames":["id"],"keytypes":["integer"],"keyvalues":[1]}}]}'
    )


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1.10", "-0", "1e+308", "9" * 400])
def test_numbers_as_strings_are_all_quoted(text: str) -> None:
    of = relation(("id", FLOAT8))
    record = first(transaction(Insert(of, row(text.encode()), 1)), ("numeric-data-types-as-string", "1"))
    assert f'"value":"{text}"' in record


@pytest.mark.parametrize(
    ("text", "expected"), [("1.10", "1.10"), ("-0", "-0"), ("NaN", "null"), ("9" * 400, "9" * 400)]
)
def test_a_number_keeps_its_text(text: str, expected: str) -> None:
    of = relation(("id", FLOAT8))
    assert f'"value":{expected}}}' in first(transaction(Insert(of, row(text.encode()), 1)))


def test_an_oid_above_31_bits_is_signed_in_format_2_only() -> None:
    of = relation(("id", 2**32 - 1))
    made = transaction(Insert(of, row(b"x"), 1))
    assert '"typeoid":-1' in first(made, ("include-type-oids", "1"))
    assert '"columntypeoids":[4294967295]' in render(made, ("include-type-oids", "1"))[0]


def test_an_xid_above_31_bits_stays_what_it_is() -> None:
    assert '"xid":4294967295' in render(transaction(xid=2**32 - 1), ("include-xids", "1"))[0]


def test_what_was_not_sent_is_left_out_although_the_key_is_known() -> None:
    change = Update(ITEMS, row(b"1", None), row(b"1", UNCHANGED), 1, unsent=(0,))
    assert first(transaction(change)).startswith(
        '{"action":"U","schema":"public","table":"t","columns":[],"identity":[{'
    )


def test_a_value_needs_no_escape_to_be_next_to_one_that_does() -> None:
    record = first(transaction(Insert(ITEMS, row(b"1", b'quo"te\x01'), 1)))
    assert '"value":1}' in record
    assert '"value":"quo\\"te\\u0001"}' in record


def test_bytes_that_are_no_text_stay_what_they_are() -> None:
    made = transaction(Insert(ITEMS, row(b"1", b'\xff"'), 1))
    (record,) = wal2json.Renderer(wal2json.parse([]), lambda of: from_stream(of, lambda _oid: None)).render(made)
    assert b'"columnvalues":[1,"\xff\\""]' in record


def test_a_percent_sign_in_a_name_is_no_place_for_a_value() -> None:
    of = relation(("100% %b", INT4), ("%s", BYTEA))
    record = first(transaction(Insert(of, row(b"1", b"\\x00ff"), 1)))
    assert [(each["name"], each["value"]) for each in json.loads(record)["columns"]] == [("100% %b", 1), ("%s", "00ff")]


def test_a_row_with_other_columns_than_its_table_is_a_protocol_error() -> None:
    for version in ("1", "2"):
        with pytest.raises(ProtocolError, match="a row of 3 columns in a table of 2"):
            render(transaction(Insert(ITEMS, row(b"1", b"a", b"b"), 1)), ("format-version", version))


def test_a_record_comes_out_before_the_next_change_is_looked_at() -> None:
    good, bad = Insert(ITEMS, row(b"1", b"a"), 1), Insert(ITEMS, row(b"2"), 2)
    renderer = wal2json.Renderer(
        wal2json.parse([("format-version", "2")]), lambda of: from_stream(of, lambda _oid: None)
    )
    records = renderer.render(transaction(good, bad))
    assert [json.loads(next(records))["action"] for _ in range(2)] == ["B", "I"]
    with pytest.raises(ProtocolError):
        next(records)


def test_a_table_is_described_once_for_each_announcement() -> None:
    asked: list[Relation] = []

    def describe(of: Relation) -> TableDescription:
        asked.append(of)
        return from_stream(of, lambda _oid: None)

    again = relation(("id", INT4), ("v", TEXT))
    renderer = wal2json.Renderer(wal2json.parse([]), describe)
    for of in (ITEMS, ITEMS, again, again):
        list(renderer.render(transaction(Insert(of, row(b"1", b"a"), 1), Insert(of, row(b"2", b"b"), 2))))
    assert [one is ITEMS for one in asked] == [True, False]


def test_a_table_that_is_filtered_out_is_not_described() -> None:
    options = wal2json.parse([("filter-tables", "public.t")])
    renderer = wal2json.Renderer(options, lambda _of: pytest.fail("asked"))
    assert list(renderer.render(transaction(Insert(ITEMS, row(b"1", b"a"), 1)))) == [b'{"change":[]}']


def test_messages_stand_where_they_were_written() -> None:
    messages = tuple(LogicalMessage(transactional=True, lsn=LSN(n), prefix="p", content=b"%d" % n) for n in (1, 2, 3))
    changes = tuple(Insert(ITEMS, row(b"%d" % n, None), n) for n in (10, 11))
    made = Transaction(7, LSN(100), LSN(108), 0, changes, 0, None, messages, (0, 1, 2))
    actions = [json.loads(record)["action"] for record in render(made, ("format-version", "2"))]
    assert "".join(actions) == "BMIMIMC"


def test_a_domains_base_type_stands_in_format_1_alone_for_values_too() -> None:
    base = TypeDescription(INT4, "integer", "int4")
    column = ColumnDescription("id", 1, TypeDescription(50000, "d", "d", base), not_null=True, default=None)
    of = relation(("id", 50000))
    made = transaction(Insert(of, row(b"5"), 1))
    described = TableDescription((column,), ())
    (one,) = render(made, ("include-domain-data-type", "1"), described=described)
    assert '"columntypes":["integer"],"columnvalues":[5]' in one
    (_, two, _) = render(made, ("include-domain-data-type", "1"), ("format-version", "2"), described=described)
    assert '{"name":"id","type":"integer","value":"5"}' in two
