"""What is D1's own: its tables, its slices, one encoding for many, and the walsync command with a file as a target."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from conformance import stream
from conformance.stream import SLOT, TARGET_ID, Source, batch, row, writer
from fix_walsync import eventually_async

from walsync.errors import Fenced, TargetRefused, TargetUnavailable
from walsync.lsn import LSN
from walsync.row import UNCHANGED
from walsync.source.table import Table
from walsync.target.base import Batch, TableState
from walsync.target.d1.embedded import EmbeddedClient
from walsync.target.d1.encoder import Encoder
from walsync.target.d1.plan import table_name
from walsync.target.d1.settings import D1Settings
from walsync.target.d1.target import D1Target
from walsync.target.slices import Limits
from walsync.transaction.change import Change, Insert


def make_table(
    name: str, columns: Sequence[tuple[str, str]], key: Sequence[str] = ("id",), *, relid: int = 16384
) -> Table:
    """Describe a table as it is selected for a D1 target: without its schema."""
    return replace(stream.make_table(name, columns, key, relid=relid), renamed=(name,))


USERS = make_table("users", [("id", "integer"), ("name", "text"), ("body", "text")])
PAIRS = make_table("pairs", [("a", "integer"), ("b", "text"), ("v", "jsonb")], ("a", "b"), relid=16385)
LOG = make_table("log", [("at", "integer"), ("line", "text")], (), relid=16386)
SOURCE = Source([USERS, PAIRS, LOG])
START = 100

Rows = list[tuple[Any, ...]]


def execute(path: Path, sql: str) -> Rows:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(sql).fetchall()


def rows(path: Path, *tables: Table) -> list[Rows]:
    return [sorted(execute(path, f'SELECT * FROM "{table_name(table)}"'), key=repr) for table in tables]


Make = Callable[..., D1Target]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Make targets, each on a file of its name unless another is given."""
    made: list[D1Target] = []

    def new(name: str = "replica", *, path: Path | None = None, encoder: Encoder | None = None) -> D1Target:
        settings = D1Settings(name=name, type="d1", url=f"sqlite://{path or tmp_path / name}")
        made.append(D1Target(settings, SLOT, encoder=encoder or Encoder()))
        return made[-1]

    yield new
    for target in made:
        await target.close()


async def begin(target: D1Target, *tables: Table, epoch: int = 10) -> D1Target:
    await target.register(uuid4() if target.name != "replica" else TARGET_ID, writer(epoch), LSN(START))
    await target.prepare(tables)
    return target


def large_transaction() -> list[Change]:
    """Return what meets every way of writing, in an order in which each change needs those before it."""
    insert, update, delete = SOURCE.insert, SOURCE.update, SOURCE.delete
    return [
        insert(USERS, "1", "one", "b1"),
        insert(USERS, "2", "two", "b2"),
        insert(PAIRS, "1", "x", '{"a": {"b": 1}}'),
        insert(LOG, "1", "twice"),
        insert(LOG, "1", "twice"),
        update(USERS, "1", "uno", UNCHANGED),
        update(USERS, "9", UNCHANGED, UNCHANGED, old=["1"]),
        update(USERS, "1", "due", UNCHANGED, old=["2"]),
        delete(LOG, "1", "twice"),
        update(PAIRS, "1", "x", '{"a": {"c": 2}}'),
        update(PAIRS, "2", "x", UNCHANGED, old=["1", "x"]),
        SOURCE.truncate(LOG),
        insert(LOG, "2", None),
        update(LOG, "3", "new", old=["2", None]),
        delete(USERS, "1"),
        insert(USERS, "1", "again", None),
        update(USERS, "1", UNCHANGED, "body"),
    ]


