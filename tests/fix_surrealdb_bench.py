"""A database of its own on each version of SurrealDB's servers, reached through a proxy, and a target that is ready."""

from collections.abc import Callable

import pytest
from conformance.bench import START
from conformance.bench_surrealdb_server import ServerBench
from conformance.stream import TARGET_ID, make_table, writer
from fix_proxy import Proxy
from fix_surrealdb import VERSIONS, SurrealServer

from walsync.lsn import LSN
from walsync.target.surrealdb.target import SurrealDBTarget

USERS = make_table("users", [("id", "integer"), ("name", "text")])


@pytest.fixture(params=VERSIONS)
def surreal(
    request: pytest.FixtureRequest,
    surrealdb_servers: Callable[[str], SurrealServer],
    new_proxy: Callable[[str, int], Proxy],
) -> ServerBench:
    """Take a new database on the server that is shared."""
    server = surrealdb_servers(request.param)
    return ServerBench(server, new_proxy(server.host, server.port))


async def opened(target: SurrealDBTarget) -> None:
    """Let a new target take `USERS`."""
    await target.register(TARGET_ID, writer(), LSN(START))
    await target.claim(writer())
    await target.prepare([USERS])
