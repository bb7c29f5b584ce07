import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest

from walsync.cli.ask import ask
from walsync.errors import ConfigurationError, WalsyncError
from walsync.http.server import HttpRefused, serve
from walsync.http.settings import HttpSettings
from walsync.lsn import LSN
from walsync.metrics import Metrics
from walsync.settings import Secret
from walsync.status import SourceState, SourceStatus, Status, TargetState, TargetStatus

TOKEN = "hunter2-very-secret"


@dataclass
class Instance:
    """What a server shows, as a test wants it."""

    states: dict[str, TargetState] = field(default_factory=lambda: {"a": TargetState.STREAMING})
    reasons: list[str] = field(default_factory=list)
    refusal: WalsyncError | None = None
    reloads: int = 0
    ordered: list[tuple[str | None, str | None]] = field(default_factory=list)

    async def reload(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.reloads += 1

    def copy_again(self, target: str | None, table: str | None) -> dict[str, list[str]]:
        if self.refusal is not None:
            raise self.refusal
        self.ordered.append((target, table))
        return {"a": ["public.t"]}

    async def status(self) -> Status:
        targets = tuple(TargetStatus(name, "postgres", state, LSN(7)) for name, state in self.states.items())
        return Status(SourceStatus("walsync", SourceState.STREAMING, wal_end_lsn=LSN(9)), targets)

    def health(self) -> list[str]:
        return self.reasons


@dataclass
class Client:
    """A real client of a real server."""

    session: aiohttp.ClientSession
    port: int

    async def get(
        self, path: str, *, token: str | None = None, method: str = "GET", body: str | None = None, form: bool = False
    ) -> tuple[int, bytes, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        headers |= {"Content-Type": "text/plain" if form else "application/json"}
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(method, url, headers=headers, data=body) as response:
            return response.status, await response.read(), response.headers


@asynccontextmanager
async def serving(instance: Instance, token: str = "") -> AsyncIterator[Client]:
    settings = HttpSettings(listen="127.0.0.1:0", token=Secret(token))
    async with serve(settings, instance, Metrics(), instance) as address, aiohttp.ClientSession() as session:
        assert address is not None
        yield Client(session, address[1])


async def test_status_answers_with_the_contract() -> None:
    async with serving(instance := Instance()) as client:
        code, body, headers = await client.get("/status")
    assert (code, headers["Content-Type"]) == (200, "application/json")
    assert Status.from_json(body) == await instance.status()


async def test_a_reload_needs_a_token_always() -> None:
    async with serving(instance := Instance()) as client:
        code, body, _ = await client.get("/reload", method="POST")
        assert (code, orjson.loads(body)["code"]) == (403, "WS7006")
    async with serving(instance, TOKEN) as client:
        assert (await client.get("/reload", method="POST"))[0] == 401
        assert instance.reloads == 0
        assert (await client.get("/reload", method="POST", token=TOKEN))[0] == 200
        assert instance.reloads == 1


async def test_a_reload_that_is_refused_says_why() -> None:
    refusal = ConfigurationError("WS1008", "unknown key", hint="did you mean tables?")
    async with serving(Instance(refusal=refusal), TOKEN) as client:
        code, body, _ = await client.get("/reload", method="POST", token=TOKEN)
    assert code == 422
    assert orjson.loads(body) == {"code": "WS1008", "message": "unknown key", "hint": "did you mean tables?"}


async def test_a_snapshot_is_ordered_by_a_command_of_this_host_or_with_the_token() -> None:
    body = '{"target": "a", "table": "public.t"}'
    async with serving(instance := Instance()) as client:
        # What a page of another site could have a browser send.
        code, answer, _ = await client.get("/snapshot", method="POST", body=body, form=True)
        assert (code, orjson.loads(answer)["code"]) == (403, "WS7006")
        code, answer, _ = await client.get("/snapshot", method="POST", body=body)
        assert (code, orjson.loads(answer)) == (202, {"tables": {"a": ["public.t"]}})
        assert (await client.get("/snapshot", method="POST", body="{}"))[0] == 202
    async with serving(instance, TOKEN) as client:
        assert (await client.get("/snapshot", method="POST", body=body))[0] == 401
        assert (await client.get("/snapshot", method="POST", body=body, token=TOKEN))[0] == 202
    assert instance.ordered == [("a", "public.t"), (None, None), ("a", "public.t")]


async def test_a_snapshot_that_cannot_be_ordered_says_why() -> None:
    async with serving(Instance(refusal=ConfigurationError("WS1021", "no such target", hint="a"))) as client:
        code, answer, _ = await client.get("/snapshot", method="POST", body="{}")
        assert (code, orjson.loads(answer)["code"]) == (422, "WS1021")
        for body in ("", "[]", '{"targets": []}', '{"target": 1}'):
            code, answer, _ = await client.get("/snapshot", method="POST", body=body)
            assert (code, orjson.loads(answer)["code"]) == (400, "WS7007")


async def test_metrics_answer_in_the_text_format_of_prometheus() -> None:
    async with serving(Instance()) as client:
        code, body, headers = await client.get("/metrics")
    assert code == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b'walsync_target_checkpoint_lsn{target="a"} 7.0' in body


async def test_health_is_200_while_progress_is_made_and_503_with_the_reasons_else() -> None:
    async with serving(instance := Instance()) as client:
        code, body, _ = await client.get("/health")
        assert (code, orjson.loads(body)) == (200, {"healthy": True, "reasons": []})
        instance.reasons.append("nothing received for 90 s")
        code, body, _ = await client.get("/health")
        assert (code, orjson.loads(body)) == (503, {"healthy": False, "reasons": ["nothing received for 90 s"]})


async def test_ready_is_200_only_while_every_target_streams() -> None:
    async with serving(instance := Instance()) as client:
        code, body, _ = await client.get("/ready")
        assert (code, orjson.loads(body)) == (200, {"ready": True, "not_streaming": {}})
        for state in set(TargetState) - {TargetState.STREAMING}:
            instance.states["b"] = state
            code, body, _ = await client.get("/ready")
            assert (code, orjson.loads(body)) == (503, {"ready": False, "not_streaming": {"b": state.value}})


@pytest.mark.parametrize("path", ["/status", "/metrics"])
async def test_what_tells_names_and_positions_asks_for_the_token(path: str) -> None:
    async with serving(Instance(), TOKEN) as client:
        for wrong in (None, "", "wrong", TOKEN + "x", TOKEN[:-1], "é"):
            code, body, headers = await client.get(path, token=wrong)
            assert code == 401
            assert headers["WWW-Authenticate"] == "Bearer"
            assert orjson.loads(body)["code"] == "WS7002"
            assert TOKEN.encode() not in body
        assert (await client.get(path, token=TOKEN))[0] == 200


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_probes_need_no_token(path: str) -> None:
    async with serving(Instance(), TOKEN) as client:
        assert (await client.get(path))[0] == 200


async def test_answers_are_not_cached_and_do_not_name_the_library() -> None:
    async with serving(Instance()) as client:
        _, _, headers = await client.get("/health")
    assert (headers["Cache-Control"], headers["Server"]) == ("no-store", "walsync")


async def test_other_paths_and_methods_are_refused() -> None:
    async with serving(Instance()) as client:
        assert (await client.get("/etc/passwd"))[0] == 404
        async with client.session.post(f"http://127.0.0.1:{client.port}/status") as response:
            assert response.status == 405


async def test_http_can_be_switched_off() -> None:
    async with serve(HttpSettings(listen=""), Instance(), Metrics(), Instance()) as address:
        assert address is None


async def test_a_port_in_use_is_a_coded_error_with_a_hint() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HttpRefused, match=f"127.0.0.1:{port}") as raised:
            async with serve(HttpSettings(listen=f"127.0.0.1:{port}"), Instance(), Metrics(), Instance()):
                pass
    assert (raised.value.code, raised.value.exit_code) == ("WS7001", 1)
    assert "http.listen" in raised.value.hint


async def test_the_port_is_free_again_at_once() -> None:
    async with serving(Instance()) as client:
        await client.get("/health")
        port = client.port
    async with serve(HttpSettings(listen=f"127.0.0.1:{port}"), Instance(), Metrics(), Instance()) as address:
        assert address == ("127.0.0.1", port)


async def test_a_client_that_says_nothing_does_not_hold_up_the_end() -> None:
    async with serving(Instance()) as client:
        silent = socket.create_connection(("127.0.0.1", client.port))
    silent.close()


async def test_the_status_command_reads_a_running_instance() -> None:
    async with serving(instance := Instance(), TOKEN) as client:
        listen = f"0.0.0.0:{client.port}"
        assert await ask(HttpSettings(listen=listen, token=Secret(TOKEN))) == await instance.status()
        with pytest.raises(WalsyncError) as raised:
            await ask(HttpSettings(listen=listen, token=Secret("wrong")))
    assert raised.value.code == "WS7002"


async def test_the_status_command_finds_nobody_where_nobody_listens() -> None:
    assert await ask(HttpSettings(listen="")) is None
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert await ask(HttpSettings(listen=f"127.0.0.1:{port}")) is None


async def test_the_status_command_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("walsync.cli.ask._ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(WalsyncError) as raised:
        await ask(HttpSettings(listen=f"127.0.0.1:{silent.getsockname()[1]}"))
    assert raised.value.code == "WS7004"


async def test_the_status_command_tells_another_server_from_walsync() -> None:
    async def answer(_request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        return aiohttp.web.Response(text="<html>")

    runner = aiohttp.web.ServerRunner(aiohttp.web.Server(answer))
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        with pytest.raises(WalsyncError, match="not as walsync does") as raised:
            await ask(HttpSettings(listen=f"127.0.0.1:{runner.addresses[0][1]}"))
    finally:
        await runner.cleanup()
    assert raised.value.code == "WS7003"