EXPECTED = [[(1, "again", "body"), (9, "uno", "b1")], [(2, "x", '{"a": {"c": 2}}')], [(3, "new")]]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
async def test_a_transaction_larger_than_a_request_goes_on_after_a_stop_at_any_cut(
    make: Make, tmp_path: Path, size: int
) -> None:
    changes = large_transaction()
    whole = batch(START, 200, *changes)
    for stop in range(0, len(changes), size):
        path = tmp_path / f"stopped{stop}"
        target = await begin(make(path=path), USERS, PAIRS, LOG)
        target.limits = Limits(size, 1_000_000)
        # A row that nobody can encode, in place of the change where it is to stop.
        poison = Insert(SOURCE.relation(USERS), row("none", None, None), changes[stop].lsn)
        with pytest.raises(TargetRefused):
            await target.write(batch(START, 200, *changes[:stop], poison, *changes[stop + 1 :]))
        again = make(path=path)
        assert (await again.claim(writer(epoch=11))).lsn == START
        await again.prepare([USERS, PAIRS, LOG])
        await again.write(whole)
        assert rows(path, USERS, PAIRS, LOG) == EXPECTED, f"stopped at change {stop}"
        checkpoint = await again.read_checkpoint()
        assert checkpoint is not None
        assert checkpoint.lsn == 200


async def test_an_open_transaction_is_kept_open_by_checkpoints_below_it(make: Make, tmp_path: Path) -> None:
    target = await begin(make(), USERS)
    target.limits = Limits(1, 1_000_000)
    first, second = SOURCE.insert(USERS, "1", "a", "x"), SOURCE.insert(USERS, "2", "b", "x")
    poison = Insert(SOURCE.relation(USERS), row("none", None, None), second.lsn)
    with pytest.raises(TargetRefused):
        await target.write(batch(START, 200, first, poison))
    path = tmp_path / "replica"
    stored = "SELECT lsn, open_commit_lsn, last_change_lsn FROM _walsync_checkpoint"
    assert execute(path, stored) == [("0/64", "0/C0", str(LSN(first.lsn)))]
    found = await target.read_checkpoint()
    assert found is not None
    assert found.begun == LSN.parse("0/C1")
    execute(path, "DELETE FROM users")
    await target.claim(writer())
    await target.write(Batch(LSN(START), LSN(150), []))
    assert execute(path, stored) == [("0/96", "0/C0", str(LSN(first.lsn)))]
    await target.write(batch(150, 200, first, second))
    assert rows(path, USERS) == [[(2, "b", "x")]]
    assert execute(path, stored) == [("0/C8", None, None)]


async def test_three_regions_share_one_encoding(make: Make, tmp_path: Path) -> None:
    encoder = Encoder()
    targets = [await begin(make(name, encoder=encoder), USERS) for name in ("weur", "enam", "apac")]
    for number in range(5):
        inserts = [SOURCE.insert(USERS, str(number * 1000 + i), "n", "b") for i in range(1000)]
        written = batch(START + number, START + number + 1, *inserts)
        await asyncio.gather(*(target.write(written) for target in targets))
    assert encoder.encoded == 5
    assert not encoder._entries
    assert len({tuple(rows(tmp_path / target.name, USERS)[0]) for target in targets}) == 1


async def test_a_region_that_ends_leaves_no_encoding_behind(make: Make, tmp_path: Path) -> None:
    encoder = Encoder()
    first = await begin(make("first", encoder=encoder), USERS)
    settings = D1Settings(name="second", type="d1", url=f"sqlite://{tmp_path}/second")
    second = await begin(D1Target(settings, SLOT, encoder=encoder), USERS)
    written = batch(START, 200, SOURCE.insert(USERS, "1", "n", "b"))
    await first.write(written)
    await second.close()
    assert not encoder._entries
    await first.write(batch(200, 300, SOURCE.insert(USERS, "2", "n", "b")))
    assert (encoder.encoded, len(encoder._entries)) == (2, 0)


