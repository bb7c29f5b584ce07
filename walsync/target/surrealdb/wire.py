"""The way to a SurrealDB server: its WebSocket ``/rpc``, CBOR, signed in, one request at a time.

It never connects twice: when the connection is lost, or a request is abandoned, a new one has to be opened.
"""

import asyncio
import re
import ssl
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import cbor2

from walsync.errors import TargetRefused, TargetUnavailable
from walsync.target.surrealdb import sign_in, statements
from walsync.target.surrealdb.engine import RequestFailed, Slot, encode
from walsync.target.surrealdb.failures import TOO_LARGE, error_of, is_denial, is_expiry, judge, judge_sign_in
from walsync.target.surrealdb.settings import SurrealDBSettings

MOST_REQUEST_BYTES: Final = 16 * 1024**2
"""What a server takes in one WebSocket frame (its SURREAL_WEBSOCKET_MAX_FRAME_SIZE), and aiohttp sends one."""

_MOST_ANSWER_BYTES: Final = 128 * 1024**2  # a server's own limit of a message
_SUBPROTOCOL: Final = "cbor"
_CONNECT_SECONDS: Final = 15.0
_HEARTBEAT_SECONDS: Final = 20.0
"""A ping this often, and half of it for the answer: a peer that is gone without a word is found in half a minute."""

_CLOSE_SECONDS: Final = 1.0
_OLDEST_MAJOR: Final = 2
_VERSION: Final = re.compile(r"surrealdb-(\d+)\.")
_SERVER_ERROR: Final = 500
_PROXIES: Final = {"ws": ("ws", "http", "all"), "wss": ("wss", "https", "all")}
"""Which variables name a proxy (``https_proxy`` and so on), the first one counts; ``no_proxy`` is heeded."""


class Wire:
    """A connection to a server, signed in, in a namespace and a database."""

    def __init__(
        self, settings: SurrealDBSettings, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse
    ) -> None:
        self.is_lost = False
        self.major = 0
        self._settings = settings
        self._about = f"target {settings.name}"
        self._session = session
        self._socket = socket
        self._answer: asyncio.Future[bytes] | None = None
        self._renew_at: float | None = None
        self._listening = asyncio.create_task(self._listen())

    async def query(self, request: bytes) -> Sequence[Slot]:
        """Execute statements; signs in again before the server's patience with the last time ends, or when it has."""
        if self._renew_at is not None and asyncio.get_running_loop().time() >= self._renew_at:
            await self._renew()
        if len(request) > MOST_REQUEST_BYTES:
            raise RequestFailed(TOO_LARGE)
        try:
            slots = await self._send(request)
        except RequestFailed as failed:
            if not is_expiry(str(failed)):
                raise
            await self._renew()
            slots = await self._send(request)
        return slots if isinstance(slots, list) else [{"status": "OK", "result": slots}]

    async def check_version(self) -> None:
        """Refuse a server that is too old."""
        version = str(await self.call("version"))
        found = _VERSION.match(version)
        if found is None or int(found[1]) < _OLDEST_MAJOR:
            raise TargetRefused(
                "WS4611",
                f"{self._about}: the server is {version[:40]}, and walsync needs SurrealDB {_OLDEST_MAJOR} or later",
                hint="upgrade the server",
            )
        self.major = int(found[1])

    async def sign_in(self) -> None:
        """Sign in; what follows is answered as to that user."""
        try:
            await self.call("signin", sign_in.credentials(self._settings))
        except RequestFailed as failed:
            raise judge_sign_in(str(failed), self._about) from None
        (slot,) = await self._send(encode(sign_in.SESSION, {}))
        seconds = sign_in.renew_after_seconds(slot["result"])
        self._renew_at = None if seconds is None else asyncio.get_running_loop().time() + seconds

    async def choose(self, *, create: bool) -> bool:
        """Go to the namespace and the database; False where one does not exist and is not to be made."""
        namespace, database = self._settings.namespace, self._settings.database
        level = self._settings.signs_in_at
        # 3.x would make whatever it is told to use.
        if level == "root" and not await self._find("namespace", namespace, statements.DESCRIBE_ROOT, create=create):
            return False
        if level in ("root", "namespace"):
            await self.call("use", namespace, None)
            if not await self._find("database", database, statements.DESCRIBE_NAMESPACE, create=create):
                return False
        await self.call("use", namespace, database)
        return True

    async def call(self, method: str, *params: object) -> Any:  # noqa: ANN401 - whatever it answers
        """Call a method of the protocol; RequestFailed where the server refuses."""
        return await self._send(cbor2.dumps({"id": "1", "method": method, "params": params}))

    async def close(self) -> None:
        """Say goodbye where somebody listens, and close."""
        self.is_lost = True
        self._listening.cancel()
        await asyncio.wait([self._listening])
        with suppress(aiohttp.ClientError, OSError):
            await self._socket.close()
        await self._session.close()

    async def _renew(self) -> None:
        await self.sign_in()
        await self.call("use", self._settings.namespace, self._settings.database)

    async def _find(self, kind: str, name: str, look: str, *, create: bool) -> bool:
        """Look whether there is one of this name; where there is none, make it, or see that it could be made."""
        (described,) = await self._send(encode(look, {}))
        if described["status"] == "OK" and any(each["name"] == name for each in described["result"][f"{kind}s"]):
            return True
        define = statements.define(kind, name)
        text = error_of(await self._send(encode(define if create else statements.try_out(define), {})))
        if text is not None and is_denial(text):
            raise TargetRefused(
                "WS4613",
                f"{self._about}: the {kind} {name} does not exist, and the user may not make it",
                hint=f"DEFINE {kind.upper()} there, or correct `{kind}`",
            )
        if text is not None and not text.endswith(statements.TRIED):
            raise judge(text, self._about)
        return text is None

    async def _send(self, request: bytes) -> Any:  # noqa: ANN401 - whatever it answers
        """Send a request and wait for its answer; whatever else happens, the connection is given up."""
        if self.is_lost:
            raise self._lost("the connection is lost")
        try:
            async with asyncio.timeout(self._settings.request_timeout_seconds):
                self._answer = asyncio.get_running_loop().create_future()
                await self._socket.send_bytes(request)
                answer = await self._answer
        except TimeoutError:
            await self.close()
            raise self._lost(f"no answer within {self._settings.request_timeout_seconds:g} s") from None
        except (aiohttp.ClientError, OSError):
            await self.close()
            raise self._lost("the connection was lost") from None
        except BaseException:
            # Its answer would be taken for that of the next one.
            await asyncio.shield(self.close())
            raise
        if not answer:
            await self.close()
            raise self._lost("the connection was lost")
        found = cbor2.loads(answer)
        if "error" in found:
            raise RequestFailed(str(found["error"].get("message")))
        return found["result"]

    async def _listen(self) -> None:
        """Take what comes, also while nobody waits for an answer: pings, and the end."""
        try:
            while (message := await self._socket.receive()).type is aiohttp.WSMsgType.BINARY:
                if self._answer is not None and not self._answer.done():
                    self._answer.set_result(message.data)
        finally:
            self.is_lost = True
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(b"")

    def _lost(self, how: str) -> TargetUnavailable:
        return TargetUnavailable("WS4102", f"{self._about}: {how}", hint="walsync connects again; see the server's log")


