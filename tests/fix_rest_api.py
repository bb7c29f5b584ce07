"""Cloudflare's REST API for D1, in the shapes that its documentation shows, before real databases on workerd.

Whether a request of several statements is atomic there is not documented: `is_atomic` chooses. Faults are for one
request, the next that writes rows.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Final, Self

import aiohttp
from aiohttp import web
from fix_workerd import Workerd

ACCOUNT: Final = "0123456789abcdef0123456789abcdef"
TOKEN: Final = "a token of the tests alone"
MAX_BODY_BYTES: Final = 64 * 1024**2
REQUESTS: Final = 1200
WINDOW_SECONDS: Final = 300

Meant = Callable[[str], bool]


class Clock:
    """Time that passes when somebody waits for it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def writes_rows(body: str) -> bool:
    return "json_each" in body and "INSERT INTO" in body


@dataclass
class RestApi:
    """Serves every database of `workerd` under the name of its binding, in small letters with -, as its id."""

    workerd: Workerd
    is_atomic: bool = True
    clock: Callable[[], float] = lambda: 0.0
    allowed: int = REQUESTS
    url: str = ""
    asked: list[float] = field(default_factory=list)
    blocked_until: float = -1.0
    half: int | None = None
    """How many statements of the next request that writes rows are run before its connection is cut."""
    lost: int = 0
    """How many answers to requests that write rows are lost after they were taken."""
    errors: list[tuple[int, int, str]] = field(default_factory=list)
    """Status, code and message of what is answered to the next requests that write rows, which are not run."""

    def target(self, database: str, name: str = "weur", *, token: str = TOKEN) -> dict[str, str]:
        """Return a target's configuration, whose database stands behind a binding."""
        return {
            "name": name,
            "type": "d1",
            "account_id": ACCOUNT,
            "database_id": database.replace("DB_", "id-").lower(),
            "api_token": token,
            "api_url": self.url,
        }

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_post(
            "/client/v4/accounts/{account}/d1/database/{database}/{format:(raw|query)}", self._answer
        )
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/client/v4"
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        limited = self._limit()
        if limited is not None:
            return limited
        if request.headers.get("Authorization") != f"Bearer {TOKEN}" or request.match_info["account"] != ACCOUNT:
            return _error(403, 10000, "Authentication error")
        binding = "DB_" + request.match_info["database"].rpartition("-")[2].upper()
        body = json.loads(text)
        statements = [[one["sql"], one.get("params", [])] for one in body.get("batch", [body])]
        assert all(isinstance(value, str) for _, values in statements for value in values), "params are strings"
        if writes_rows(text):
            fault = await self._fault(request, binding, statements)
            if fault is not None:
                return fault
        found = await self._run(binding, statements)
        if isinstance(found, str):
            unknown = "Cannot read properties of undefined" in found
            return _error(404, 7404, "Database not found") if unknown else _error(400, 7500, found)
        if writes_rows(text) and self.lost:
            self.lost -= 1
            return _cut(request)
        return web.json_response(
            {"result": [_result(one) for one in found], "success": True, "errors": [], "messages": []},
            headers={"Ratelimit": f'"default";r={self._left()};t={WINDOW_SECONDS}'},
        )

    async def _fault(self, request: web.Request, binding: str, statements: list[Any]) -> web.Response | None:
        if self.half is not None:
            taken, self.half = statements[: self.half], None
            if taken:
                await self._run(binding, taken)
            return _cut(request)
        if self.errors:
            return _error(*self.errors.pop(0))
        return None

    async def _run(self, binding: str, statements: list[Any]) -> list[Any] | str:
        """Run them; the message of the error where one fails."""
        found: list[Any] = []
        for together in [statements] if self.is_atomic else [[one] for one in statements]:
            async with self._session.post(self.workerd.plain(binding).url, json={"statements": together}) as answer:
                content = await answer.json()
            if "error" in content:
                return str(content["error"]).removeprefix("D1_ERROR: ")
            found += content["results"]
        return found

    def _limit(self) -> web.Response | None:
        now = self.clock()
        self.asked = [one for one in self.asked if one > now - WINDOW_SECONDS] + [now]
        if len(self.asked) > self.allowed and now >= self.blocked_until:
            self.blocked_until = now + WINDOW_SECONDS - 1  # by a clock of its own
        if now >= self.blocked_until:
            return None
        return _error(429, 971, "Please wait and consider throttling", {"Retry-After": str(WINDOW_SECONDS)})

    def _left(self) -> int:
        return max(0, self.allowed - len(self.asked))


@contextmanager
def served(api: RestApi) -> Iterator[RestApi]:
    """Serve it on an event loop and a thread of its own, for tests that have none."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="rest-api", daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(api.__aenter__(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(api.__aexit__(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _result(one: dict[str, Any]) -> dict[str, Any]:
    rows = one.get("results") or []
    columns = list(rows[0]) if rows else []
    return {
        "success": True,
        "meta": one["meta"],
        "results": {"columns": columns, "rows": [[row[name] for name in columns] for row in rows]},
    }


def _error(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    content = {"result": None, "success": False, "errors": [{"code": code, "message": message}], "messages": []}
    return web.json_response(content, status=status, headers=headers)


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