async def test_an_unchanged_row_costs_nothing_and_a_sign_is_a_change(make: Make, tmp_path: Path) -> None:
    table = make_table("t", [("id", "integer"), ("f", "double precision"), ("t", "text")], relid=17000)
    source = Source([table])
    target = await begin(make(), table)
    path = tmp_path / "replica"
    await target.write(batch(START, 200, source.insert(table, "1", "7", "x"), source.insert(table, "2", "NaN", "x")))
    execute(path, "CREATE TABLE touched (id)")
    execute(path, "CREATE TRIGGER touch AFTER UPDATE ON t BEGIN INSERT INTO touched VALUES (old.id); END")
    await target.write(
        batch(200, 300, source.insert(table, "1", "7", "x"), source.update(table, "2", "NaN", UNCHANGED))
    )
    assert execute(path, "SELECT * FROM touched") == []
    await target.write(batch(300, 350, source.update(table, "1", "0", UNCHANGED)))
    await target.write(batch(350, 400, source.update(table, "1", "-0", UNCHANGED)))
    assert execute(path, "SELECT f FROM t WHERE id = 1")[0][0].hex() == "-0x0.0p+0"
    await target.write(batch(400, 500, source.insert(table, "1", "0", "x")))
    assert execute(path, "SELECT f FROM t WHERE id = 1")[0][0].hex() == "0x0.0p+0"


async def test_a_hundred_columns_of_doubles_fit_into_a_statement(make: Make, tmp_path: Path) -> None:
    names = [("id", "integer"), *((f"a column called {number}", "double precision") for number in range(99))]
    table = make_table("wide", names, relid=17001)
    source = Source([table])
    target = await begin(make(), table)
    values = [f"{number}.5e+300" for number in range(1, 99)]
    await target.write(batch(START, 200, source.insert(table, "1", *values, "1")))
    await target.write(batch(200, 300, source.update(table, "1", *values[::-1], UNCHANGED)))
    await target.write(batch(300, 400, source.update(table, "2", *values, UNCHANGED, old=["1"])))
    assert execute(tmp_path / "replica", "SELECT * FROM wide") == [(2, *map(float, values), 1.0)]


async def test_columns_may_be_called_as_our_statements_call_theirs(make: Make, tmp_path: Path) -> None:
    names = ["value", "key", "j", "s", "t", "c0", "rowid", "row", "excluded"]
    keyed = make_table("j", [(name, "text") for name in names], ("value", "key"), relid=17002)
    keyless = make_table("t", [(name, "text") for name in names], (), relid=17003)
    source = Source([keyed, keyless])
    target = await begin(make(), keyed, keyless)
    await target.write(batch(START, 200, *(source.insert(table, *names) for table in (keyed, keyless))))
    changed = [*names[:8], "new"]
    await target.write(
        batch(
            200,
            300,
            source.update(keyed, *names[:7], UNCHANGED, "new"),
            source.update(keyless, *changed, old=names),
            source.insert(keyless, *changed),
            source.delete(keyless, *changed),
        )
    )
    assert rows(tmp_path / "replica", keyed, keyless) == [[tuple(changed)], [tuple(changed)]]
    await target.write(batch(300, 400, source.delete(keyed, "value", "key")))
    assert rows(tmp_path / "replica", keyed) == [[]]


async def test_deleting_by_a_key_of_several_types_uses_the_whole_index(make: Make, tmp_path: Path) -> None:
    for kinds in (["integer", "text"], ["text", "integer"], ["integer", "bytea"], ["double precision", "integer"]):
        target = make("-".join(kinds).replace(" ", "_"))
        table = make_table("t", [("a", kinds[0]), ("b", kinds[1])], ("a", "b"))
        await begin(target, table)
        plan = target._plans.table(table)
        with closing(sqlite3.connect(tmp_path / target.name)) as connection:
            connection.create_function("unhex", 1, bytes.fromhex, deterministic=True)
            found = connection.execute(f"EXPLAIN QUERY PLAN {plan.sql.delete}", ("[]",)).fetchall()
        assert any("(a=? AND b=?)" in line[3] for line in found), kinds


