"""The public names of the package, and those of them that work on bytes."""

import json
import subprocess
import sys
from decimal import Decimal
from importlib.metadata import files
from pathlib import Path

import pytest
from captures.frames import CAPTURES, Capture
from conformance.stream import Source, make_table, transaction

import walsync
from walsync.pgoutput import message
from walsync.row import write_tuple

PLAIN = [capture for capture in CAPTURES if capture.way.name == "plain"]
USERS = make_table("users", [("id", "integer"), ("price", "numeric"), ("body", "text")])
SOURCE = Source([USERS])
SURFACE = {
    "LSN",
    "UNCHANGED",
    "Assembler",
    "Change",
    "Column",
    "ConfigurationError",
    "Decoder",
    "Delete",
    "Insert",
    "LogicalMessage",
    "Message",
    "ProtocolError",
    "Relation",
    "Renderer",
    "ReplicaIdentity",
    "SourceRefused",
    "SourceUnavailable",
    "Transaction",
    "TransactionStream",
    "Truncate",
    "Unchanged",
    "Update",
    "Value",
    "WalsyncError",
    "__version__",
    "as_dict",
    "decode",
    "read_tuple",
    "renderer",
    "stream",
    "transactions",
}
"""What programs may rely on: a name that leaves this set breaks them."""


def frames(capture: Capture) -> list[tuple[int, bytes]]:
    return [(frame.data_start, frame.payload) for frame in capture.frames()]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_public_names_are_these_and_all_of_them_are_there() -> None:
    assert set(walsync.__all__) == SURFACE
    assert set(dir(walsync)) >= SURFACE
    for name in SURFACE:
        assert getattr(walsync, name) is not None
    assert run(f"from walsync import *; print(sorted(set({sorted(SURFACE)!r}) - globals().keys()))").strip() == "[]"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'nothing'"):
        walsync.nothing  # noqa: B018


def test_importing_the_package_imports_nothing_and_decoding_no_database() -> None:
    loaded = "sorted(name for name in sys.modules if name.startswith(('walsync', 'psycopg2', 'aiohttp', 'pydantic')))"
    assert run(f"import sys, walsync; print({loaded})").strip() == "['walsync']"
    heavy = run(f"import sys, walsync; walsync.Decoder, walsync.Assembler, walsync.read_tuple; print({loaded})")
    assert "psycopg2" not in heavy
    assert "pydantic" not in heavy


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(walsync.__file__).parent / "py.typed").exists()
    assert files("walsync") is not None


@pytest.mark.parametrize("capture", PLAIN, ids=str)
def test_messages_and_transactions_come_out_of_what_servers_sent(capture: Capture) -> None:
    decoder = capture.way.decoder()
    for _, payload in frames(capture):
        assert walsync.decode(payload) == decoder.decode(payload)
    found = list(walsync.transactions(frames(capture)))
    commits = [one for _, payload in frames(capture) if isinstance(one := walsync.decode(payload), message.Commit)]
    assert [one.end_lsn for one in found if one.xid] == [commit.end_lsn for commit in commits]
    assert any(isinstance(change, walsync.Truncate) for one in found for change in one.changes)


@pytest.mark.parametrize("capture", PLAIN, ids=str)
def test_records_of_every_format_come_out_of_what_servers_sent(capture: Capture) -> None:
    assembler = walsync.Assembler()
    wal2json = walsync.renderer("wal2json", format_version=2, types=assembler.types)
    plain, text = walsync.renderer(), walsync.renderer("text", options={"width": "5"})
    types = set()
    for one in walsync.transactions(frames(capture), assembler):
        records = [json.loads(record, parse_float=Decimal) for record in wal2json.render(one)]
        types |= {column["type"] for record in records for column in record.get("columns", [])}
        assert len([record for record in records if record["action"] in "IUD"]) == len(
            [change for change in one.changes if not isinstance(change, walsync.Truncate)]
        )
        assert len(list(plain.render(one))) == bool(one.changes or one.messages)
        assert all(line.decode().isprintable() for line in text.render(one))
    assert "???" not in types
    assert len(types) > 10


def test_a_row_is_a_dict_of_text() -> None:
    relation = SOURCE.relation(USERS)
    row = walsync.as_dict(relation, SOURCE.insert(USERS, "1", "1.10", None).new)
    assert row == {"id": "1", "price": "1.10", "body": None}
    update = SOURCE.update(USERS, "1", "NaN", walsync.UNCHANGED)
    assert walsync.as_dict(relation, update.new)["body"] is walsync.UNCHANGED


def test_a_row_of_another_shape_and_one_that_is_not_utf_8_are_errors() -> None:
    relation = SOURCE.relation(USERS)
    with pytest.raises(walsync.ProtocolError):
        walsync.as_dict(relation, write_tuple([b"1"]))
    with pytest.raises(UnicodeDecodeError):
        walsync.as_dict(relation, write_tuple([b"1", b"1", b"\xff"]))


def test_what_is_no_message_is_a_protocol_error() -> None:
    for data in (b"", b"\x00", b"I", b"B\x00"):
        with pytest.raises(walsync.ProtocolError):
            walsync.decode(data)


def test_an_unknown_format_or_option_is_a_configuration_error() -> None:
    for name, options in (("avro", {}), ("json", {"x": "1"}), ("wal2json", {"nope": "1"})):
        with pytest.raises(walsync.ConfigurationError):
            walsync.renderer(name, options=options)
    [record] = walsync.renderer("wal2json").render(transaction(200, SOURCE.insert(USERS, "1", "1.10", None)))
    assert b'"columnvalues":[1,1.10,null]' in record
