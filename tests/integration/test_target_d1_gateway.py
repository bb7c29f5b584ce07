"""D1 behind the gateway Worker on workerd: what each failure of the way there means, and what it leaves behind."""

import asyncio
import io
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog
from aiohttp import web
from conformance.stream import SLOT, TARGET_ID, Source, batch, writer
from conformance.test_beside import lines
from fix_http_front import HttpFront
from fix_walsync import eventually_async
from fix_workerd import DATABASES, PREVIOUS_SECRET, SECRET, Workerd
from integration.test_target_d1 import LOG, PAIRS, USERS, large_transaction, make_table

from walsync import logs
from walsync.errors import TargetRefused, TargetUnavailable
from walsync.lsn import LSN
from walsync.settings import Secret
from walsync.source.table import Table
from walsync.target.d1.encoder import Encoder
from walsync.target.d1.gateway import GatewayClient
from walsync.target.d1.settings import D1Settings
from walsync.target.d1.target import D1Target
from walsync.target.slices import Limits

SOURCE = Source([USERS, PAIRS, LOG])
START = 100
UNTRUSTED = Path(__file__).parents[1] / "workerd" / "untrusted.pem"

Make = Callable[..., D1Target]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as entered:
        yield entered


@pytest.fixture
async def front(workerd: Workerd, stack: AsyncExitStack) -> HttpFront:
    return await stack.enter_async_context(HttpFront(workerd.url))


@pytest.fixture
def make(front: HttpFront, d1_database: str, stack: AsyncExitStack) -> Make:
    """Make targets of one database, which tests reach through the front."""

    def new(name: str = "weur", *, encoder: Encoder | None = None, **changed: Any) -> D1Target:
        keys = {"url": front.url, "database": d1_database, "secret": Secret(SECRET), **changed}
        target = D1Target(D1Settings(name=name, type="d1", **keys), SLOT, encoder=encoder or Encoder())
        stack.push_async_callback(target.close)
        return target

    return new


async def begin(target: D1Target, *tables: Table) -> D1Target:
    await target.register(TARGET_ID if target.name == "weur" else uuid4(), writer(), LSN(START))
    await target.prepare(tables)
    return target


async def code_of(target: D1Target) -> tuple[str, type[Exception], str]:
    with pytest.raises((TargetRefused, TargetUnavailable)) as found:
        await target.read_checkpoint()
    assert SECRET not in f"{found.value} {found.value!r} {found.value.hint}"
    return found.value.code, type(found.value), f"{found.value.message} {found.value.hint}"


async def test_a_gateway_that_is_not_there_is_unavailable(make: Make) -> None:
    for url in ("http://127.0.0.1:1", "http://gateway.invalid"):
        code, kind, text = await code_of(make(url=url))
        assert (code, kind) == ("WS4101", TargetUnavailable)
        assert "cannot connect" in text


async def test_a_certificate_that_nobody_vouches_for_is_not_accepted(make: Make) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(UNTRUSTED)
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        code, kind, text = await code_of(make(url=f"https://127.0.0.1:{runner.addresses[0][1]}"))
    finally:
        await runner.cleanup()
    assert (code, kind) == ("WS4101", TargetUnavailable)
    assert "certificate" in text


async def test_another_secret_is_refused_and_the_previous_one_is_taken(make: Make) -> None:
    assert await make(secret=Secret(PREVIOUS_SECRET)).read_checkpoint() is None
    code, kind, text = await code_of(make(secret=Secret("of somebody else")))
    assert (code, kind) == ("WS4510", TargetRefused)
    assert "wrangler secret put" in text
    assert "of somebody else" not in text


async def test_a_binding_that_is_missing_is_named_with_those_that_are_there(make: Make) -> None:
    code, kind, text = await code_of(make(database="DB_MARS"))
    assert (code, kind) == ("WS4512", TargetRefused)
    assert "DB_MARS" in text
    assert all(name in text for name in DATABASES)


