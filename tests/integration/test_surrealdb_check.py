"""What `walsync check` finds out about a SurrealDB server, each with the code and what mends it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from conformance.bench_surrealdb_server import ServerBench
from fix_check import PASSWORD, configuration, problems, the_problem
from fix_postgres import Database
from fix_surrealdb import PASSWORD as ROOT
from fix_surrealdb import USER

from walsync.check.reasons import REASONS


def block(surreal: ServerBench, **changes: object) -> dict[str, object]:
    keys = {"name": "graph", "type": "surrealdb", "url": surreal.server.url, "namespace": "app"}
    return {**keys, "database": surreal.database, "username": USER, "password": ROOT, **changes}


def viewer(surreal: ServerBench) -> dict[str, object]:
    surreal.execute(f"DEFINE USER viewer ON DATABASE PASSWORD '{PASSWORD}' ROLES VIEWER")
    return {"username": "viewer", "password": PASSWORD, "level": "database"}


def root_viewer(surreal: ServerBench) -> dict[str, object]:
    surreal.execute(f"DEFINE USER OVERWRITE looker ON ROOT PASSWORD '{PASSWORD}' ROLES VIEWER")
    return {"username": "looker", "password": PASSWORD, "namespace": "absent"}


def denied_record(surreal: ServerBench) -> dict[str, object]:
    surreal.execute(
        f"""DEFINE TABLE _walsync PERMISSIONS FULL; DEFINE TABLE _walsync_stage PERMISSIONS FULL;
        DEFINE TABLE users PERMISSIONS FOR select FULL; DEFINE TABLE app; CREATE app:1 SET pass = '{PASSWORD}';
        DEFINE ACCESS app ON DATABASE TYPE RECORD SIGNIN (SELECT * FROM app WHERE pass = $pass)"""
    )
    return {"username": "", "password": "", "access": "app", "credentials": {"pass": PASSWORD}}


def view(surreal: ServerBench) -> dict[str, object]:
    surreal.execute("DEFINE TABLE other; DEFINE TABLE users AS SELECT * FROM other")
    return {}


def schemaless(surreal: ServerBench) -> dict[str, object]:
    surreal.execute("DEFINE TABLE users SCHEMALESS")
    return {"tables": [{"table": "public.users", "schemafull": True}]}


def edge(surreal: ServerBench) -> dict[str, object]:
    del surreal
    return {"tables": [{"table": "public.users", "edge": {"in": "id", "out": "id"}}]}


def keys(**changes: object) -> Callable[[ServerBench], dict[str, object]]:
    return lambda _: changes


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (keys(url="ws://127.0.0.1:1/rpc"), "WS4101"),
        (keys(url="wss://127.0.0.1:1/rpc", ca_file="/absent.pem"), "WS4608"),
        (keys(password=PASSWORD), "WS4609"),
        (keys(level="database"), "WS4609"),
        (viewer, "WS4202"),
        (denied_record, "WS4202"),
        (root_viewer, "WS4613"),
        (view, "WS4607"),
        (edge, "WS4614"),
        (schemaless, "WS4616"),
    ],
)
async def test_what_would_keep_a_server_from_working_is_found(
    users: Database, surreal: ServerBench, change: Callable[[ServerBench], dict[str, Any]], code: str
) -> None:
    found = await problems(configuration(users.dsn, block(surreal, **change(surreal))))
    assert [(one.code, one.where) for one in found] == [(code, "target graph")]
    assert found[0].message
    assert found[0].hint
    assert found[0].why == REASONS[code]


async def test_nothing_is_found_where_nothing_is_wrong_and_nothing_is_made(
    users: Database, surreal: ServerBench
) -> None:
    assert await problems(configuration(users.dsn, block(surreal))) == []
    (databases,) = surreal.server.execute("INFO FOR NS STRUCTURE", "app", "app")
    assert surreal.database not in {one["name"] for one in databases["databases"]}


async def test_an_address_is_no_directory(
    users: Database, surreal: ServerBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ws:").touch()  # where the address, read as a path from here, would begin
    monkeypatch.chdir(tmp_path)
    assert await problems(configuration(users.dsn, block(surreal))) == []


@pytest.mark.parametrize(("version", "code"), [(None, "WS4610"), ("surrealdb-1.5.6", "WS4611")])
async def test_what_is_no_surrealdb_that_fits_is_found(users: Database, version: str | None, code: str) -> None:
    async def rpc(request: web.Request) -> web.StreamResponse:
        if version is None:
            return web.Response(text="something else")
        socket = web.WebSocketResponse(protocols=("cbor",))
        await socket.prepare(request)
        await socket.receive()
        await socket.send_bytes(cbor2.dumps({"id": "1", "result": version}))
        await socket.receive()
        return socket

    application = web.Application()
    application.router.add_get("/rpc", rpc)
    async with TestServer(application) as server:
        keys = {"name": "graph", "type": "surrealdb", "url": f"ws://127.0.0.1:{server.port}/rpc", "namespace": "app"}
        target = {**keys, "database": "app", "username": USER, "password": ROOT}
        found = await the_problem(configuration(users.dsn, target), code)
    assert found.where == "target graph"
