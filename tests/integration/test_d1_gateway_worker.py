"""The gateway Worker by itself, on the engine that runs it at Cloudflare: who may ask, and what it answers."""

import hashlib
import json
import time
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from fix_workerd import DATABASES, PREVIOUS_SECRET, SECRET, Workerd, request, signed_headers

Answer = tuple[int, dict[str, Any]]


def post(workerd: Workerd, path: str, body: bytes, **headers: str) -> Answer:
    status, answer = request(workerd.url + path, body, headers)
    return status, answer.get("error", answer)


def signed(workerd: Workerd, path: str, body: bytes, *, secret: str = SECRET, timestamp: float | None = None) -> Answer:
    return post(workerd, path, body, **signed_headers(path, body, secret=secret, timestamp=timestamp))


def apply_body(*statements: tuple[str, list[str | None]]) -> bytes:
    encoded = [[None if one is None else one.encode() for one in parameters] for _, parameters in statements]
    head = [
        [sql, [None if one is None else len(one) for one in parameters]]
        for (sql, _), parameters in zip(statements, encoded, strict=True)
    ]
    payload = b"".join(one for parameters in encoded for one in parameters if one is not None)
    return json.dumps(head).encode() + b"\n" + payload


def apply(workerd: Workerd, database: str, *statements: tuple[str, list[str | None]]) -> Answer:
    return signed(workerd, f"/{database}/apply", apply_body(*statements))


def test_health_tells_version_and_time_to_anybody(workerd: Workerd) -> None:
    status, health = request(f"{workerd.url}/health", b"", method="GET")
    assert (status, health["service"], health["version"]) == (200, "walsync-d1-gateway", 1)
    assert abs(health["time"] - time.time()) < 60


def test_each_of_six_databases_is_its_own(workerd: Workerd) -> None:
    for number, database in enumerate(DATABASES):
        workerd.plain(database).clear()
        apply(workerd, database, ("CREATE TABLE here (number TEXT) STRICT", []))
        assert apply(workerd, database, ("INSERT INTO here VALUES (?1)", [str(number)]))[0] == 200
    assert [workerd.plain(one).execute("SELECT number FROM here") for one in DATABASES] == [
        [(str(number),)] for number in range(len(DATABASES))
    ]


def test_a_request_takes_effect_whole_or_not_at_all(workerd: Workerd, d1_database: str) -> None:
    plain = workerd.plain(d1_database)
    assert apply(workerd, d1_database, ("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT) STRICT", []))[0] == 200
    insert = "INSERT INTO t VALUES (?1, ?2)"
    status, error = apply(workerd, d1_database, (insert, ["1", "ä\n"]), (insert, ["2", None]), (insert, ["1", "again"]))
    assert (status, error["kind"]) == (422, "sqlite")
    assert plain.execute("SELECT * FROM t") == []
    status, answer = apply(
        workerd, d1_database, (insert, ["1", "ä\n"]), (insert, ["2", None]), ("SELECT * FROM t ORDER BY a", [])
    )
    assert (status, answer["results"]) == (200, [[[], 1], [[], 1], [[[1, "ä\n"], [2, None]], 0]])
    assert answer["rows_written"] == 2


def test_a_guard_that_fires_is_told_apart_from_a_refusal(workerd: Workerd, d1_database: str) -> None:
    apply(workerd, d1_database, ("CREATE TABLE g (reason TEXT)", []))
    for reason in ("stale checkpoint", "missing row"):
        body = f"SELECT RAISE(ABORT, 'walsync: {reason}')"
        trigger = f"CREATE TRIGGER \"{reason}\" BEFORE INSERT ON g WHEN new.reason = '{reason}' BEGIN {body}; END"
        apply(workerd, d1_database, (trigger, []))
    insert = "INSERT INTO g VALUES (?1)"
    found = [apply(workerd, d1_database, (insert, [reason])) for reason in ("stale checkpoint", "missing row")]
    assert [(status, error["kind"], error["reason"]) for status, error in found] == [
        (409, "stale", "stale checkpoint"),
        (409, "guard", "missing row"),
    ]