async def test_another_version_of_the_worker_is_refused(make: Make, front: HttpFront) -> None:
    front.answer(200, {"service": "walsync-d1-gateway", "version": 2, "time": int(time.time())})
    code, kind, text = await code_of(make())
    assert (code, kind) == ("WS4509", TargetRefused)
    assert "version 2" in text


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(404, "WS4508", TargetRefused), (503, "WS4102", TargetUnavailable)]
)
async def test_something_else_that_answers_is_told_apart_from_a_gateway_in_trouble(
    make: Make, front: HttpFront, status: int, code: str, kind: type[Exception]
) -> None:
    front.answer(status, {"message": "there is nothing here yet"})
    assert (await code_of(make()))[:2] == (code, kind)


@pytest.mark.parametrize("ahead_seconds", [-3600, 3600])
async def test_a_clock_that_is_wrong_is_named_and_waited_for(
    workerd: Workerd, d1_database: str, ahead_seconds: int
) -> None:
    def clock() -> float:
        return time.time() + ahead_seconds

    client = GatewayClient(workerd.url, d1_database, Secret(SECRET), "target weur", clock=clock)
    with pytest.raises(TargetUnavailable) as found:
        await client.checkpoint(SLOT, "weur")
    assert found.value.code == "WS4511"
    assert f"the clock here is {'+' if ahead_seconds > 0 else '-'}3" in found.value.message
    client._greeted = True  # the clock went wrong later
    with pytest.raises(TargetUnavailable) as found:
        await client.checkpoint(SLOT, "weur")
    assert found.value.code == "WS4511"
    await client.close()


async def test_trouble_inside_d1_is_tried_again_and_a_refusal_is_not(make: Make, front: HttpFront) -> None:
    target = await begin(make(), USERS)
    busy = {"error": {"kind": "retry", "message": "D1_ERROR: D1 DB is overloaded. Requests queued for too long."}}
    front.answer(503, busy, lambda path, _: path.endswith("/apply"))
    with pytest.raises(TargetUnavailable) as unavailable:
        await target.write(batch(START, 200))
    assert (unavailable.value.code, "overloaded" in unavailable.value.message) == ("WS4102", True)
    await target.claim(writer())
    front.answer(502, "<html>bad gateway</html>", lambda path, _: path.endswith("/apply"))
    with pytest.raises(TargetUnavailable) as unavailable:
        await target.write(batch(START, 200))
    assert unavailable.value.code == "WS4102"


@pytest.mark.parametrize("lost", ["before", "after"])
async def test_an_answer_that_is_lost_changes_nothing_or_everything_and_the_checkpoint_tells(
    make: Make, front: HttpFront, workerd: Workerd, d1_database: str, lost: str
) -> None:
    target = await begin(make(), USERS, LOG)
    cut = front.cut_before if lost == "before" else front.cut_after
    cut(lambda _, body: b"json_each" in body)
    written = batch(START, 200, SOURCE.insert(USERS, "1", "a", "b"), SOURCE.insert(LOG, "1", "once"))
    with pytest.raises(TargetUnavailable) as unavailable:
        await target.write(written)
    assert unavailable.value.code == "WS4102"
    checkpoint = await target.claim(writer())
    assert checkpoint.lsn == (START if lost == "before" else 200)
    if lost == "before":
        await target.write(written)
    assert workerd.plain(d1_database).execute("SELECT * FROM log") == [(1, "once")]


