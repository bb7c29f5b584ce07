"""A slot as an iterator of transactions, and the code of docs/library.md, on a real server."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fix_postgres import Database
from fix_replication import SECONDS
from fix_walsync import eventually_async

import walsync

DOCUMENT = Path(__file__).parents[2] / "docs" / "library.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
BEFORE = ("pypgoutput.", "psycopg2.connect")
"""What marks code of other packages, which is compiled and not run."""


@pytest.fixture
def published(source: Database) -> Database:
    """Return a source with a table, its publication, and a slot that has the database's name."""
    source.execute("CREATE TABLE users (id int PRIMARY KEY, name text, price numeric)")
    source.execute("CREATE PUBLICATION app FOR ALL TABLES")
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", source.name)
    return source


def stream(source: Database, **options: Any) -> walsync.TransactionStream:
    return walsync.stream(source.dsn, slot=source.name, publication="app", **options)


def ids(transaction: walsync.Transaction) -> list[str]:
    changes = [change for change in transaction.changes if isinstance(change, walsync.Insert)]
    return [str(walsync.as_dict(change.relation, change.new)["id"]) for change in changes]


def insert(source: Database, *numbers: int) -> None:
    for number in numbers:
        source.execute("INSERT INTO users VALUES (%s, 'name', 1.10)", number)


async def take(transactions: AsyncIterator[walsync.Transaction], count: int) -> list[walsync.Transaction]:
    """Take that many, and ask for no more."""
    return [await asyncio.wait_for(anext(transactions), SECONDS) for _ in range(count)]


async def first_after_all(source: Database) -> list[str]:
    """Tell which transaction a new loop begins with, once the server has noticed the end of the last one."""
    insert(source, 1000)
    await eventually_async(lambda: not is_active(source), SECONDS, "the slot to be free")
    async with stream(source) as again:
        [transaction] = await take(aiter(again), 1)
    return ids(transaction)


async def test_transactions_come_whole_and_in_order(published: Database) -> None:
    insert(published, 1)
    published.execute("BEGIN; INSERT INTO users VALUES (2), (3); UPDATE users SET name = NULL WHERE id = 1; COMMIT")
    async with stream(published) as reading:
        transactions = aiter(reading)
        first, second = await take(transactions, 2)
        insert(published, 4)
        [third] = await take(transactions, 1)
    assert [ids(one) for one in (first, second, third)] == [["1"], ["2", "3"], ["4"]]
    [update] = [change for change in second.changes if isinstance(change, walsync.Update)]
    assert walsync.as_dict(update.relation, update.new) == {"id": "1", "name": None, "price": "1.10"}
    assert first.commit_lsn < second.commit_lsn < third.commit_lsn


async def test_asking_for_the_next_one_acknowledges_and_leaving_does_not(published: Database) -> None:
    insert(published, 1, 2, 3)
    async with stream(published) as reading:
        await take(aiter(reading), 2)
    assert await first_after_all(published) == ["2"]


async def test_a_loop_that_is_left_by_break_frees_the_slot(published: Database) -> None:
    insert(published, 1, 2)
    async for transaction in stream(published):
        assert ids(transaction) == ["1"]
        break
    await eventually_async(lambda: not is_active(published), SECONDS, "the slot to be free")
    assert await first_after_all(published) == ["1"]


async def test_an_exception_in_the_body_leaves_its_transaction_unacknowledged(published: Database) -> None:
    class BodyError(Exception):
        pass

    async def work() -> None:
        async with stream(published) as reading:
            async for transaction in reading:
                if ids(transaction) == ["2"]:
                    raise BodyError

    insert(published, 1, 2)
    with pytest.raises(BodyError):
        await work()
    assert await first_after_all(published) == ["2"]


async def test_what_is_acknowledged_by_hand_covers_what_came_before(published: Database) -> None:
    insert(published, 1, 2, 3, 4)
    async with stream(published, acknowledge_automatically=False) as reading:
        found = await take(aiter(reading), 4)
        reading.acknowledge(found[2])
        reading.acknowledge(found[0])
    assert await first_after_all(published) == ["4"]


async def test_nothing_is_acknowledged_by_hand_unless_it_is_said(published: Database) -> None:
    insert(published, 1, 2)
    async with stream(published, acknowledge_automatically=False) as reading:
        await take(aiter(reading), 2)
    assert await first_after_all(published) == ["1"]


@contextlib.asynccontextmanager
async def waiting_after_one(
    published: Database,
) -> AsyncIterator[tuple[walsync.TransactionStream, walsync.Transaction, "asyncio.Task[walsync.Transaction]"]]:
    """Take one transaction without a word, and wait for the next while something else is committed."""
    insert(published, 1)
    async with stream(published, acknowledge_automatically=False) as reading:
        transactions = aiter(reading)
        [only] = await take(transactions, 1)
        waiting = asyncio.create_task(anext(transactions))
        published.execute("CREATE TABLE noise (id int)")
        yield reading, only, waiting


async def test_an_idle_slot_moves_on_once_everything_is_acknowledged(published: Database) -> None:
    async with waiting_after_one(published) as (reading, only, waiting):
        reading.acknowledge(only)
        end = published.execute("SELECT pg_current_wal_lsn()::text")[0][0]
        await eventually_async(lambda: confirmed(published) >= walsync.LSN.parse(end), SECONDS, "the slot to move")
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
            await waiting


