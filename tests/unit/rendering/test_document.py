"""walsync's own JSON: what real servers sent comes out whole, and as its schema says."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from captures.frames import CAPTURES, Capture
from conformance.stream import Source, make_table, transaction

from walsync.errors import ProtocolError, TargetRefused
from walsync.lsn import LSN
from walsync.pgoutput.message import LogicalMessage
from walsync.relation import Relation, ReplicaIdentity
from walsync.rendering.document import JsonRenderer, moment
from walsync.row import UNCHANGED, Value, read_tuple, write_tuple
from walsync.transaction.assembler import Assembler
from walsync.transaction.change import Change, Delete, Insert, Transaction, Truncate, Update

SCHEMA = Path(__file__).parents[3] / "docs" / "transaction.schema.json"
PLAIN = [capture for capture in CAPTURES if capture.way.name == "plain"]
USERS = make_table("users", [("id", "integer"), ("name", "text"), ("body", "text")])
FULL = make_table("full", [("id", "bigint"), ("ok", "boolean")], relid=2, identity=ReplicaIdentity.FULL)
SOURCE = Source([USERS, FULL])

valid = fastjsonschema.compile(json.loads(SCHEMA.read_text()))


class Number(str):
    """A JSON number, as the digits that stood there."""

    __slots__ = ()


def read(record: bytes) -> dict[str, Any]:
    """Read a record as a careful reader does: its numbers keep their digits."""
    valid(json.loads(record))
    assert b"\n" not in record
    found: dict[str, Any] = json.loads(record, parse_int=Number, parse_float=Number)
    return found


def render(*changes: Change) -> dict[str, Any]:
    [record] = JsonRenderer().render(transaction(200, *changes))
    return read(record)


def transactions(capture: Capture) -> Iterator[Transaction]:
    decoder, assembler = capture.way.decoder(), Assembler()
    for frame in capture.frames():
        found = assembler.feed(decoder.decode(frame.payload), frame.data_start, len(frame.payload))
        if found is not None:
            yield found


def text_of(value: object) -> Value:
    """Turn a value of a row back into what the server sent."""
    match value:
        case None:
            return None
        case bool():
            return b"t" if value else b"f"
        case str():
            return str(value).encode()
        case _:
            raise AssertionError(value)


def texts(row: dict[str, Any], relation: Relation, *, only_identity: bool = False) -> list[Value]:
    columns = [column for column in relation.columns if column.in_identity or not only_identity]
    assert row.keys() <= {column.name for column in columns}
    return [text_of(row[column.name]) if column.name in row else UNCHANGED for column in columns]


def key_of(values: Sequence[Value], relation: Relation) -> list[Value]:
    return [value for value, column in zip(values, relation.columns, strict=True) if column.in_identity]


def check_change(found: dict[str, Any], change: Insert | Update | Delete) -> None:
    relation = change.relation
    assert (found["schema"], found["table"]) == (relation.schema, relation.name)
    assert found["lsn"] == str(LSN(change.lsn))
    if not isinstance(change, Delete):
        new = read_tuple(change.new)
        assert texts(found["new"], relation) == new
        absent = [column.name for value, column in zip(new, relation.columns, strict=True) if value is UNCHANGED]
        assert found.get("unchanged", []) == absent
    if isinstance(change, Insert):
        return
    if isinstance(change, Delete):
        change = Update(relation, change.old, b"", change.lsn)
    if "old" in found:
        assert relation.replica_identity is ReplicaIdentity.FULL
        assert texts(found["old"], relation) == read_tuple(change.old or b"")
    else:
        before = read_tuple(change.old if change.old is not None else change.new)
        assert texts(found["key"], relation, only_identity=True) == key_of(before, relation)


@pytest.mark.parametrize("capture", PLAIN, ids=str)
def test_every_value_that_a_server_sent_can_be_read_back(capture: Capture) -> None:
    renderer, kinds = JsonRenderer(), set()
    for one in transactions(capture):
        found = [read(record) for record in renderer.render(one)]
        assert len(found) == bool(one.changes or one.messages)
        if not found:
            continue
        assert (found[0]["commit_lsn"], found[0]["end_lsn"]) == (str(one.commit_lsn), str(one.end_lsn))
        shown = found[0]["changes"]
        assert [int(one["lsn"].replace("/", "").zfill(16)[-8:], 16) for one in shown] == sorted(
            int(one["lsn"].replace("/", "").zfill(16)[-8:], 16) for one in shown
        )
        kinds |= {change["kind"] for change in shown}
        rows = [change for change in one.changes if not isinstance(change, Truncate)]
        shown_rows = [change for change in shown if change["kind"] in {"insert", "update", "delete"}]
        for change, row in zip(shown_rows, rows, strict=True):
            check_change(change, row)
    assert kinds == {"insert", "update", "delete", "truncate", "message"}


def test_null_is_null_and_what_was_not_sent_is_absent_and_named() -> None:
    found = render(SOURCE.update(USERS, "1", None, UNCHANGED))
    assert found["changes"][0]["key"] == {"id": "1"}
    assert found["changes"][0]["new"] == {"id": "1", "name": None}
    assert found["changes"][0]["unchanged"] == ["body"]


def test_a_changed_key_shows_the_row_that_was_meant() -> None:
    [change] = render(SOURCE.update(USERS, "9", "ann", "x", old=["1"]))["changes"]
    assert (change["key"], change["new"]["id"]) == ({"id": "1"}, "9")


def test_a_full_identity_shows_the_whole_old_row() -> None:
    [update, delete] = render(
        SOURCE.update(FULL, "1", "t", old=["1", None]), SOURCE.delete(FULL, "1", "t")
    )["changes"]  # fmt: skip
    assert update["old"] == {"id": "1", "ok": None}
    assert update["new"] == {"id": "1", "ok": True}
    assert delete["old"] == {"id": "1", "ok": True}


@pytest.mark.parametrize(
    ("kind", "text", "written"),
    [
        ("bigint", "9007199254740993", b"9007199254740993"),
        ("numeric", "1.10", b"1.10"),
        ("numeric", "9" * 400 + ".000", b"9" * 400 + b".000"),
        ("numeric", "NaN", b'"NaN"'),
        ("double precision", "-0", b"-0"),
        ("double precision", "1e+308", b"1e+308"),
        ("double precision", "4.9406564584124654e-324", b"4.9406564584124654e-324"),
        ("double precision", "-Infinity", b'"-Infinity"'),
        ("boolean", "f", b"false"),
        ("jsonb", '{"a": null}', b'"{\\"a\\": null}"'),
        ("text", "NaN", b'"NaN"'),
        ("text", "a\tb\n\u2028\x7f🐘", '"a\\tb\\n\u2028\x7f🐘"'.encode()),
        ("bytea", "\\x00ff", b'"\\\\x00ff"'),
    ],
)
def test_a_value_stands_with_the_digits_and_letters_of_the_server(kind: str, text: str, written: bytes) -> None:
    table = make_table("t", [("v", kind)], ("v",))
    [record] = JsonRenderer().render(transaction(200, Source([table]).insert(table, text)))
    assert b'"new":{"v":' + written + b"}" in record
    read(record)
    [record] = JsonRenderer(numbers_as_text=True).render(transaction(200, Source([table]).insert(table, text)))
    if kind != "boolean":
        assert json.loads(record)["changes"][0]["new"] == {"v": text}


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("integer", b"x", "WS4402"),
        ("integer", b"01", "WS4402"),
        ("numeric", b"1,5", "WS4402"),
        ("numeric", b"", "WS4402"),
        ("boolean", b"true", "WS4402"),
        ("text", b"\xff", "WS4401"),
    ],
)
def test_what_cannot_stand_in_json_is_refused_with_its_column(kind: str, value: bytes, code: str) -> None:
    table = make_table("t", [("v", kind)], ("v",))
    relation = Source([table]).relation(table)
    insert = Insert(relation, write_tuple([value]), 8)
    with pytest.raises(TargetRefused, match=r"public\.t\.v") as refused:
        list(JsonRenderer().render(transaction(200, insert)))
    assert refused.value.code == code


def test_a_row_that_does_not_fit_its_relation_is_an_error() -> None:
    insert = Insert(SOURCE.relation(USERS), write_tuple([b"1", None]), 8)
    with pytest.raises(ProtocolError, match="2 columns"):
        list(JsonRenderer().render(transaction(200, insert)))


def test_a_changed_shape_of_a_table_is_followed() -> None:
    other = make_table("users", [("id", "integer"), ("extra", "boolean")])
    renderer = JsonRenderer()
    shown = [
        read(record)["changes"][0]["new"]
        for table, row in ((USERS, ("1", "a", "b")), (other, ("2", "t")), (USERS, ("3", None, "c")))
        for record in renderer.render(transaction(200, Source([table]).insert(table, *row)))
    ]
    assert shown == [
        {"id": "1", "name": "a", "body": "b"},
        {"id": "2", "extra": True},
        {"id": "3", "name": None, "body": "c"},
    ]


def test_messages_stand_among_the_changes_and_alone() -> None:
    inside = LogicalMessage(transactional=True, lsn=LSN(0x20), prefix="p", content=b"text")
    alone = LogicalMessage(transactional=False, lsn=LSN(0x30), prefix="q", content=b"\xff\x00")
    first, last = (Insert(SOURCE.relation(FULL), write_tuple([b"1", b"t"]), lsn) for lsn in (0x10, 0x30))
    whole = transaction(200, first, last)._replace(messages=(inside,))
    [record] = JsonRenderer().render(whole)
    assert [change["kind"] for change in read(record)["changes"]] == ["insert", "message", "insert"]
    [record] = JsonRenderer().render(Transaction(0, LSN(0x30), LSN(0x30), 0, (), 0, messages=(alone,)))
    found = read(record)
    assert (found["xid"], found["commit_time"]) == (None, None)
    assert found["changes"][0]["content_hex"] == "ff00"


def test_a_keepalive_shows_nothing_and_a_snapshot_says_what_it_is() -> None:
    assert list(JsonRenderer().render(Transaction.keepalive(LSN(7), 0))) == []
    [record] = JsonRenderer(snapshot=True).render(
        transaction(200, SOURCE.truncate(FULL), SOURCE.insert(FULL, "1", "t"))._replace(xid=0)
    )
    assert read(record)["snapshot"] is True


def test_a_time_is_written_in_utc_and_one_that_is_no_time_is_an_error() -> None:
    assert moment(0) == "2000-01-01T00:00:00.000000Z"
    assert moment(-1) == "1999-12-31T23:59:59.999999Z"
    with pytest.raises(ProtocolError):
        moment(2**63 - 1)
