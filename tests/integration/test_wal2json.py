"""The real wal2json beside ours on the same WAL, byte for byte, for every case in tests/wal2json_cases.

Where they differ, the case says how, docs/wal2json.md says why, and nothing else may differ. It is wal2json 2.5, the
one that Debian has; what 2.6 does otherwise is among the differences.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from fix_postgres import Database, Server
from fix_walsync import Walsync
from wal2json_cases.case import CASES, PUBLICATION, Case, Pairs, Recording, recorded
from wal2json_cases.expected import (
    DIFFERENCES,
    OF_BOTH,
    STRUCTURES,
    compact,
    edit_both,
    edit_theirs,
    empties,
    join_chunks,
    loads,
    without_empties,
)

from walsync import wal2json
from walsync.demo.engines import PostgresServer
from walsync.errors import ConfigurationError

DOCUMENT = (Path(__file__).parents[2] / "docs" / "wal2json.md").read_text(encoding="utf-8")

ONLY_DOCUMENTED = {"empty-transactions", "session-settings", "number-strings", "no-identity", "filtered-messages"}
"""Differences that have a test of their own, or that the server keeps from happening."""

EVERYTHING = [
    (f"include-{name}", "1")
    for name in (
        "xids",
        "timestamp",
        "lsn",
        "origin",
        "type-oids",
        "column-positions",
        "not-null",
        "default",
        "pk",
    )
]
NEWER = [("format-version", "2")]
SETS: dict[str, Pairs] = {
    "format 1": [],
    "format 1, everything": EVERYTHING,
    "format 1, pretty": [*EVERYTHING, ("pretty-print", "true")],
    "format 1, chunks": [("write-in-chunks", "on"), ("include-pk", "1")],
    "format 1, bare": [
        ("include-schemas", "0"),
        ("include-types", "0"),
        ("include-not-null", "1"),
        ("include-pk", "1"),
    ],
    "format 1, plain types": [("include-typmod", "0"), ("include-type-oids", "1"), ("include-pk", "1")],
    "format 1, domains": [("include-domain-data-type", "1"), ("include-type-oids", "1"), ("include-pk", "1")],
    "format 1, plain domains": [("include-domain-data-type", "1"), ("include-typmod", "0")],
    "format 2": NEWER,
    "format 2, everything": [*NEWER, *EVERYTHING],
    "format 2, bare": [*NEWER, ("include-schemas", "0"), ("include-types", "0"), ("include-transaction", "0")],
    "format 2, domains": [*NEWER, ("include-domain-data-type", "1"), ("include-typmod", "0")],
}

Record = Callable[[str], Recording]


@pytest.fixture(scope="module")
def record(wal2json_server: PostgresServer) -> Iterator[Record]:
    """Record a case by its name, once, in a database of its own."""
    known: dict[str, Recording] = {}
    with contextlib.ExitStack() as stack:

        def find(name: str) -> Recording:
            if name not in known:
                case = next(case for case in CASES if case.name == name)
                known[name] = stack.enter_context(in_own_database(case, wal2json_server))
            return known[name]

        yield find


@contextlib.contextmanager
def in_own_database(case: Case, server: PostgresServer) -> Iterator[Recording]:
    database = Database(server)
    try:
        with recorded(case, database) as recording:
            yield recording
    finally:
        database.drop()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_case_is_written_as_the_plugin_writes_it(case: Case, wal2json_server: PostgresServer) -> None:
    with in_own_database(case, wal2json_server) as recording:
        compare(case, recording)


def compare(case: Case, recording: Recording) -> None:
    seen: set[str] = set()
    for name, options in SETS.items():
        theirs, ours = recording.theirs(options), recording.ours(options)
        if "chunks" in name and case.differences:
            theirs, ours = join_chunks(theirs), join_chunks(ours)
        check_json(ours if "chunks" not in name else join_chunks(ours))
        for difference, arguments in case.differences.items():
            if difference in STRUCTURES or difference in OF_BOTH:
                theirs, ours = [compact(each) for each in theirs], [compact(each) for each in ours]
            before = (theirs, ours)
            theirs = edit_theirs(difference, theirs, arguments, recording)
            theirs, ours = edit_both(difference, theirs, ours, arguments)
            if before != (theirs, ours):
                seen.add(difference)
        if "chunks" in name:
            theirs, ours = join_chunks(theirs), join_chunks(ours)
        assert without_empties(ours) == without_empties(theirs), name
        assert set(empties(ours)) <= set(empties(theirs)), name
    assert seen == set(case.differences)


@pytest.mark.parametrize("name", ["format 1, everything", "format 1, pretty", "format 2", "format 2, everything"])
def test_the_command_prints_what_the_plugin_writes(
    wal2json_server: PostgresServer, walsync_command: Callable[..., Walsync], name: str
) -> None:
    case = next(case for case in CASES if case.name == "extensions")
    options = [word for option, value in SETS[name] for word in ("-o", f"{option}={value}")]
    with in_own_database(case, wal2json_server) as recording:
        where = ("--dsn", recording.database.dsn, "--publication", PUBLICATION, "--slot", recording.pgoutput_slot)
        command = walsync_command("")
        ended = command.run("tail", *where, "--until-lsn", recording.end, "--format", "wal2json", *options)
        assert ended == 0, command.output
        expected = without_empties(recording.theirs(SETS[name]))
        assert command.stdout.read_bytes() == b"".join(record + b"\n" for record in expected)


def test_empty_transactions_are_the_plugins_alone(record: Record) -> None:
    recording = record("empty")
    theirs, ours = recording.theirs([]), recording.ours([])
    assert len(empties(theirs)) >= 5
    assert empties(ours) == []
    assert len(ours) == 1


def test_the_plugin_does_write_what_is_no_json_and_walsync_never(record: Record) -> None:
    recording = record("type_in_quoted_schema")
    with pytest.raises(json.JSONDecodeError):
        loads(recording.theirs([])[-1])
    check_json(recording.ours([]))


def test_numbers_as_strings_are_newer_than_debians_plugin(record: Record) -> None:
    recording = record("numeric")
    options = [("numeric-data-types-as-string", "1")]
    with pytest.raises(psycopg2.Error, match='option "numeric-data-types-as-string" = "1" is unknown'):
        recording.theirs(options)
    (first, *_) = recording.ours(options)
    assert loads(first)["change"][0]["columnvalues"] == ["1", "NaN", "1.10", "12300", "0.00123"]


def test_the_settings_of_a_database_change_what_the_plugin_writes_and_not_what_walsync_writes(
    wal2json_server: PostgresServer, new_database: Callable[[Server], Database]
) -> None:
    database = new_database(wal2json_server)
    settings = ("datestyle = 'SQL, DMY'", "intervalstyle = 'iso_8601'", "bytea_output = 'escape'")
    for setting in settings:
        database.execute(f"ALTER DATABASE {database.name} SET {setting}")
    setup = "CREATE TABLE t (id int PRIMARY KEY, d date, i interval, b bytea);"
    insert = "INSERT INTO t VALUES (1, '2026-11-21', '1 day', '\\x6162');"
    case = Case("settings", "FOR ALL TABLES", {}, [("main", setup)], [("main", insert)])
    with recorded(case, database) as recording:
        assert recording.ours([]) == recording.theirs([])
        for setting in settings:
            database.execute(f"SET {setting}")
        assert b'[1,"21/11/2026","P1D",""]' in recording.theirs([])[-1]
        assert b'[1,"2026-11-21","1 day","6162"]' in recording.ours([])[-1]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("names", [("filter-tables", r"*.Case, Ünï\ code.*")]),
        ("names", [("add-tables", r"Ünï\ code.T\.able\ with\ \"quotes\"")]),
        ("names", [("add-tables", "*.case,public.Case"), ("filter-tables", "public.case")]),
        ("names", [("add-tables", "")]),
        ("names", [("filter-tables", "*.*")]),
        ("names", [("add-tables", "public.Case"), ("add-tables", "public.case")]),
        ("names", [("filter-tables", "public.Case"), ("filter-tables", "public.case")]),
        ("truncate", [("actions", "insert, truncate")]),
        ("truncate", [("actions", "insert"), *EVERYTHING]),
        ("truncate", [("filter-tables", "*.a"), ("actions", "truncate")]),
        ("key_change", [("actions", "update,delete")]),
        ("key_change", [("actions", "")]),
        ("messages", [("filter-msg-prefixes", "p%b")]),
        ("messages", [("add-msg-prefixes", "p, other")]),
        ("messages", [("add-msg-prefixes", "p,p%b"), ("filter-msg-prefixes", "p")]),
        ("origins", [*EVERYTHING]),
    ],
)
@pytest.mark.parametrize("version", ["1", "2"])
def test_filters_let_through_what_the_plugin_lets_through(
    record: Record, name: str, version: str, options: Pairs
) -> None:
    recording = record(name)
    chosen = [("format-version", version), *options]
    theirs, ours = recording.theirs(chosen), recording.ours(chosen)
    theirs = edit_theirs("stray-comma", theirs, (), recording)
    assert without_empties(ours) == without_empties(theirs)
    assert set(empties(ours)) <= set(empties(theirs))


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_filtered_origin_is_not_there_at_all(record: Record, version: str) -> None:
    recording = record("origins")
    number = recording.origin_id("wal2json one")
    for origins in (str(number), f"{number} , 0", "0", f"nothing,{number}"):
        options = [("format-version", version), ("filter-origins", origins), ("include-origin", "1")]
        assert recording.ours(options) == recording.theirs(options)
    assert any(f'"origin":{number}'.encode() in each for each in recording.ours([("include-origin", "1")]))


def test_a_message_of_a_filtered_origin_is_shown_where_it_is_not_transactional(record: Record) -> None:
    recording = record("origin_messages")
    options = [("filter-origins", str(recording.origin_id("wal2json three")))]
    assert [b"alone" in each for each in recording.ours(options)] == [True, False]
    assert recording.ours(options)[1:] == without_empties(recording.theirs(options))
    assert recording.ours([]) == recording.theirs([])


def test_without_a_replica_identity_a_published_update_fails_on_the_source(
    wal2json_server: PostgresServer, new_database: Callable[[Server], Database]
) -> None:
    database = new_database(wal2json_server)
    database.execute("CREATE TABLE t (id int)")
    database.execute("INSERT INTO t VALUES (1)")
    database.execute("CREATE PUBLICATION p FOR ALL TABLES")
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState, match="does not have a replica identity"):
        database.execute("UPDATE t SET id = 2")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nope", "1"),
        ("include_xids", "1"),
        ("Include-Xids", "1"),
        ("include-xids", "maybe"),
        ("include-xids", ""),
        ("include-xids", "o"),
        ("include-unchanged-toast", "1"),
        ("format-version", "3"),
        ("format-version", "0"),
        ("format-version", "-1"),
        ("format-version", "two"),
        ("format-version", "99999999999"),
        ("actions", "insert,upsert"),
        ("actions", "insert,,delete"),
        ("actions", "insert delete"),
        ("filter-tables", "nodot"),
        ("filter-tables", "a.b,"),
        ("add-tables", "a.b c.d"),
        ("add-tables", r"a\.b"),
        ("filter-msg-prefixes", ",a"),
        ("add-msg-prefixes", "a b"),
        ("filter-origins", "1 2"),
    ],
)
def test_a_wrong_option_gets_the_plugins_own_sentence(record: Record, name: str, value: str) -> None:
    recording = record("key_only")
    with pytest.raises(psycopg2.Error) as theirs:
        recording.theirs([(name, value)])
    with pytest.raises(ConfigurationError) as ours:
        wal2json.parse([(name, value)])
    assert ours.value.message == theirs.value.diag.message_primary


@pytest.mark.parametrize("value", ["t", "TRUE", "tr", "y", "Yes", "on", "1", "f", "no", "of", "OFF", "0"])
def test_a_truth_is_read_as_the_server_reads_it(record: Record, value: str) -> None:
    recording = record("key_only")
    options = [("include-xids", value)]
    assert recording.ours(options) == recording.theirs(options)


def test_every_difference_is_documented_and_no_other() -> None:
    documented = set(re.findall(r"^\| `([a-z-]+)` \|", DOCUMENT.partition("## Differences")[2], re.MULTILINE))
    assert documented == DIFFERENCES | ONLY_DOCUMENTED
    assert {name for case in CASES for name in case.differences} == DIFFERENCES


def check_json(records: list[bytes]) -> None:
    for each in records:
        json.loads(each.decode())