async def test_an_idle_slot_waits_for_what_is_not_acknowledged(published: Database) -> None:
    async with waiting_after_one(published) as (reading, only, waiting):
        await eventually_async(lambda: reading._idle > only.end_lsn, SECONDS, "a keepalive to be read")
        insert(published, 2)
        assert ids(await waiting) == ["2"]
    assert await first_after_all(published) == ["1"]


async def test_a_slow_body_holds_the_reader_and_loses_nothing(published: Database) -> None:
    count = 300
    for number in range(count):
        published.execute("INSERT INTO users VALUES (%s, repeat('x', 1000))", number)
    found: list[str] = []
    async with stream(published, max_bytes=10_000) as reading:
        async for transaction in reading:
            found += ids(transaction)
            await asyncio.sleep(0)
            if len(found) == count:
                break
    assert found == [str(number) for number in range(count)]


async def test_messages_come_where_they_are_asked_for(published: Database) -> None:
    published.execute("SELECT pg_logical_emit_message(true, 'app', 'inside'), pg_logical_emit_message(false, 'b', 'c')")
    async with stream(published, messages=True) as reading:
        found = await take(aiter(reading), 2)
    assert sorted(message.content for one in found for message in one.messages) == [b"c", b"inside"]


async def test_a_slot_is_made_where_that_is_asked_for(published: Database) -> None:
    name = f"{published.name}_new"
    with pytest.raises(walsync.SourceRefused, match=name) as refused:
        await anext(aiter(walsync.stream(published.dsn, slot=name, publication="app")))
    assert "pg_create_logical_replication_slot" in refused.value.hint
    async with walsync.stream(published.dsn, slot=name, publication="app", create_slot=True) as reading:
        waiting = asyncio.create_task(take(aiter(reading), 1))
        await eventually_async(lambda: is_active(published, name), SECONDS, "the slot to be read")
        insert(published, 1)
        assert [ids(one) for one in await waiting] == [["1"]]


async def test_a_publication_that_is_not_there_is_named(published: Database) -> None:
    with pytest.raises(walsync.SourceRefused) as refused:
        await anext(aiter(walsync.stream(published.dsn, slot=published.name, publication="none")))
    assert refused.value.code == "WS2303"


async def test_a_lost_connection_is_said_and_the_next_loop_goes_on(published: Database) -> None:
    insert(published, 1, 2)
    reading = stream(published)
    transactions = aiter(reading)
    await take(transactions, 2)
    published.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL"
                      " AND slot_name = %s", published.name)  # fmt: skip
    with pytest.raises(walsync.SourceUnavailable):
        await take(transactions, 1)
    assert await first_after_all(published) in (["1"], ["2"])


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(walsync.SourceUnavailable):
        await anext(aiter(walsync.stream("host=127.0.0.1 port=1", slot="s", publication="p")))


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_code_of_the_document_is_python(number: int) -> None:
    compile(BLOCKS[number], f"{DOCUMENT.name} {number}", "exec")


def functions(source: Database) -> dict[str, Any]:
    """Take what the document's own code defines, for this source's slots."""
    defined: dict[str, Any] = {"__name__": "document"}
    for block in BLOCKS:
        if not any(word in block for word in BEFORE):
            code = re.sub(r'slot="\w+"', f'slot="{source.name}"', block)
            exec(compile(code, DOCUMENT.name, "exec"), defined)  # noqa: S102 - it is our own
    return defined


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("main", "public.users {'id': '1', 'name': 'name', 'price': '1.10'}"),
        ("follow", "I users None {'id': '1', 'name': 'name', 'price': '1.10'}"),
        ("consume", "I users"),
    ],
)
async def test_the_code_of_the_document_prints_changes(
    published: Database, capsys: pytest.CaptureFixture[str], name: str, printed: str
) -> None:
    insert(published, 1)
    output = ""

    def shown() -> bool:
        nonlocal output
        output += capsys.readouterr().out
        return printed in output

    running = asyncio.create_task(functions(published)[name](published.dsn))
    await eventually_async(lambda: shown() or running.done(), SECONDS, "the change to be printed")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_code_of_the_document_archives_and_acknowledges(published: Database) -> None:
    written: list[bytes] = []
    insert(published, 1, 2)
    running = asyncio.create_task(functions(published)["archive"](published.dsn, written.extend))
    await eventually_async(lambda: len(written) == 2, SECONDS, "both transactions")
    end = published.execute("SELECT pg_current_wal_lsn()::text")[0][0]
    await eventually_async(lambda: confirmed(published) >= walsync.LSN.parse(end), SECONDS, "the acknowledgement")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_the_code_of_the_document_reads_frames(published: Database) -> None:
    insert(published, 1)
    rows = published.execute(
        "SELECT lsn::text, data FROM pg_logical_slot_get_binary_changes(%s, NULL, NULL, 'proto_version', '1',"
        " 'publication_names', 'app')",
        published.name,
    )
    found = functions(published)["wal2json_objects"]([(walsync.LSN.parse(lsn), bytes(data)) for lsn, data in rows])
    assert [record["action"] for record in found] == ["B", "I", "C"]
    assert str(found[1]["columns"][2]["value"]) == "1.10"


def is_active(source: Database, name: str = "") -> bool:
    # While it is being created it is active, too, and does not have yet what commits.
    active = "SELECT active AND confirmed_flush_lsn IS NOT NULL FROM pg_replication_slots WHERE slot_name = %s"
    rows = source.execute(active, name or source.name)
    return bool(rows and rows[0][0])


def confirmed(source: Database) -> walsync.LSN:
    rows = source.execute(
        "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s", source.name
    )
    return walsync.LSN.parse(rows[0][0])
