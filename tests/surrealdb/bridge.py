"""Serves SurrealDB's engine 2.3 as a server does: WebSocket /rpc, subprotocol cbor.

    python bridge.py PORT ENGINE_URL [CERTIFICATE KEY]

Users, tokens and their expiry are the engine's own, but it has one session. The bridge plays these parts of a server:
a connection has a session (its token, namespace and database), and becomes the engine's before its request when another
one's was there; what comes before a sign-in is refused (the engine would take anybody for its owner); a message has a
limit; a query whose connection ends is abandoned. Ends when stdin does.
"""

import asyncio
import io
import os
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import cbor2
from aiohttp import WSMsgType, web

os.environ["SURREAL_SYNC_DATA"] = "true"  # read when the engine is loaded

from surrealdb._surrealdb_ext import AsyncEmbeddedDB

MOST_BYTES = 16 * 1024**2  # of a frame, as a server takes them by default
START_SECONDS = 0.02
SIGNS_IN = ("signin", "signup", "authenticate")
BEFORE_SIGN_IN = (*SIGNS_IN, "use", "version", "ping")
REFUSAL = "IAM error: Not enough permissions to perform this action"
PREFIX = "There was a problem with the database: "


@dataclass
class Session:
    """What a connection is: whose token, and where."""

    token: str = ""
    place: tuple[Any, ...] = ()


class Failed(Exception):
    """The engine's text."""


class Bridge:
    """One engine and its connections."""

    def __init__(self, engine: Any) -> None:  # noqa: ANN401
        self._engine = engine
        self._current: Session | None = None
        self._changing = asyncio.Lock()
        self._under_way = 0

    async def call(self, method: str, *params: object) -> Any:  # noqa: ANN401
        request = cbor2.dumps({"id": "1", "method": method, "params": params})
        return cbor2.loads(await self._execute(request))["result"]

    async def _execute(self, request: bytes) -> bytes:
        try:
            return bytes(await self._engine.execute(request))
        except RuntimeError as error:
            raise Failed(str(error).removeprefix(PREFIX)) from None

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("cbor",), max_msg_size=MOST_BYTES, compress=False)
        await socket.prepare(request)
        session = Session()
        async with asyncio.TaskGroup() as group:
            working = set()
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    working.add(group.create_task(self._answer(socket, session, message.data)))
            for task in working:
                task.cancel()
        return socket

    async def _answer(self, socket: web.WebSocketResponse, session: Session, request: bytes) -> None:
        decoder = cbor2.CBORDecoder(io.BytesIO(request[1:]))
        _, request_id, _, method = (decoder.decode() for _ in range(4))
        try:
            answer = await self._in_session(session, method, request)
        except Failed as failed:
            answer = cbor2.dumps({"id": request_id, "error": {"code": -32000, "message": str(failed)}})
        with suppress(ConnectionError):
            await socket.send_bytes(answer)

    async def _in_session(self, session: Session, method: str, request: bytes) -> bytes:
        if not session.token and method not in BEFORE_SIGN_IN:
            raise Failed(REFUSAL)
        async with self._changing:
            if method in (*SIGNS_IN, "use", "invalidate"):
                return await self._change(session, method, request)
            if session.token:
                await self._become(session)
            self._under_way += 1
        try:
            return await self._execute(request)
        finally:
            self._under_way -= 1

    async def _change(self, session: Session, method: str, request: bytes) -> bytes:
        """Execute what changes a session, and note what it is now."""
        params = cbor2.loads(request)["params"]
        await self._let_start()
        if method not in SIGNS_IN and session.token:
            await self._become(session)
        self._current = None
        answer = await self._execute(request)
        if method in SIGNS_IN:
            session.token = params[0] if method == "authenticate" else cbor2.loads(answer)["result"]
        elif method == "use":
            session.place = tuple(params)
        else:
            session.token = ""
        self._current = Session(session.token, session.place)
        return answer

    async def _become(self, session: Session) -> None:
        if self._current == session:
            return
        await self._let_start()
        self._current = None
        await self.call("authenticate", session.token)
        if session.place:
            await self.call("use", *session.place)
        self._current = Session(session.token, session.place)

    async def _let_start(self) -> None:
        """Give queries that were just sent the time to take the engine's session as it is; they keep it."""
        if self._under_way:
            await asyncio.sleep(START_SECONDS)


async def main() -> None:
    """Serve until stdin ends."""
    port, url, *tls = sys.argv[1:]
    engine = AsyncEmbeddedDB(url)
    await engine.connect()
    bridge = Bridge(engine)
    await bridge.call("query", "DEFINE USER IF NOT EXISTS root ON ROOT PASSWORD 'root' ROLES OWNER", {})
    application = web.Application()
    application.router.add_get("/rpc", bridge.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if tls else None
    if context is not None:
        context.load_cert_chain(*tls)
    await web.TCPSite(runner, "127.0.0.1", int(port), ssl_context=context).start()
    print("ready", flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