DIFFERENT = [
    ("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT) STRICT", "WS4203", 'ADD COLUMN "body" TEXT'),
    ("CREATE TABLE users (id INTEGER PRIMARY KEY, name BLOB, body TEXT) STRICT", "WS4204", "DROP TABLE"),
    (
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, body TEXT, own TEXT NOT NULL) STRICT",
        "WS4205",
        'DROP COLUMN "own"',
    ),
    ("CREATE TABLE users (id INTEGER, name TEXT PRIMARY KEY, body TEXT) STRICT", "WS4206", "DROP TABLE"),
    ("CREATE TABLE users (id INTEGER, name TEXT, body TEXT) STRICT", "WS4206", "DROP TABLE"),
    ("CREATE VIEW users AS SELECT 1 AS id", "WS4212", "rename"),
    ("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, body TEXT AS (name)) STRICT", "WS4213", "DROP TABLE"),
    ("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, body TEXT)", "WS4504", "DROP TABLE"),
    ("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE, body TEXT) STRICT", "WS4505", "DROP INDEX"),
    (
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT REFERENCES other (x), body TEXT) STRICT",
        "WS4505",
        "DROP TABLE",
    ),
]


@pytest.mark.parametrize(("existing", "code", "hint"), DIFFERENT, ids=[f"{one[1]}-{one[0][-30:]}" for one in DIFFERENT])
async def test_a_table_that_would_not_hold_the_rows_is_refused_with_what_mends_it(
    make: Make, tmp_path: Path, existing: str, code: str, hint: str
) -> None:
    path = tmp_path / "replica"
    execute(path, existing)
    table, target = USERS, make()
    assert [(one.code, hint in one.hint) for one in await target.compare([table])] == [(code, True)]
    await target.register(TARGET_ID, writer(), LSN(START))
    with pytest.raises(TargetRefused) as refused:
        await target.prepare([table])
    assert (refused.value.code, hint in refused.value.hint) == (code, True)


async def test_what_d1_cannot_hold_is_refused_at_start(make: Make) -> None:
    wide = make_table("wide", [("id", "integer"), *((f"c{number}", "text") for number in range(100))])
    cases = make_table("cases", [("id", "integer"), ("Name", "text"), ("NAME", "text")])
    reserved = [make_table(name, [("id", "integer")]) for name in ("_CF_users", "_walsync_kept")]
    found = await make().compare([wide, cases, *reserved])
    assert [one.code for one in found] == ["WS4501", "WS4503", "WS4502", "WS4502"]


async def test_a_table_with_more_columns_and_indexes_keeps_them_through_a_snapshot(make: Make, tmp_path: Path) -> None:
    path, table = tmp_path / "replica", USERS
    execute(path, "CREATE TABLE users (own TEXT DEFAULT 'mine', Id INTEGER PRIMARY KEY, name ANY, body TEXT) STRICT")
    execute(path, "CREATE INDEX by_name ON users (name)")
    execute(path, "CREATE VIEW names AS SELECT name FROM users")
    target = await begin(make(), table)
    assert await target.copy(table, state(table), lines(b"1\tann\t\\N\n2\tbob\tx\n")) == 2
    assert execute(path, "SELECT * FROM users") == [("mine", 1, "ann", None), ("mine", 2, "bob", "x")]
    assert execute(path, "SELECT * FROM names") == [("ann",), ("bob",)]
    assert execute(path, "SELECT count(*) FROM sqlite_master WHERE name = 'by_name'") == [(1,)]


