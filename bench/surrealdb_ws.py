"""How much of a SurrealDB server's speed walsync reaches over its WebSocket, and what one UPSERT per request would.

    python bench/surrealdb_ws.py [--rows 10000] [--version 2.3|3.0] [--record]

All three write the same rows into new databases of one server, in turns: requests of one UPSERT each, one after the
other; the bare loop, whose requests of 1000 UPSERTs and a checkpoint were made before the clock started; walsync, which
takes batches of raw changes. The server is the engine behind the bridge of the tests, on disk.
"""

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import cbor2
from cbor2 import CBORTag
from recording import options, record
from surrealdb_embedded import batches, requests, row, table
from watch import Watch
from writing import write

from walsync.settings import Secret
from walsync.target.base import Batch
from walsync.target.surrealdb.engine import encode
from walsync.target.surrealdb.settings import SurrealDBSettings
from walsync.target.surrealdb.target import SurrealDBTarget

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the engines belong to the tests
from fix_surrealdb import PASSWORD, USER, VERSIONS, SurrealServer

ROUNDS = 5
SINGLE_ROWS = 500
DEFINE = "DEFINE TABLE people; DEFINE TABLE _ck; UPSERT $ck CONTENT {lsn: 0}"


def single_requests(rows: int) -> list[bytes]:
    """Make one request per row."""
    return [encode("UPSERT $row.id CONTENT $row RETURN NONE", {"row": row(number)}) for number in range(rows)]


async def bare(server: SurrealServer, database: str, prepared: Sequence[bytes]) -> float:
    """Send requests that are ready, one after the other, and look at every answer."""
    async with aiohttp.ClientSession() as session, session.ws_connect(server.url, protocols=["cbor"]) as socket:
        for method, params in (("signin", [{"user": USER, "pass": PASSWORD}]), ("use", ["b", database])):
            await socket.send_bytes(cbor2.dumps({"id": "1", "method": method, "params": params}))
            await socket.receive_bytes()
        for number, request in enumerate([encode(DEFINE, {"ck": CBORTag(8, ["_ck", 1])}), *prepared]):
            if number == 1:
                started = time.perf_counter()
            await socket.send_bytes(request)
            slots = cbor2.loads(await socket.receive_bytes())["result"]
            if any(slot["status"] != "OK" for slot in slots):
                raise RuntimeError(f"the bare loop fails: {slots}")
        return time.perf_counter() - started


async def ours(server: SurrealServer, database: str, prepared: Sequence[Batch], watch: Watch) -> float:
    """Write batches as the pipeline does."""
    settings = SurrealDBSettings(
        name="bench",
        type="surrealdb",
        url=server.url,
        namespace="b",
        database=database,
        username=USER,
        password=Secret(PASSWORD),
    )
    return await write(SurrealDBTarget(settings, "bench"), table(), prepared, watch)


async def measure(server: SurrealServer, rows: int) -> str:
    """Write the rows in turns, and return what came of it."""
    singles, loop, prepared = single_requests(SINGLE_ROWS), requests(rows), list(batches(rows))
    gc.collect()
    gc.freeze()  # walsync never holds that many changes at once: the collector would look at them again and again
    watch = Watch()
    rates: list[tuple[float, float, float]] = []
    for number in range(ROUNDS):
        single = SINGLE_ROWS / await bare(server, f"single{number}", singles)
        bare_rate = rows / await bare(server, f"bare{number}", loop)
        rates.append((single, bare_rate, rows / await ours(server, f"ours{number}", prepared, watch)))
    single, bare_rate, our_rate = (statistics.median(each) for each in zip(*rates, strict=True))
    of_bare = sorted(our / bare for _, bare, our in rates)
    of_single = sorted(our / single for single, _, our in rates)
    return (
        f"one UPSERT per request {single:,.0f} rows/s, bare {bare_rate:,.0f} rows/s, walsync {our_rate:,.0f} rows/s;"
        f" per round walsync is {of_bare[0]:.2f} to {of_bare[-1]:.2f} of the bare loop,"
        f" median **{statistics.median(of_bare):.2f}**, and {of_single[0]:.1f} to {of_single[-1]:.1f} times"
        f" one per request, median **{statistics.median(of_single):.1f}**;"
        f" event loop late by {watch.longest * 1000:.0f} ms at most"
    )


def main() -> None:
    """Measure, and print or record the line."""
    parser = options(10_000)
    parser.add_argument("--version", choices=VERSIONS, default=VERSIONS[-1])
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="walsync-bench-") as folder,
        SurrealServer(arguments.version, Path(folder) / "data") as server,
    ):
        line = asyncio.run(measure(server, arguments.rows))
    print(line)
    if arguments.record:
        about = f"engine {arguments.version} on disk behind the tests' bridge"
        record("SurrealDB over its WebSocket", about, line)


if __name__ == "__main__":
    main()
