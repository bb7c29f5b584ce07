"""What is SurrealDB's own: the engine's directory and lock, slices, names and ids, tables that the user has defined."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from conformance.bench import START
from conformance.bench_surrealdb import SurrealDBBench
from conformance.stream import SLOT, TARGET_ID, Source, batch, make_table, transaction, writer
from pydantic import ValidationError

from walsync.errors import TargetRefused, TargetUnavailable
from walsync.lsn import LSN
from walsync.source.table import Table
from walsync.target.base import Batch, TableState
from walsync.target.surrealdb.schema import most_rows
from walsync.target.surrealdb.settings import SurrealDBSettings
from walsync.target.surrealdb.target import SurrealDBTarget
from walsync.transaction.change import Change

USERS = make_table("users", [("id", "integer"), ("name", "text")])
LOG = make_table("log", [("line", "text"), ("body", "text")], (), relid=16386)
SOURCE = Source([USERS, LOG])


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[SurrealDBBench]:
    async with SurrealDBBench(f"surrealkv://{tmp_path}/graph") as made:
        yield made


def settings(url: str, name: str = "graph") -> SurrealDBSettings:
    return SurrealDBSettings(name=name, type="surrealdb", url=url, namespace="app", database="app")


async def opened(target: SurrealDBTarget, *tables: Table) -> SurrealDBTarget:
    await target.register(TARGET_ID, writer(), LSN(START))
    await target.claim(writer())
    await target.prepare(tables)
    return target


async def lines(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def large_transaction() -> Sequence[Change]:
    """Make changes for four requests; a row of LOG that comes twice stays twice."""
    changes: list[Change] = [SOURCE.insert(USERS, str(number), "first") for number in range(1_300)]
    changes += [SOURCE.insert(LOG, str(number), "x") for number in range(800)]
    changes += [SOURCE.update(USERS, str(number + 5_000), "moved", old=[str(number)]) for number in range(600)]
    changes += [SOURCE.delete(LOG, str(number), "x") for number in range(0, 800, 2)]
    changes += [SOURCE.update(LOG, str(number), "y", old=[str(number), "x"]) for number in range(1, 800, 2)]
    return changes


@pytest.mark.parametrize("requests", range(5))
async def test_a_large_transaction_goes_on_after_a_crash_between_any_two_requests(
    bench: SurrealDBBench, requests: int
) -> None:
    changes = large_transaction()
    assert len(changes) > 3 * most_rows([USERS, LOG])
    small = transaction(150, SOURCE.insert(USERS, "9999", "before"))
    whole = [small, transaction(9_000, *changes), transaction(9_100, SOURCE.delete(USERS, "9999"))]
    first = await opened(bench.target(), USERS, LOG)
    bench.writes_left = requests
    with pytest.raises(TargetUnavailable):
        await first.write(Batch(LSN(START), LSN(9_100), whole))
    bench.writes_left = None

    second = bench.target()
    reached = (await second.claim(writer(epoch=11))).lsn
    assert reached == (START if requests == 0 else 150)
    await second.prepare([USERS, LOG])
    await second.write(Batch(reached, LSN(9_100), [one for one in whole if one.commit_lsn >= reached]))
    moved = {(str(number + 5_000), "moved") for number in range(600)}
    assert set(bench.rows(USERS)) == moved | {(str(number), "first") for number in range(600, 1_300)}
    assert bench.rows(LOG) == sorted((str(number), "y") for number in range(1, 800, 2))
    assert (await second.claim(writer(epoch=11))).lsn == 9_100


async def test_a_crash_inside_a_transaction_shows_the_checkpoint_of_the_one_before(bench: SurrealDBBench) -> None:
    first = await opened(bench.target(), USERS, LOG)
    bench.writes_left = 2
    with pytest.raises(TargetUnavailable):
        await first.write(Batch(LSN(START), LSN(9_000), [transaction(9_000, *large_transaction())]))
    (stored,) = bench.execute("SELECT * FROM _walsync WHERE kind = 'checkpoint'")[0]["result"]
    assert (stored["lsn"], stored["open_commit_lsn"]) == (START, 9_000 - 8)
    found = await bench.target().read_checkpoint()
    assert found is not None
    assert found.begun == 9_000 - 7
    assert stored["last_change_lsn"] > 0


async def test_a_directory_is_held_by_one_target_and_given_back(tmp_path: Path) -> None:
    url = f"surrealkv://{tmp_path}/graph"
    first = await opened(SurrealDBTarget(settings(url), SLOT), USERS)
    second = SurrealDBTarget(settings(url, "other"), SLOT)
    with pytest.raises(TargetUnavailable, match=r"graph\.lock") as unavailable:
        await second.read_checkpoint()
    assert unavailable.value.code == "WS4601"
    await first.close()
    assert await second.read_checkpoint() is None
    await second.close()


async def test_what_was_written_is_there_when_the_directory_is_opened_again(tmp_path: Path) -> None:
    url = f"surrealkv://{tmp_path}/graph"
    first = await opened(SurrealDBTarget(settings(url), SLOT), USERS)
    await first.write(batch(START, 200, SOURCE.insert(USERS, "1", "a")))
    await first.close()
    second = SurrealDBTarget(settings(url), SLOT)
    with pytest.raises(TargetUnavailable) as unavailable:
        await second.write(batch(200, 300))
    assert unavailable.value.code == "WS4103"
    assert (await second.claim(writer(epoch=11))).lsn == 200
    await second.close()


async def test_looking_at_a_directory_that_is_not_there_makes_none(tmp_path: Path) -> None:
    target = SurrealDBTarget(settings(f"surrealkv://{tmp_path}/graph"), SLOT)
    assert await target.read_checkpoint() is None
    assert await target.table_states() == {}
    assert await target.compare([USERS]) == []
    with pytest.raises(TargetRefused):
        await target.claim(writer())
    await target.forget()
    await target.close()
    assert await asyncio.to_thread(os.listdir, tmp_path) == []


async def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    target = SurrealDBTarget(settings(f"surrealkv://{tmp_path}/file/graph"), SLOT)
    with pytest.raises(TargetUnavailable) as unavailable:
        await target.register(TARGET_ID, writer(), LSN(START))
    assert unavailable.value.code == "WS4603"


async def test_without_the_engine_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "surrealdb._surrealdb_ext", None)
    with pytest.raises(TargetRefused) as refused:
        await SurrealDBTarget(settings("mem://"), SLOT).read_checkpoint()
    assert (refused.value.code, refused.value.hint) == ("WS4602", "pip install 'walsync[surrealkv]'")


async def test_a_database_in_memory_works_while_it_is_open() -> None:
    bench = SurrealDBBench("mem://")
    target = await opened(bench.target(), USERS)
    await target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a")))
    assert bench.rows(USERS) == [("1", "a")]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ws://localhost:8000", "WS1026"),
        ("https://localhost/rpc", "WS1026"),
        ("wss://root:secret@localhost/rpc", "WS1026"),
        ("ws://localhost:99999/rpc", "WS1026"),
        ("surrealkv://relative/path", "WS1026"),
        ("surrealkv:///", "WS1026"),
        ("surrealkv:///a?sync=never", "WS1026"),
        ("mem://x", "WS1026"),
        ("/a/path", "WS1026"),
    ],
)
def test_other_addresses_are_refused(url: str, code: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(url)
    assert refused.value.errors()[0]["ctx"]["code"] == code


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"username": "u"},
        {"access": "a"},
        {"credentials": {"pass": "p"}},
        {"username": "u", "password": "p", "access": "a", "credentials": {"pass": "p"}},
        {"url": "mem://", "username": "u", "password": "p"},
        {"url": "mem://", "access": "a", "credentials": {"pass": "p"}},
    ],
)
def test_a_server_has_one_user_and_the_engine_inside_has_none(keys: dict[str, object]) -> None:
    whole = {"name": "graph", "type": "surrealdb", "url": "wss://host/rpc", "namespace": "a", "database": "b", **keys}
    with pytest.raises(ValidationError) as refused:
        SurrealDBSettings.model_validate(whole)
    assert refused.value.errors()[0]["ctx"]["code"] == "WS1050"


def test_secrets_are_masked() -> None:
    keys = {"name": "graph", "type": "surrealdb", "url": "wss://host/rpc", "namespace": "a", "database": "b"}
    user = SurrealDBSettings.model_validate({**keys, "username": "u", "password": "hunter2"})
    record = SurrealDBSettings.model_validate({**keys, "access": "a", "credentials": {"pass": "hunter2"}})
    for settings in (user, record):
        assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump(mode='json')}"


async def test_the_key_is_the_record_id_and_columns_keep_their_names(bench: SurrealDBBench) -> None:
    odd = make_table("odd`\\.t", [("key", "text"), ("id", "text"), ("a.b/c~", "numeric")], ("key",), relid=17001)
    source = Source([USERS, odd])
    target = await opened(bench.target(), USERS, odd)
    await target.write(batch(START, 200, source.insert(USERS, "7", "a"), source.insert(odd, "k", "own", "1.10")))
    (user,) = bench.execute("SELECT * FROM `public.users`")[0]["result"]
    assert (user["id"].value, user["name"], "id_" in user) == (("public.users", 7), "a", False)
    (one,) = bench.execute("SELECT * FROM `public.odd\\`\\\\.t`")[0]["result"]
    assert (one["id"].value[1], one["key"], one["id_"], one["a.b/c~"].value) == ("k", "k", "own", "1.10")


async def test_two_columns_for_one_field_are_refused(bench: SurrealDBBench) -> None:
    table = make_table("t", [("key", "text"), ("id", "text"), ("id_", "text")], ("key",))
    with pytest.raises(TargetRefused) as refused:
        await opened(bench.target(), table)
    assert refused.value.code == "WS4605"


async def test_a_column_beside_an_id_that_is_only_the_record_may_be_called_so(bench: SurrealDBBench) -> None:
    table = make_table("t", [("id", "integer"), ("id_", "text")])
    target = await opened(bench.target(), table)
    await target.write(batch(START, 200, Source([table]).insert(table, "1", "x")))
    assert bench.execute("SELECT VALUE id_ FROM `public.t`")[0]["result"] == ["x"]


@pytest.mark.parametrize(
    ("definition", "code"),
    [
        ("DEFINE TABLE OVERWRITE `public.users` SCHEMAFULL", "WS4606"),
        ("DEFINE TABLE OVERWRITE `public.users` DROP", "WS4607"),
        ("DEFINE TABLE OVERWRITE `public.users` TYPE RELATION", "WS4607"),
        ("DEFINE TABLE OVERWRITE `public.users` AS SELECT * FROM _walsync", "WS4607"),
    ],
)
async def test_a_table_that_would_not_keep_rows_is_refused(bench: SurrealDBBench, definition: str, code: str) -> None:
    target = await opened(bench.target())
    bench.execute(definition)
    with pytest.raises(TargetRefused) as refused:
        await target.prepare([USERS])
    assert refused.value.code == code
    assert [finding.code for finding in await target.compare([USERS])] == [code]


async def test_the_message_of_a_refused_row_names_the_field_and_no_value(bench: SurrealDBBench) -> None:
    target = await opened(bench.target(), USERS)
    for definition, code in (
        ("DEFINE FIELD name ON `public.users` ASSERT $value != 'hidden'", "WS4312"),
        (
            "DEFINE FIELD OVERWRITE name ON `public.users`; DEFINE INDEX n ON `public.users` FIELDS name UNIQUE",
            "WS4311",
        ),
        ("REMOVE INDEX n ON `public.users`; DEFINE EVENT e ON `public.users` THEN { THROW 'hidden' }", "WS4313"),
    ):
        bench.execute(definition)
        rows = [SOURCE.insert(USERS, str(number), "hidden") for number in (1, 2)]
        with pytest.raises(TargetRefused, match=r"public\.users \(id=\d\)") as refused:
            await target.write(batch(START, 200, *rows))
        assert refused.value.code == code
        assert "hidden" not in str(refused.value)
    assert bench.rows(USERS) == []


async def test_a_snapshot_of_many_chunks_takes_the_place_of_the_old_rows(bench: SurrealDBBench) -> None:
    target = await opened(bench.target(), USERS, LOG)
    text = [b"".join(b"%d\tname\n" % number for number in range(first, first + 500)) for first in range(0, 2_500, 500)]
    for table in (USERS, LOG):
        state = TableState(table.relid, "walsync", table.definition, LSN(START))
        for _ in range(2):
            assert await target.copy(table, state, lines(*text)) == 2_500
            assert len(bench.rows(table)) == 2_500
    assert set(await target.table_states()) == {"public.users", "public.log"}
    await target.write(batch(START, 200, SOURCE.delete(LOG, "7", "name"), SOURCE.delete(USERS, "7")))
    assert len(bench.rows(LOG)) == len(bench.rows(USERS)) == 2_499
    with pytest.raises(TargetRefused) as refused:
        await target.write(batch(200, 300, SOURCE.delete(LOG, "7", "name")))
    assert refused.value.code == "WS4304"


async def test_a_line_with_too_few_values_is_refused(bench: SurrealDBBench) -> None:
    target = await opened(bench.target(), USERS)
    state = TableState(USERS.relid, "walsync", USERS.definition, LSN(START))
    with pytest.raises(TargetRefused) as refused:
        await target.copy(USERS, state, lines(b"1\n"))
    assert refused.value.code == "WS4402"
