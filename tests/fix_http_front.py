"""An HTTP server in front of another that cuts, holds and counts requests, to try what a network does to them.

It runs on the test's event loop. A fault is for one request, the next one that it is meant for.
"""

import asyncio
import io
import os
import socket
from collections.abc import Callable
from typing import Final, Self

import aiohttp
from aiohttp import web

Meant = Callable[[str, bytes], bool]
"""Takes a request's path and body; tells whether a fault is for it."""

MAX_BODY_BYTES: Final = 64 * 1024**2
NOT_PASSED_ON: Final = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}


def every(_path: str, _body: bytes) -> bool:
    return True


class HttpFront:
    """Passes requests on to `to` until it is told otherwise."""

    def __init__(self, to: str) -> None:
        self.url = ""
        self.to = to
        self.requests: list[str] = []
        self._held: list[web.Request] = []
        self._before: Meant | None = None
        self._after: Meant | None = None
        self._hold: Meant | None = None
        self._answers: list[tuple[Meant, web.Response]] = []
        self._released = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._answer)
        # A handler ends when its client goes away: a request that is held is then never passed on.
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    @property
    def held(self) -> int:
        """How many clients wait for a request that is held; one that has hung up waits no more."""
        return sum(not _has_hung_up(one) for one in self._held)

    def cut_before(self, meant: Meant = every) -> None:
        """Cut the connection of the next such request before the server has it."""
        self._before = meant

    def cut_after(self, meant: Meant = every) -> None:
        """Let the server do what the next such request asks, and cut the connection instead of answering."""
        self._after = meant

    def answer(self, status: int, content: object, meant: Meant = every, **headers: str) -> None:
        """Answer the next such request instead of the server."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self._answers.append((meant, web.json_response(content, status=status, headers=names)))

    def hold(self, meant: Meant = every) -> None:
        """Keep such requests from the server until `release`."""
        self._hold = meant
        self._released.clear()

    def release(self) -> None:
        """Pass on what is held."""
        self._hold = None
        self._released.set()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(request.path)
        if self._before is not None and self._before(request.path, body):
            self._before = None
            return self._cut(request)
        for one in self._answers:
            if one[0](request.path, body):
                self._answers.remove(one)
                return one[1]
        if self._hold is not None and self._hold(request.path, body):
            self._held.append(request)
            try:
                await self._released.wait()
            finally:
                self._held.remove(request)
        answer = await self._pass_on(request, body)
        if self._after is not None and self._after(request.path, body):
            self._after = None
            return self._cut(request)
        return answer

    async def _pass_on(self, request: web.Request, body: bytes) -> web.Response:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_PASSED_ON}
        async with self._session.request(
            request.method, self.to + request.path_qs, data=io.BytesIO(body) if body else None, headers=headers
        ) as answer:
            passed = {name: value for name, value in answer.headers.items() if name.lower() not in NOT_PASSED_ON}
            passed.pop("Content-Encoding", None)
            return web.Response(status=answer.status, body=await answer.read(), headers=passed)

    def _cut(self, request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


def _has_hung_up(request: web.Request) -> bool:
    """Look at the socket itself: the event loop learns of it some turns later."""
    if request.transport is None:
        return True
    with socket.socket(fileno=os.dup(request.transport.get_extra_info("socket").fileno())) as peeked:
        try:
            return not peeked.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