async def open_wire(settings: SurrealDBSettings, create: bool) -> Wire | None:  # noqa: FBT001 - OpenEngine
    """Connect and sign in; None where there is no such database and none is to be made."""
    wire = await _connect(settings)
    try:
        await wire.check_version()
        await wire.sign_in()
        if await wire.choose(create=create):
            return wire
    except RequestFailed as failed:
        await wire.close()
        raise judge(str(failed), f"target {settings.name}") from None
    except BaseException:
        await wire.close()
        raise
    await wire.close()
    return None


async def _connect(settings: SurrealDBSettings) -> Wire:
    about = f"target {settings.name}"
    context = _trust(settings)
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_SECONDS))
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            socket = await session.ws_connect(
                settings.url,
                protocols=[_SUBPROTOCOL],
                proxy=_proxy(settings.url),
                ssl=context,
                heartbeat=_HEARTBEAT_SECONDS,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                max_msg_size=_MOST_ANSWER_BYTES,
            )
    except BaseException as error:
        await session.close()
        if isinstance(error, aiohttp.ClientError | OSError):
            raise _judge_connecting(error, about) from None
        raise
    wire = Wire(settings, session, socket)
    if socket.protocol != _SUBPROTOCOL:
        await wire.close()
        raise _no_surrealdb(about, "it does not speak CBOR")
    return wire


def _trust(settings: SurrealDBSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.ca_file:
        try:
            context.load_verify_locations(settings.ca_file)
        except (OSError, ssl.SSLError):
            raise TargetRefused(
                "WS4608",
                f"target {settings.name}: {settings.ca_file} cannot be read as certificates",
                hint="correct ca_file: it names a PEM file",
            ) from None
    return context


def _proxy(url: str) -> str | None:
    parts = urlsplit(url)
    found = urllib.request.getproxies()
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return next((found[name] for name in _PROXIES[parts.scheme] if name in found), None)


def _judge_connecting(error: aiohttp.ClientError | OSError, about: str) -> TargetUnavailable | TargetRefused:
    """Say why there is no connection, in words that hold neither a proxy's password nor anything that was sent."""
    match error:
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return TargetUnavailable(
                "WS4608",
                f"{about}: the server's certificate is not trusted, or it speaks no TLS",
                hint="correct the certificate or the host in url; ca_file names an authority of your own",
            )
        case aiohttp.ClientHttpProxyError():
            reason = f"the proxy refuses with {error.status}"
        case aiohttp.WSServerHandshakeError() if error.status < _SERVER_ERROR:
            return _no_surrealdb(about, f"it answers with HTTP {error.status}")
        case aiohttp.WSServerHandshakeError():
            reason = f"it answers with HTTP {error.status}"
        case TimeoutError():
            reason = f"no answer within {_CONNECT_SECONDS:g} s"
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or type(error.os_error).__name__
        case _:
            reason = "the connection ended"
    return TargetUnavailable(
        "WS4101", f"{about}: cannot connect: {reason}", hint="see that the server is up and that url names it"
    )


def _no_surrealdb(about: str, found: str) -> TargetRefused:
    return TargetRefused(
        "WS4610", f"{about}: what answers is no SurrealDB 2 or later: {found}", hint="correct url; it ends with /rpc"
    )
