"""How much of workerd's speed is left when walsync writes through the gateway, to one region and to six.

    python bench/d1_gateway.py [--rows 20000] [--record]

The Worker and its six databases run on a local workerd, as the tests start it. Both sides write the same rows, by
inserts and then by updates, in the same run, in turns. The bare loop posts the very bodies that walsync makes, made and
signed before the clock started; walsync takes batches of raw changes as they come from the stream. With six regions the
bare loops run side by side, each with its own connection: that is what this machine can do. `--record` appends to
bench/RESULTS.md.
"""

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from uuid import UUID

import aiohttp
from d1_embedded import TABLE, batches
from recording import options, record
from writing import WRITER

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fix_workerd import DATABASES, SECRET, Workerd, signed_headers

from walsync.lsn import LSN
from walsync.settings import Secret
from walsync.target.base import Batch
from walsync.target.d1.changes import statements_of
from walsync.target.d1.checkpoint import CheckpointStore
from walsync.target.d1.encoder import Encoder
from walsync.target.d1.gateway import GatewayClient, _parts
from walsync.target.d1.plan import Plans
from walsync.target.d1.request import Encoding
from walsync.target.d1.settings import D1Settings
from walsync.target.d1.target import D1Target
from walsync.target.slices import Reached

ROUNDS = 3
WANTED_ONE = 0.70
WANTED_SIX = 0.85


def target(workerd: Workerd, database: str, encoder: Encoder) -> D1Target:
    """Make the target of a region."""
    settings = D1Settings(name=database.lower(), type="d1", url=workerd.url, database=database, secret=Secret(SECRET))
    return D1Target(settings, "bench", encoder=encoder)


async def begin(workerd: Workerd, databases: Sequence[str]) -> list[D1Target]:
    """Empty the databases, and make targets that stand at the beginning."""
    encoder = Encoder()
    made = [target(workerd, database, encoder) for database in databases]
    for one, database in zip(made, databases, strict=True):
        workerd.plain(database).clear()
        await one.register(UUID(int=1), WRITER, LSN(0))
        await one.prepare([TABLE])
    return made


def bodies(workerd: Workerd, database: str, prepared: Sequence[Batch]) -> list[bytes]:
    """Make the bodies that walsync posts to a region."""
    client = GatewayClient(workerd.url, database, Secret(SECRET), "bench")
    store, plans = CheckpointStore(client, "bench", database.lower()), Plans([TABLE])
    one, made = target(workerd, database, Encoder()), []
    for batch in prepared:
        for piece in one._cut(batch, Reached(batch.previous)):
            head = store.advance(WRITER, piece.before, piece.after)
            encoding = Encoding(statements_of(piece.transactions, plans, in_order=False))
            made.append(b"".join(_parts(head, encoding)))
    return made


async def bare(workerd: Workerd, databases: Sequence[str], prepared: Sequence[Batch]) -> float:
    """Post prepared requests; return the seconds."""
    for one in await begin(workerd, databases):
        await one.close()
    made = {database: bodies(workerd, database, prepared) for database in databases}
    signed = {
        database: [(body, signed_headers(f"/{database}/apply", body)) for body in one] for database, one in made.items()
    }

    async def post(database: str) -> None:
        async with aiohttp.ClientSession(headers={"content-type": "application/octet-stream"}) as session:
            for body, headers in signed[database]:
                async with session.post(f"{workerd.url}/{database}/apply", data=body, headers=headers) as answer:
                    if answer.status != 200:  # noqa: PLR2004
                        raise RuntimeError(await answer.text())
                    await answer.json()

    return await timed(lambda: asyncio.gather(*map(post, databases)))


async def ours(workerd: Workerd, databases: Sequence[str], prepared: Sequence[Batch]) -> float:
    """Write batches; return the seconds."""
    targets = await begin(workerd, databases)

    async def write(one: D1Target) -> None:
        for batch in prepared:
            await one.write(batch)

    seconds = await timed(lambda: asyncio.gather(*map(write, targets)))
    for one in targets:
        await one.close()
    return seconds


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds that work takes."""
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


def measure(workerd: Workerd, databases: Sequence[str], rows: int) -> tuple[float, float, float]:
    """Return changes per second of the bare loop and of walsync, and their ratio, all medians."""
    prepared = batches(rows)
    gc.freeze()
    pairs = []
    for number in range(ROUNDS):
        order = (bare, ours) if number % 2 else (ours, bare)
        seconds = {one.__name__: asyncio.run(one(workerd, databases, prepared)) for one in order}
        pairs.append((seconds["bare"], seconds["ours"]))
    total = 2 * rows * len(databases)
    return (
        total / statistics.median(pair[0] for pair in pairs),
        total / statistics.median(pair[1] for pair in pairs),
        statistics.median(pair[0] / pair[1] for pair in pairs),
    )


def main() -> int:
    """Measure, print, record; 0 if the speed wanted is there."""
    arguments = options(20_000).parse_args()
    lines, enough = [], True
    with tempfile.TemporaryDirectory(prefix="walsync-bench-") as folder:
        workerd = Workerd(Path(folder))
        try:
            for name, databases, wanted in (
                ("one region", DATABASES[:1], WANTED_ONE),
                ("six regions", DATABASES, WANTED_SIX),
            ):
                rows = arguments.rows if len(databases) == 1 else arguments.rows // 2
                bare_rate, our_rate, ratio = measure(workerd, databases, rows)
                lines.append(
                    f"{name}: bare {bare_rate:,.0f} changes/s, walsync {our_rate:,.0f} changes/s, ratio **{ratio:.2f}**"
                )
                print(lines[-1])
                enough = enough and ratio >= wanted
        finally:
            workerd.close()
    if arguments.record:
        result = "\n".join(f"- {line}" for line in lines)
        record("D1 gateway on workerd", "miniflare 4.20260426.0", result)
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
