"""The way to a D1 database through the Worker of docker/d1-gateway: every request is one signed, atomic batch."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from walsync.errors import TargetRefused, TargetUnavailable
from walsync.settings import Secret
from walsync.target.base import Finding
from walsync.target.d1.client import NOTHING
from walsync.target.d1.engine import MAX_STATEMENTS
from walsync.target.d1.failures import GuardRaised, judge_text
from walsync.target.d1.http_session import Answer, HttpSession
from walsync.target.d1.request import Encoding, Request, Result, write_wire

VERSION: Final = 1
"""Of the Worker's contract; docker/d1-gateway/worker.js has the same number."""

_AGAIN: Final = "walsync tries again"
_SET_CLOCK: Final = "set the clock of this machine: timedatectl set-ntp true"
_SERVICE: Final = "walsync-d1-gateway"
_OK: Final = 200
_SERVER_ERRORS: Final = 500
_TOO_MANY: Final = 429
_SKEW_SECONDS: Final = 240
"""The Worker refuses a request signed more than 300 s from its own time."""

_IN_A_THREAD_BYTES: Final = 512 * 1024
"""From this size on signing would hold up the event loop: SHA-256 takes about 2 ms per MB."""


class GatewayClient:
    """Sends requests for one binding of a gateway."""

    statements = MAX_STATEMENTS
    by_wire = True
    request_bytes = 4 * 1024**2

    def __init__(
        self, url: str, database: str, secret: Secret, about: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._url = url.rstrip("/")
        self._database = database
        self._secret = secret
        self._about = about
        self._clock = clock
        self._session = HttpSession(about)
        self._greeted = False

    def exists(self) -> bool:
        """Tell yes: a binding leads to a database."""
        return True

    async def batch(self, request: Request, shared: Encoding = NOTHING, *, create: bool = False) -> list[Result]:
        """Run all statements as one transaction. Cancelling leaves the outcome unknown."""
        del create  # it is made with wrangler
        if not request and not shared:
            return []
        content = await self._post("apply", _parts(request, shared))
        return [Result([tuple(row) for row in rows], changes) for rows, changes in content["results"]]

    async def checkpoint(self, slot: str, target: str) -> Sequence[Any] | None:
        """Read the row of the checkpoint; None where there is none."""
        content = await self._post("checkpoint", [orjson.dumps({"slot": slot, "target": target})])
        row: Sequence[Any] | None = content["checkpoint"]
        return row

    def findings(self) -> Sequence[Finding]:
        """Find nothing: the gateway carries whatever D1 takes."""
        return ()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _post(self, action: str, body: Sequence[bytes]) -> Any:  # noqa: ANN401
        await self._greet()
        path = f"/{self._database}/{action}"
        timestamp = str(int(self._clock()))
        in_a_thread = sum(map(len, body)) > _IN_A_THREAD_BYTES
        signed = (timestamp, path, body)
        signature = await asyncio.to_thread(self._sign, *signed) if in_a_thread else self._sign(*signed)
        headers = {
            "content-type": "application/octet-stream",
            "x-walsync-timestamp": timestamp,
            "x-walsync-signature": signature,
        }
        try:
            answer = await self._session.ask("POST", self._url + path, body, headers)
        except TargetUnavailable:
            self._greeted = False
            raise
        if answer.status == _OK and isinstance(answer.content, dict):
            return answer.content
        raise self._refusal(answer)

    def _sign(self, timestamp: str, path: str, body: Sequence[bytes]) -> str:
        signature = hmac.new(self._secret.get_secret_value().encode(), digestmod=hashlib.sha256)
        signature.update(f"{timestamp}.POST.{path}.".encode())
        for part in body:
            signature.update(part)
        return signature.hexdigest()

    async def _greet(self) -> None:
        """Learn once, and after each failure, whether it is the gateway that answers, in this version, at this time."""
        if self._greeted:
            return
        answer = await self._session.ask("GET", f"{self._url}/health", (), {})
        health = answer.content
        if answer.status != _OK or not isinstance(health, dict) or health.get("service") != _SERVICE:
            if answer.status >= _SERVER_ERRORS or answer.status == _TOO_MANY:
                raise TargetUnavailable(
                    "WS4102", f"{self._about}: its gateway answers {answer.status}", hint="see the Worker's log"
                )
            raise TargetRefused(
                "WS4508",
                f"{self._about}: what answers at its url is no gateway of walsync's (HTTP {answer.status})",
                hint="compare the url with what was deployed: cd docker/d1-gateway && npx wrangler deploy",
            )
        if health.get("version") != VERSION:
            raise TargetRefused(
                "WS4509",
                f"{self._about}: its gateway has version {health.get('version')}, and this walsync needs {VERSION}",
                hint="deploy the Worker that came with this walsync: cd docker/d1-gateway && npx wrangler deploy",
            )
        self._check_clock(health.get("time"))
        self._greeted = True

    def _check_clock(self, theirs: object) -> None:
        if isinstance(theirs, int) and abs(theirs - self._clock()) > _SKEW_SECONDS:
            raise TargetUnavailable(
                "WS4511",
                f"{self._about}: the clock here is {self._clock() - theirs:+.0f} s from the gateway's",
                hint=_SET_CLOCK,
            )

    def _refusal(self, answer: Answer) -> TargetUnavailable | TargetRefused | GuardRaised:
        """Tell what the gateway's refusal means."""
        error = answer.content.get("error") if isinstance(answer.content, dict) else None
        if not isinstance(error, dict):
            self._greeted = False
            text = f"{self._about}: HTTP {answer.status} instead of its gateway's answer"
            return TargetUnavailable("WS4102", text, hint=_AGAIN)
        text = str(error.get("message", ""))
        match error.get("kind"):
            case "stale" | "guard":
                return GuardRaised(str(error.get("reason", "")))
            case "sqlite":
                return judge_text(text, self._about) or TargetRefused(
                    "WS4399", f"{self._about}: D1 refused a statement", hint="see the Worker's log: npx wrangler tail"
                )
            case "retry":
                return TargetUnavailable("WS4102", f"{self._about}: D1 says: {text}", hint=_AGAIN)
            case kind:
                self._greeted = False
                return self._misconfigured(kind, text, error)

    def _misconfigured(self, kind: object, text: str, error: dict[str, Any]) -> TargetRefused | TargetUnavailable:
        match kind:
            case "clock":
                return TargetUnavailable("WS4511", f"{self._about}: {text}", hint=_SET_CLOCK)
            case "signature" | "secret":
                return TargetRefused(
                    "WS4510",
                    f"{self._about}: its gateway has another secret",
                    hint="cd docker/d1-gateway && npx wrangler secret put WALSYNC_SECRET, with the value of `secret`",
                )
            case "binding":
                bound = ", ".join(map(str, error.get("bindings", ()))) or "none"
                return TargetRefused(
                    "WS4512",
                    f"{self._about}: its gateway has no binding {self._database}; it has {bound}",
                    hint="add it to docker/d1-gateway/wrangler.jsonc and npx wrangler deploy, or correct `database`",
                )
            case _:
                return TargetRefused(
                    "WS4508", f"{self._about}: its gateway refused the request: {text}", hint="deploy it again"
                )


def _parts(request: Request, shared: Encoding) -> list[bytes]:
    """Write a body; what is shared was written with its encoding."""
    own = write_wire(request)
    if not shared:
        return [b"[", own.head, b"]\n", own.payload]
    wire = shared.wire
    return [b"[", own.head, b"," if own.head else b"", wire.head, b"]\n", own.payload, wire.payload]