def test_a_refusal_is_one_whatever_the_columns_of_a_table_are_called(workerd: Workerd, d1_database: str) -> None:
    apply(workerd, d1_database, ('CREATE TABLE jobs (timeout INT NOT NULL UNIQUE, "internal error" INT UNIQUE)', []))
    assert apply(workerd, d1_database, ("INSERT INTO jobs VALUES (1, 1)", []))[0] == 200
    for sql in ("INSERT INTO jobs VALUES (NULL, 2)", "INSERT INTO jobs VALUES (2, 1)", "SELECT timeout FROM gone"):
        status, error = apply(workerd, d1_database, (sql, []))
        assert (status, error["kind"]) == (422, "sqlite"), error


def test_both_secrets_open_and_no_other(workerd: Workerd, d1_database: str) -> None:
    path, body = f"/{d1_database}/apply", apply_body(("SELECT 1", []))
    assert [signed(workerd, path, body, secret=secret)[0] for secret in (SECRET, PREVIOUS_SECRET)] == [200, 200]
    status, error = signed(workerd, path, body, secret="of somebody else")
    assert (status, error["kind"]) == (401, "signature")


def test_a_signature_covers_time_path_and_body_and_lasts_five_minutes(workerd: Workerd, d1_database: str) -> None:
    path, body = f"/{d1_database}/apply", apply_body(("SELECT 1", []))
    headers = signed_headers(path, body)
    later = {**headers, "x-walsync-timestamp": str(int(headers["x-walsync-timestamp"]) + 1)}
    other = next(one for one in DATABASES if one != d1_database)
    attempts = [
        post(workerd, path, body + b" ", **headers),
        post(workerd, path, body, **later),
        post(workerd, f"/{other}/apply", body, **headers),
        post(workerd, f"/{d1_database}/checkpoint", body, **headers),
        post(workerd, path, body),
        post(workerd, path, body, **{**headers, "x-walsync-signature": "not hexadecimal"}),
    ]
    assert [(status, error["kind"]) for status, error in attempts] == [(401, "signature")] * len(attempts)
    for seconds in (-301, 301):
        status, error = signed(workerd, path, body, timestamp=time.time() + seconds * 1.1)
        assert (status, error["kind"]) == (401, "clock")
        assert abs(error["time"] - time.time()) < 60
    assert signed(workerd, path, body, timestamp=time.time() - 240)[0] == 200


def test_a_binding_that_is_not_there_is_named_with_those_that_are(workerd: Workerd) -> None:
    for name in ("DB_MARS", "WALSYNC_SECRET", "constructor"):
        status, error = signed(workerd, f"/{name}/apply", apply_body(("SELECT 1", [])))
        assert (status, error["kind"], error["bindings"]) == (404, "binding", sorted(DATABASES))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'[["SELECT 1"]]',
        b'[["SELECT ?1", [5]]]\nabc',
        b'[["SELECT ?1", [-1]]]\nabc',
        b'[["SELECT ?1", [1.5]]]\nabc',
        b'[["SELECT ?1", ["1"]]]\nabc',
        b'[["SELECT ?1", [2]]]\nabc',
        b'[["SELECT ?1", [2]]]\n\xff\xfe',
        json.dumps([["SELECT 1", []]] * 1001).encode(),
        json.dumps([["SELECT 1", [None] * 101]]).encode(),
    ],
)
def test_a_body_that_is_no_request_is_refused_before_anything_runs(
    workerd: Workerd, d1_database: str, body: bytes
) -> None:
    status, error = signed(workerd, f"/{d1_database}/apply", body)
    assert (status, error["kind"]) == (400, "request")


def test_a_body_that_is_too_large_is_refused_unread(workerd: Workerd, d1_database: str) -> None:
    with closing(HTTPConnection(urlsplit(workerd.url).netloc, timeout=60)) as connection:
        connection.putrequest("POST", f"/{d1_database}/apply")
        connection.putheader("content-length", str(32 * 1024 * 1024 + 1))
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["error"]["kind"]) == (413, "size")


