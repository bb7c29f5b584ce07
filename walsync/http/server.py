"""The HTTP server: /health and /ready for probes, /metrics for Prometheus, /status, /reload and /snapshot for people.

/metrics and /status name tables, errors and positions, so they ask for the token where one is set (Prometheus sends it
as `authorization: {credentials: ...}`); /health and /ready stay open, since a kubelet cannot send one.
"""

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Final, Protocol, TypeAlias

import orjson
import structlog
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from walsync.errors import WalsyncError
from walsync.http.settings import HttpSettings
from walsync.logs import Logger
from walsync.metrics import CONTENT_TYPE, Metrics
from walsync.status import Status

log: Logger = structlog.get_logger()

Handle: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SHUTDOWN_SECONDS: Final = 2.0  # answers take milliseconds; a client that reads slowly does not hold up the drain


class Observed(Protocol):
    """What the server shows."""

    async def status(self) -> Status:
        """Tell everything as of now; never raises, what cannot be known is None."""
        ...

    def health(self) -> Sequence[str]:
        """Tell why no progress is made; empty while it is, and while there is nothing to do."""
        ...


class Controlled(Protocol):
    """What the server is asked to do; WalsyncError where that cannot be done."""

    async def reload(self) -> None:
        """Take the configuration again."""
        ...

    def copy_again(self, target: str | None, table: str | None) -> Mapping[str, Sequence[str]]:
        """Copy tables once more, or all; returns which, by target."""
        ...


class HttpRefused(WalsyncError):
    """The server cannot listen: the process ends with 1 before it takes the slot."""


@asynccontextmanager
async def serve(
    settings: HttpSettings, observed: Observed, metrics: Metrics, controlled: Controlled
) -> AsyncIterator[tuple[str, int] | None]:
    """Answer while the block runs; yields the address it listens on, or None when HTTP is off."""
    if settings.address is None:
        yield None
        return
    app = build(settings, observed, metrics, controlled)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        address = await _listen(runner, settings.address)
        log.info("http_listening", host=address[0], port=address[1])
        yield address
    finally:
        await runner.cleanup()


def build(settings: HttpSettings, observed: Observed, metrics: Metrics, controlled: Controlled) -> web.Application:
    """Put the routes together."""
    routes = _Routes(observed, metrics, controlled)
    token = settings.token.get_secret_value()
    protect = _Protect(token)
    app = web.Application()
    app.on_response_prepare.append(_set_headers)
    app.router.add_get("/health", routes.health)
    app.router.add_get("/ready", routes.ready)
    app.router.add_get("/status", protect(routes.status))
    app.router.add_get("/metrics", protect(routes.metrics))
    app.router.add_post("/reload", protect(routes.reload) if token else routes.refuse_reload)
    app.router.add_post("/snapshot", protect(routes.snapshot) if token else _from_here(routes.snapshot))
    return app


async def _listen(runner: web.AppRunner, address: tuple[str, int]) -> tuple[str, int]:
    host, port = address
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        reason = error.strerror or str(error)
        raise HttpRefused(
            "WS7001",
            f"cannot listen on {host}:{port}: {reason}",
            hint="stop what listens there (perhaps another walsync), or change http.listen; empty switches HTTP off",
        ) from error
    bound = runner.addresses[0]
    return str(bound[0]), int(bound[1])


class _Routes:
    def __init__(self, observed: Observed, metrics: Metrics, controlled: Controlled) -> None:
        self._observed = observed
        self._metrics = metrics
        self._controlled = controlled

    async def health(self, _request: web.Request) -> web.Response:
        """Answer 200 while progress is made, not merely while the process lives; else 503 with the reasons."""
        reasons = list(self._observed.health())
        return _json({"healthy": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    async def ready(self, _request: web.Request) -> web.Response:
        """Answer 200 when every target is streaming all its tables; else 503 with the others and their states."""
        status = await self._observed.status()
        waiting = {one.name: one.state.value for one in status.targets if not one.is_ready}
        return _json({"ready": not waiting, "not_streaming": waiting}, status=503 if waiting else 200)

    async def status(self, _request: web.Request) -> web.Response:
        """Answer with the contract of `walsync.status`."""
        status = await self._observed.status()
        return web.Response(body=status.to_json(), content_type="application/json")

    async def metrics(self, _request: web.Request) -> web.Response:
        """Answer in Prometheus' text format."""
        status = await self._observed.status()
        return web.Response(body=self._metrics.render(status), headers={"Content-Type": CONTENT_TYPE})

    async def reload(self, _request: web.Request) -> web.Response:
        """Answer 200 when the configuration was taken again, else 422 with what is wrong: the present one goes on."""
        try:
            await self._controlled.reload()
        except WalsyncError as error:
            return _refusal(error)
        return _json({"reloaded": True}, status=200)

    async def snapshot(self, request: web.Request) -> web.Response:
        """Take ``{"target": name, "table": "schema.table"}``, both optional; answer 202 with what will be copied."""
        try:
            asked = _Snapshot.model_validate_json(await request.read())
            tables = self._controlled.copy_again(asked.target, asked.table)
        except ValidationError:
            return _json({"code": "WS7007", "message": 'the body is not {"target": ..., "table": ...}'}, status=400)
        except WalsyncError as error:
            return _refusal(error)
        return _json({"tables": tables}, status=202)

    async def refuse_reload(self, _request: web.Request) -> web.Response:
        """Answer 403: what changes something asks for a token, always."""
        refusal = {"code": "WS7006", "message": "/reload needs http.token", "hint": "set it, or send SIGHUP instead"}
        return _json(refusal, status=403)


class _Snapshot(BaseModel):
    model_config = ConfigDict(extra="forbid")

    target: str | None = None
    table: str | None = None


def _from_here(handle: Handle) -> Handle:
    """Without a token, take a command of this host's only, and none that a browser would send for another page."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        peer = ip_address(request.remote or "0.0.0.0")  # noqa: S104 - nobody's address
        if peer.is_loopback and request.content_type == "application/json":
            return await handle(request)
        refusal = {"code": "WS7006", "message": f"{request.path} needs http.token", "hint": "set it and send it"}
        return _json(refusal, status=403)

    return guarded


class _Protect:
    """Lets a request through that carries the token, compared in constant time; every one when there is none."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode() if token else None

    def __call__(self, handle: Handle) -> Handle:
        async def guarded(request: web.Request) -> web.StreamResponse:
            given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
            if self._expected is None or hmac.compare_digest(given, self._expected):
                return await handle(request)
            refusal = {"code": "WS7002", "message": "the token is missing or wrong", "hint": "send http.token"}
            return _json(refusal, status=401, headers={"WWW-Authenticate": "Bearer"})

        return guarded


async def _set_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "walsync"
    response.headers["Cache-Control"] = "no-store"


def _refusal(error: WalsyncError) -> web.Response:
    return _json({"code": error.code, "message": error.message, "hint": error.hint}, status=422)


def _json(content: object, *, status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, headers=headers, content_type="application/json")