@pytest.mark.parametrize("size", [1, 3])
async def test_a_transaction_larger_than_a_request_goes_on_after_an_answer_is_lost_at_any_cut(
    make: Make, front: HttpFront, workerd: Workerd, d1_database: str, size: int
) -> None:
    plain, changes = workerd.plain(d1_database), large_transaction()
    for lost in range(len(changes) // size):
        plain.clear()
        target = await begin(make(), USERS, PAIRS, LOG)
        target.limits = Limits(size, 1_000_000)
        seen = 0

        def at_the_cut(_path: str, body: bytes, lost: int = lost) -> bool:
            nonlocal seen
            seen += b"UPDATE _walsync_checkpoint" in body
            return seen > lost

        (front.cut_after if lost % 2 else front.cut_before)(at_the_cut)
        with pytest.raises(TargetUnavailable):
            await target.write(batch(START, 200, *changes))
        checkpoint = await target.claim(writer())
        if checkpoint.lsn < 200:
            await target.write(batch(checkpoint.lsn, 200, *changes))
        assert sorted(plain.execute("SELECT * FROM users")) == [(1, "again", "body"), (9, "uno", "b1")]
        assert plain.execute("SELECT * FROM pairs") == [(2, "x", '{"a": {"c": 2}}')]
        assert plain.execute("SELECT * FROM log") == [(3, "new")]


async def test_regions_share_one_encoding_down_to_the_bytes_and_are_written_at_the_same_time(
    workerd: Workerd, front: HttpFront, make: Make
) -> None:
    encoder = Encoder()
    targets = []
    for name in DATABASES:
        workerd.plain(name).clear()
        targets.append(await begin(make(name.lower(), database=name, encoder=encoder), USERS))
    front.hold(lambda _, body: b"json_each" in body)
    written = batch(START, 200, *(SOURCE.insert(USERS, str(number), "n", "b") for number in range(1000)))
    writing = [asyncio.create_task(target.write(written)) for target in targets]
    await eventually_async(lambda: front.held == len(DATABASES), 30, "a request to each region, none answered")
    front.release()
    await asyncio.gather(*writing)
    assert encoder.encoded == 1
    counts = [workerd.plain(name).execute("SELECT count(*) FROM users") for name in DATABASES]
    assert counts == [[(1000,)]] * len(DATABASES)


@pytest.mark.parametrize(("name", "body"), [("n", "x" * 2_000_001), ("n" * 1_000_001, "x" * 1_000_001)])
@pytest.mark.parametrize("is_copied", [True, False])
async def test_a_row_that_d1_cannot_hold_is_refused_with_its_key(
    make: Make, *, name: str, body: str, is_copied: bool
) -> None:
    target = await begin(make(), USERS)
    rows = [("1", "n", "b"), ("2", name, body), ("3", "n", "b")]
    if is_copied:
        text = "".join("\t".join(row) + "\n" for row in rows)
        refusing: Awaitable[object] = target.stage(USERS, lines(text.encode()))
    else:
        refusing = target.write(batch(START, 200, *(SOURCE.insert(USERS, *row) for row in rows)))
    with pytest.raises(TargetRefused) as refused:
        await refusing
    assert refused.value.code == "WS4403"
    assert refused.value.message.startswith("public.users (id=2): ")


async def test_the_largest_rows_that_d1_holds_arrive(make: Make, workerd: Workerd, d1_database: str) -> None:
    target = await begin(make(), USERS)
    body = "\x01" * 333_000  # six bytes each as JSON
    await target.write(batch(START, 200, *(SOURCE.insert(USERS, str(number), "n", body) for number in range(12))))
    assert workerd.plain(d1_database).execute("SELECT count(*), sum(length(body)) FROM users") == [(12, 12 * 333_000)]


async def test_more_tables_than_a_request_has_statements_for_are_made_and_written(
    make: Make, workerd: Workerd, d1_database: str
) -> None:
    tables = [make_table(f"t{number}", [("id", "integer")], relid=20_000 + number) for number in range(1100)]
    source = Source(tables)
    target = await begin(make(), *tables)
    assert await target.compare(tables) == []
    await target.write(batch(START, 200, *(source.insert(table, "1") for table in tables)))
    plain = workerd.plain(d1_database)
    assert [plain.execute(f"SELECT id FROM t{number}") for number in (0, 549, 1099)] == [[(1,)]] * 3
    assert plain.execute("SELECT lsn, open_commit_lsn FROM _walsync_checkpoint") == [("0/C8", None)]


async def test_a_proxy_is_respected(make: Make, front: HttpFront, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", front.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    target = make(url="http://gateway.invalid")
    assert await target.read_checkpoint() is None
    assert len(front.requests) == 2


async def test_no_secret_reaches_errors_logs_or_settings(make: Make, front: HttpFront) -> None:
    out = io.StringIO()
    logs.configure("debug", stream=out, json=True)
    logging.getLogger().setLevel(logging.DEBUG)
    target = make()
    await target.read_checkpoint()
    front.cut_before()
    await code_of(target)
    await code_of(make(database="DB_MARS"))
    await code_of(make(secret=Secret("wrong " + SECRET)))
    structlog.get_logger().error("target", target=target, settings=make()._client)
    settings = D1Settings(name="x", type="d1", url="https://x.dev", database="DB_X", secret=Secret(SECRET))
    assert SECRET not in out.getvalue() + repr(settings) + settings.model_dump_json()