async def test_a_snapshot_takes_the_place_of_the_table_and_sweeps_up_after_one_that_died(
    make: Make, tmp_path: Path
) -> None:
    path, table = tmp_path / "replica", PAIRS
    target = await begin(make(), table)
    made = execute(path, "SELECT sql FROM sqlite_master WHERE name = 'pairs'")
    assert made == [
        ('CREATE TABLE "pairs" ("a" INTEGER, "b" TEXT, "v" TEXT, PRIMARY KEY ("a", "b")) STRICT, WITHOUT ROWID',)
    ]
    execute(path, "CREATE TABLE _walsync_new_pairs (left_behind TEXT)")
    assert await target.copy(table, state(table), lines(b"1\ta\t{}\n", b"2\tb\t[]\n")) == 2
    assert rows(path, table) == [[(1, "a", "{}"), (2, "b", "[]")]]
    assert execute(path, "SELECT sql FROM sqlite_master WHERE name = 'pairs'") == made
    assert execute(path, "SELECT count(*) FROM sqlite_master WHERE name GLOB '_walsync_new_*'") == [(0,)]


async def test_a_table_that_was_dropped_is_made_and_copied_again(make: Make, tmp_path: Path) -> None:
    table = USERS
    target = await begin(make(), table)
    await target.copy(table, state(table), lines(b"1\ta\tb\n"))
    execute(tmp_path / "replica", "DROP TABLE users")
    await target.prepare([table])
    assert await target.table_states() == {}
    await target.copy(table, state(table), lines())
    execute(tmp_path / "replica", "ALTER TABLE users DROP COLUMN body")
    with pytest.raises(TargetRefused):
        await target.prepare([table])
    assert await target.table_states() == {}


async def test_a_deleted_file_is_noticed(make: Make, tmp_path: Path) -> None:
    target = await begin(make(), USERS)
    (tmp_path / "replica").unlink()
    with pytest.raises(TargetUnavailable):
        await target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a", "b")))
    with pytest.raises(TargetRefused) as refused:
        await target.claim(writer())
    assert refused.value.code == "WS4002"
    with pytest.raises(sqlite3.OperationalError):
        execute(tmp_path / "replica", "SELECT * FROM users")


async def test_a_file_that_is_no_database_and_a_folder_that_is_absent_are_told_apart(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("not a database" * 100)
    with pytest.raises(TargetRefused) as refused:
        await make(path=tmp_path / "text").read_checkpoint()
    assert refused.value.code == "WS4506"
    absent = make(path=tmp_path / "absent" / "file")
    for call in (absent.read_checkpoint, lambda: begin(absent)):
        with pytest.raises(TargetUnavailable) as unavailable:
            await call()
        assert unavailable.value.code == "WS4101"


async def test_another_process_that_writes_makes_the_target_wait_not_fail(make: Make, tmp_path: Path) -> None:
    target = await begin(make(), USERS)
    with closing(sqlite3.connect(tmp_path / "replica", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a", "b"))))
        client = target._client
        assert isinstance(client, EmbeddedClient)
        await eventually_async(lambda: client.waits_for_lock, 30, "the target to wait")
        other.execute("COMMIT")
        await writing
    assert rows(tmp_path / "replica", USERS) == [[(1, "a", "b")]]


async def test_a_keyless_row_that_is_not_there_is_refused_without_its_values(make: Make) -> None:
    target = await begin(make(), LOG)
    with pytest.raises(TargetRefused) as refused:
        await target.write(batch(START, 200, SOURCE.insert(LOG, "1", "a"), SOURCE.delete(LOG, "2", "secret")))
    assert refused.value.code == "WS4304"
    assert "secret" not in str(refused.value)


async def test_a_copy_of_another_run_is_fenced_off_between_its_requests(make: Make) -> None:
    target = await begin(make(), USERS)

    async def taken_over() -> AsyncIterator[bytes]:
        yield b"1\ta\tb\n"
        await make("replica").claim(writer(epoch=11))

    with pytest.raises(Fenced):
        await target.copy(USERS, state(USERS), taken_over())


def state(table: Table) -> TableState:
    return TableState(table.relid, "walsync", table.definition, LSN(START))


async def lines(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
