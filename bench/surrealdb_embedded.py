"""How much of the engine's speed is left when walsync writes to it, and how long the event loop stands still meanwhile.

    python bench/surrealdb_embedded.py [--rows 20000] [--record]

Both sides write the same rows on the same kind of directory in the same run, in turns: the bare loop sends requests
that were made before the clock started, each a FOR over 1000 UPSERTs and a checkpoint; walsync takes batches of raw
changes as they come from the stream. `--record` appends the result to bench/RESULTS.md.
"""

import asyncio
import gc
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import cbor2
from cbor2 import CBORTag
from recording import options, record
from watch import Watch
from writing import write

from walsync.lsn import LSN
from walsync.relation import Column, Relation, ReplicaIdentity
from walsync.row import write_tuple
from walsync.source.pgtype import PgType
from walsync.source.table import Table, TableColumn
from walsync.target.base import Batch
from walsync.target.surrealdb.embedded import open_embedded
from walsync.target.surrealdb.engine import encode
from walsync.target.surrealdb.settings import SurrealDBSettings
from walsync.target.surrealdb.target import SurrealDBTarget
from walsync.transaction.change import Insert, Transaction

ROUNDS = 5
REQUEST_ROWS = 1000
BATCH_ROWS = 20_000  # what the pipeline hands over under load

# Nine columns, about 173 bytes.
TYPES = {
    "id": ("bigint", 20),
    "name": ("text", 25),
    "email": ("text", 25),
    "age": ("integer", 23),
    "balance": ("numeric", 1700),
    "active": ("boolean", 16),
    "created": ("timestamp with time zone", 1184),
    "owner": ("uuid", 2950),
    "note": ("text", 25),
}
LOOP = """
BEGIN; LET $c = (SELECT VALUE lsn FROM ONLY $ck);
IF $c != $prev { THROW 'stale' };
FOR $o IN $ops { UPSERT $o.id CONTENT $o RETURN NONE };
UPSERT $ck CONTENT { lsn: $lsn } RETURN NONE; COMMIT;
"""


def table() -> Table:
    """Describe the table."""
    columns = tuple(
        TableColumn(name, position, oid, -1, kind, kind, "b", (), name == "id", None, "", PgType(oid, kind))
        for position, (name, (kind, oid)) in enumerate(TYPES.items(), 1)
    )
    return Table(16384, "public", "people", ReplicaIdentity.DEFAULT, columns, tuple(TYPES), ("id",), ("id",))


def values(number: int) -> list[bytes | None]:
    """Make a row as the stream has it."""
    owner = str(UUID(int=number * 7919))
    moment = f"2026-11-{number % 28 + 1:02} 12:{number % 60:02}:00.{number % 1000:03}+00"
    texts = (str(number), f"name of {number}", f"{number}@example.com", str(number % 90), f"{number}.50", "t", moment)
    return [*(text.encode() for text in texts), owner.encode(), b"a note that nobody reads, long enough to weigh"]


def batches(rows: int) -> Iterator[Batch]:
    """Make transactions of ten inserts each, and batches of them."""
    described = table()
    relation = Relation(
        described.relid,
        "public",
        "people",
        ReplicaIdentity.DEFAULT,
        tuple(Column(column.name, column.type_oid, -1, column.name == "id") for column in described.columns),
    )
    position = 0
    for first in range(0, rows, BATCH_ROWS):
        numbers = range(first, min(first + BATCH_ROWS, rows))
        transactions = [
            Transaction(
                700,
                LSN(start * 16 + 8),
                LSN(start * 16 + 16),
                0,
                tuple(Insert(relation, write_tuple(values(n)), n) for n in range(start, start + 10)),
                2000,
            )
            for start in numbers[::10]
        ]
        end = transactions[-1].end_lsn
        yield Batch(LSN(position), end, transactions)
        position = end


def requests(rows: int) -> list[bytes]:
    """Make the bare loop's requests."""
    made = []
    for first in range(0, rows, REQUEST_ROWS):
        ops = [row(number) for number in range(first, min(first + REQUEST_ROWS, rows))]
        variables = {"ck": CBORTag(8, ["_ck", 1]), "prev": first, "lsn": first + REQUEST_ROWS, "ops": ops}
        made.append(encode(LOOP, variables))
    return made


def row(number: int) -> dict[str, object]:
    """Make the same row as the engine stores it."""
    _, name, email, age, balance, _, moment, owner, note = (value.decode() for value in values(number) if value)
    seconds = int(datetime.fromisoformat(moment).timestamp())
    return {
        "id": CBORTag(8, ["people", number]),
        "name": name,
        "email": email,
        "age": int(age),
        "balance": CBORTag(10, balance),
        "active": True,
        "created": CBORTag(12, [seconds, number % 1000 * 1_000_000]),
        "owner": CBORTag(37, UUID(owner).bytes),
        "note": note,
    }


@contextmanager
def directory() -> Iterator[Path]:
    """Name a place that is gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="walsync-bench-"))
    try:
        yield path / "graph"
    finally:
        shutil.rmtree(path)


def settings(path: Path) -> SurrealDBSettings:
    """Configure a target on that place."""
    return SurrealDBSettings(name="bench", type="surrealdb", url=f"surrealkv://{path}", namespace="b", database="b")


async def bare(path: Path, prepared: list[bytes], watch: Watch) -> float:
    """Send requests that are ready, and look at every answer."""
    engine = await open_embedded(settings(path), create=True)
    if engine is None:
        raise RuntimeError("there is no engine")
    database: Any = engine._database
    define = "DEFINE TABLE people; DEFINE TABLE _ck; UPSERT $ck CONTENT {lsn: 0}"
    await engine.query(encode(define, {"ck": CBORTag(8, ["_ck", 1])}))
    async with watch.running():
        started = time.perf_counter()
        for request in prepared:
            slots = cbor2.loads(await database.execute(request))["result"]
            if any(slot["status"] != "OK" for slot in slots):
                raise RuntimeError(f"the bare loop fails: {slots}")
        elapsed = time.perf_counter() - started
    await engine.close()
    return elapsed


async def ours(path: Path, prepared: list[Batch], watch: Watch) -> float:
    """Write batches as the pipeline does."""
    return await write(SurrealDBTarget(settings(path), "bench"), table(), prepared, watch)


async def measure(rows: int) -> str:
    """Write the rows in turns, and return what came of it."""
    raw, prepared = requests(rows), list(batches(rows))
    gc.collect()
    gc.freeze()  # walsync never holds that many changes at once: the collector would look at them again and again
    bare_watch, our_watch = Watch(), Watch()
    seconds: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        with directory() as path:
            first = await bare(path, raw, bare_watch)
        with directory() as path:
            seconds.append((first, await ours(path, prepared, our_watch)))
    bare_rate, our_rate = (rows / statistics.median(each) for each in zip(*seconds, strict=True))
    ratios = sorted(first / second for first, second in seconds)
    return (
        f"bare {bare_rate:,.0f} rows/s, walsync {our_rate:,.0f} rows/s; ratio per round {ratios[0]:.2f} to"
        f" {ratios[-1]:.2f}, median **{statistics.median(ratios):.2f}**; event loop late by"
        f" {our_watch.longest * 1000:.0f} ms at most (under the bare loop: {bare_watch.longest * 1000:.0f} ms)"
    )


def main() -> None:
    """Measure, and print or record the line."""
    arguments = options(40_000).parse_args()
    line = asyncio.run(measure(arguments.rows))
    print(line)
    if arguments.record:
        record("SurrealDB embedded", "engine 2.3.10, fsync on both sides", line)


if __name__ == "__main__":
    main()
