"""A SurrealDB target and its connection: cut, silent, encrypted, through a proxy, to something else, too large."""

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import cbor2
import pytest
from aiohttp import web
from conformance.bench import START
from conformance.bench_surrealdb_server import ServerBench, target_of
from conformance.stream import TARGET_ID, Source, batch, make_table, writer
from fix_proxy import Proxy
from fix_surrealdb import FOLDER, PASSWORD, USER, SurrealServer
from fix_surrealdb_bench import USERS, opened
from fix_walsync import eventually_async, free_port

from walsync.errors import TargetRefused, TargetUnavailable
from walsync.lsn import LSN
from walsync.target.surrealdb.settings import SurrealDBSettings
from walsync.target.surrealdb.wire import MOST_REQUEST_BYTES

SOURCE = Source([USERS])
SECRET = "s3cret"
SECONDS = 30.0


def signal(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    loop.call_soon_threadsafe(event.set)


async def test_a_conflict_with_another_session_is_tried_again(surreal: ServerBench) -> None:
    async with target_of(surreal.settings()) as target:
        await opened(target)
        surreal.execute("DEFINE EVENT slow ON `public.users` THEN { sleep(2s) }")
        sent = asyncio.Event()
        surreal.proxy.on_bytes("to_server", b"", partial(signal, asyncio.get_running_loop(), sent))
        writing = asyncio.create_task(target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a"))))
        await asyncio.wait_for(sent.wait(), SECONDS)
        while not writing.done():  # until it meets the write, which holds the checkpoint for two seconds
            await asyncio.to_thread(surreal.execute, "UPDATE _walsync SET at = time::now() WHERE kind = 'checkpoint'")
        with pytest.raises(TargetUnavailable) as unavailable:
            await writing
        assert unavailable.value.code == "WS4106"
        surreal.execute("REMOVE EVENT slow ON `public.users`")
        assert (await target.claim(writer())).lsn == START
        await target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a")))
        assert surreal.rows(USERS) == [("1", "a")]


async def test_a_connection_cut_before_the_commit_has_taken_nothing(surreal: ServerBench) -> None:
    async with target_of(surreal.settings()) as target:
        await opened(target)
        surreal.proxy.on_bytes("to_server", b"", surreal.proxy.cut)
        with pytest.raises(TargetUnavailable) as unavailable:
            await target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a")))
        assert unavailable.value.code == "WS4102"
        assert (await target.claim(writer())).lsn == START
        assert surreal.rows(USERS) == []


async def test_a_connection_cut_after_the_commit_has_taken_all_and_the_checkpoint_tells(surreal: ServerBench) -> None:
    async with target_of(surreal.settings()) as target:
        await opened(target)
        surreal.proxy.hold("to_client")
        writing = asyncio.create_task(target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a"))))
        await eventually_async(lambda: surreal.rows(USERS), SECONDS, "the row to be there")
        surreal.proxy.resume()
        surreal.proxy.cut()
        await asyncio.wait([writing])
        if writing.exception() is not None:  # the answer may have slipped through
            assert isinstance(writing.exception(), TargetUnavailable)
        assert (await target.claim(writer())).lsn == 200
        assert surreal.rows(USERS) == [("1", "a")]
        await target.write(batch(200, 300))


async def test_a_server_that_is_silent_is_given_up(surreal: ServerBench) -> None:
    async with target_of(surreal.settings(request_timeout_seconds=5)) as target:
        await opened(target)
        surreal.proxy.hold()
        with pytest.raises(TargetUnavailable, match="5 s") as unavailable:
            await target.write(batch(START, 200))
        assert unavailable.value.code == "WS4102"
        surreal.proxy.cut()
        surreal.proxy.resume()
        await target.claim(writer())


async def test_a_server_that_is_down_is_unavailable_and_found_again(
    start_surrealdb: Callable[..., SurrealServer], new_proxy: Callable[[str, int], Proxy]
) -> None:
    server = start_surrealdb("3.0")
    surreal = ServerBench(server, new_proxy(server.host, server.port))
    async with target_of(surreal.settings(url=server.url)) as target:
        await opened(target)
        server.kill()
        with pytest.raises(TargetUnavailable):
            await target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a")))
        with pytest.raises(TargetUnavailable) as unavailable:
            await target.claim(writer())
        assert unavailable.value.code == "WS4101"
        server.start()
        assert (await target.claim(writer())).lsn == START


async def test_a_row_that_no_request_can_carry_is_refused_and_named(surreal: ServerBench) -> None:
    async with target_of(surreal.settings()) as target:
        await opened(target)
        large = "x" * (MOST_REQUEST_BYTES - 100)
        rows = [SOURCE.insert(USERS, "1", "a"), SOURCE.insert(USERS, "2", large)]
        with pytest.raises(TargetRefused, match=r"public\.users \(id=2\)") as refused:
            await target.write(batch(START, 200, *rows))
        assert refused.value.code == "WS4612"
        await target.write(batch(START, 200, SOURCE.insert(USERS, "2", large[:-10_000])))
        (length,) = surreal.execute("RETURN string::len(`public.users`:2.name)")
        assert length == len(large) - 10_000


async def test_a_table_of_many_long_names_goes_in_smaller_requests(surreal: ServerBench) -> None:
    names = [f"{'long' * 12}_{number:03}" for number in range(400)]
    wide = make_table("wide", [("id", "integer"), *((name, "integer") for name in names)], relid=17002)
    source = Source([wide])
    async with target_of(surreal.settings()) as target:
        await target.register(TARGET_ID, writer(), LSN(START))
        await target.claim(writer())
        await target.prepare([wide])
        rows = [source.insert(wide, str(number), *["1"] * len(names)) for number in range(900)]
        await target.write(batch(START, 200, *rows))
        assert surreal.execute("SELECT count() FROM `public.wide` GROUP ALL")[0][0]["count"] == 900


async def test_what_is_no_surrealdb_is_refused() -> None:
    async def rpc(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        return socket

    async def broken(request: web.Request) -> web.Response:
        del request
        return web.Response(status=503)

    other = web.Application()
    other.router.add_get("/rpc", rpc)
    failing = web.Application()
    failing.router.add_get("/rpc", broken)
    for application, error, code in (
        (web.Application(), TargetRefused, "WS4610"),
        (other, TargetRefused, "WS4610"),
        (failing, TargetUnavailable, "WS4101"),
    ):
        async with served(application) as port, target_of(settings_of(port)) as target:
            with pytest.raises(error) as refused:
                await target.read_checkpoint()
            assert refused.value.code == code


def settings_of(port: int, **changes: Any) -> SurrealDBSettings:
    keys = {"name": "graph", "type": "surrealdb", "url": f"ws://127.0.0.1:{port}/rpc", "namespace": "app"}
    return SurrealDBSettings(**{**keys, "database": "app", "username": USER, "password": PASSWORD, **changes})


@asynccontextmanager
async def served(application: web.Application) -> AsyncIterator[int]:
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()


async def test_a_server_that_is_too_old_is_refused() -> None:
    async def rpc(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("cbor",))
        await socket.prepare(request)
        await socket.receive()
        await socket.send_bytes(cbor2.dumps({"id": "1", "result": "surrealdb-1.5.6"}))
        await socket.receive()
        return socket

    application = web.Application()
    application.router.add_get("/rpc", rpc)
    async with served(application) as port, target_of(settings_of(port)) as target:
        with pytest.raises(TargetRefused, match=r"1\.5\.6") as refused:
            await target.read_checkpoint()
    assert refused.value.code == "WS4611"


async def test_a_certificate_nobody_vouches_for_is_refused_until_it_is_trusted(
    start_surrealdb: Callable[..., SurrealServer],
) -> None:
    server = start_surrealdb("2.3", tls=(FOLDER / "localhost.crt", FOLDER / "localhost.key"))
    for keys, code in (({}, "WS4608"), ({"ca_file": "/absent.pem"}, "WS4608")):
        async with target_of(settings_of(server.port, url=server.url, **keys)) as target:
            with pytest.raises((TargetUnavailable, TargetRefused)) as refused:
                await target.read_checkpoint()
        assert refused.value.code == code
    async with target_of(settings_of(server.port, url=server.url, ca_file=str(FOLDER / "localhost.crt"))) as target:
        await opened(target)


class ForwardProxy:
    """An HTTP proxy that takes CONNECT, and plain requests with a whole address, and counts both."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split(b"\r\n")[0])
        address = head.split()[1].removeprefix(b"ws://").split(b"/")[0].decode()
        host, port = address.split(":")
        there, onward = await asyncio.open_connection(host, int(port))
        if head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            onward.write(head)
        await asyncio.gather(pump(reader, onward), pump(there, writer))
        for end in (onward, writer):
            with contextlib.suppress(ConnectionError):
                await end.wait_closed()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_proxy_of_the_environment_is_used_unless_it_is_excepted(
    start_surrealdb: Callable[..., SurrealServer], monkeypatch: pytest.MonkeyPatch, *, encrypted: bool
) -> None:
    tls = (FOLDER / "localhost.crt", FOLDER / "localhost.key") if encrypted else None
    server = start_surrealdb("2.3", tls=tls)
    settings = settings_of(server.port, url=server.url, ca_file=str(FOLDER / "localhost.crt"))
    proxy = ForwardProxy()
    port = free_port()
    async with await asyncio.start_server(proxy, "127.0.0.1", port):
        monkeypatch.setenv("https_proxy" if encrypted else "http_proxy", f"http://127.0.0.1:{port}")
        async with target_of(settings) as target:
            await opened(target)
        assert len(proxy.asked) == 1
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with target_of(settings) as target:
            assert await target.read_checkpoint() is not None
        assert len(proxy.asked) == 1


async def test_the_password_of_a_proxy_stands_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    port = free_port()
    async with await asyncio.start_server(refuse, "127.0.0.1", port):
        monkeypatch.setenv("https_proxy", f"http://someone:{SECRET}@127.0.0.1:{port}")
        async with target_of(settings_of(1, url="wss://127.0.0.1:1/rpc")) as target:
            with pytest.raises(TargetUnavailable, match="407") as unavailable:
                await target.read_checkpoint()
    assert unavailable.value.code == "WS4101"
    assert SECRET not in "".join(traceback.format_exception(unavailable.value))