def test_a_body_of_unknown_length_is_read_as_far_as_it_may_be(workerd: Workerd, d1_database: str) -> None:
    path, body = f"/{d1_database}/apply", apply_body(("SELECT ?1 AS one", ["x" * 100_000]))
    with closing(HTTPConnection(urlsplit(workerd.url).netloc, timeout=60)) as connection:
        parts = (body[start : start + 1000] for start in range(0, len(body), 1000))
        connection.request("POST", path, parts, signed_headers(path, body), encode_chunked=True)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["results"]) == (200, [[[["x" * 100_000]], 0]])


def test_other_paths_and_methods_lead_nowhere(workerd: Workerd, d1_database: str) -> None:
    for path in ("/", f"/{d1_database}", f"/{d1_database}/drop", f"/{d1_database}/apply?x=1", "/health"):
        status, _ = signed(workerd, path, b"")
        assert status == 404
    assert request(f"{workerd.url}/{d1_database}/apply", b"", method="GET")[0] == 405


def test_a_checkpoint_is_read_whether_or_not_its_table_is_there(workerd: Workerd, d1_database: str) -> None:
    path, body = f"/{d1_database}/checkpoint", json.dumps({"slot": "walsync", "target": "weur"}).encode()
    assert signed(workerd, path, body) == (200, {"checkpoint": None})
    workerd.plain(d1_database).execute(
        "CREATE TABLE _walsync_checkpoint (slot, target, target_id, system_identifier, timeline, epoch, lsn,"
        " open_commit_lsn, last_change_lsn, upto)"
    )
    assert signed(workerd, path, body) == (200, {"checkpoint": None})
    workerd.plain(d1_database).execute(
        "INSERT INTO _walsync_checkpoint VALUES"
        " ('walsync', 'weur', 'id', '7', 1, 9007199254740993, '0/64', NULL, NULL, '0/70')"
    )
    assert signed(workerd, path, body)[1] == {
        "checkpoint": ["id", "7", 1, "9007199254740993", "0/64", None, None, "0/70"]
    }
    assert signed(workerd, path, b'{"slot": 1, "target": "weur"}')[0] == 400


def test_hashes_are_of_exact_values_by_range_of_keys(workerd: Workerd, d1_database: str) -> None:
    plain = workerd.plain(d1_database)
    plain.execute('CREATE TABLE "a ""t" (id INTEGER, "k" TEXT, v ANY, PRIMARY KEY (id, k)) STRICT, WITHOUT ROWID')
    values = ["9007199254740993", "0.1", "'ä\n'", "x'00FF'", "NULL", "-1.0 * 0.0", "0.0"]
    for number, value in enumerate(values):
        plain.execute(f"""INSERT INTO "a ""t" VALUES ({number}, 'k', {value})""")
    tagged = ["i9007199254740993", "r0.10000000000000001", "tä\n", "x00FF", "n", "r-0.0", "r0.0"]

    def ask(after: list[str] | None, upto: list[str] | None, limit: int) -> dict[str, Any]:
        question = {
            "table": 'a "t',
            "key": ["id", "k"],
            "columns": ["id", "v"],
            "after": after,
            "upto": upto,
            "limit": limit,
        }
        status, found = signed(workerd, f"/{d1_database}/hashes", json.dumps(question).encode())
        assert status == 200
        return found

    expected = [
        [
            [f"i{number}", "tk"],
            hashlib.sha256(
                json.dumps([f"i{number}", value], ensure_ascii=False, separators=(",", ":")).encode()
            ).hexdigest(),
        ]
        for number, value in enumerate(tagged)
    ]
    assert ask(None, None, 100) == {"rows": expected, "complete": True}
    assert ask(None, None, 2) == {"rows": expected[:2], "complete": False}
    assert ask(["i1", "tk"], ["i3", "tk"], 100) == {"rows": expected[2:4], "complete": True}
    question = {"table": 'a "t', "key": ["id", "k"], "columns": ["v"], "after": ["i1"], "limit": 5}
    for wrong in (
        {**question},
        {**question, "after": None, "limit": 1001},
        {**question, "columns": []},
        {"table": "t"},
    ):
        assert signed(workerd, f"/{d1_database}/hashes", json.dumps(wrong).encode())[0] == 400
