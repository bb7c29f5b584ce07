"""How much of SQLite's speed is left when walsync writes to a D1 file, and how long the event loop stands still.

    python bench/d1_embedded.py [--rows 100000] [--record]

Both sides write the same rows, by inserts and then by updates, to files of the same kind in the same run, in turns.
The bare loop executes the very statements that walsync makes, made before the clock started, each request a
transaction; walsync takes batches of raw changes as they come from the stream. `--record` appends to bench/RESULTS.md.
"""

import asyncio
import gc
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from recording import options, record
from watch import Watch
from writing import WRITER, write

from walsync.interpreter import settle
from walsync.lsn import LSN
from walsync.relation import Column, Relation, ReplicaIdentity
from walsync.row import write_tuple
from walsync.source.pgtype import PgType
from walsync.source.table import Table, TableColumn
from walsync.target.base import Batch
from walsync.target.d1.changes import statements_of
from walsync.target.d1.checkpoint import CheckpointStore
from walsync.target.d1.embedded import EmbeddedClient
from walsync.target.d1.plan import Plans, table_plan
from walsync.target.d1.request import Request
from walsync.target.d1.schema import create_table
from walsync.target.d1.settings import D1Settings
from walsync.target.d1.statements import CREATE_OWN
from walsync.target.d1.target import REQUEST_CHANGES, D1Target
from walsync.target.slices import Limits, Reached, cut
from walsync.transaction.change import Change, Insert, Transaction, Update

ROUNDS = 5
BATCH_CHANGES = 20_000
TRANSACTION_CHANGES = 10
WANTED_RATIO = 0.6
WANTED_BLOCKED_SECONDS = 0.05
LIMITS = Limits(REQUEST_CHANGES, EmbeddedClient.request_bytes)

# Six columns, about 150 bytes.
TYPES = {
    "id": ("bigint", 20),
    "name": ("text", 25),
    "email": ("text", 25),
    "balance": ("numeric", 1700),
    "created": ("timestamp with time zone", 1184),
    "note": ("text", 25),
}
TABLE = Table(
    16384,
    "public",
    "people",
    ReplicaIdentity.DEFAULT,
    tuple(
        TableColumn(name, position, oid, -1, kind, kind, "b", (), name == "id", None, "", PgType(oid, kind))
        for position, (name, (kind, oid)) in enumerate(TYPES.items(), 1)
    ),
    tuple(TYPES),
    ("id",),
    ("id",),
    renamed=("people",),
)
RELATION = Relation(
    TABLE.relid,
    TABLE.schema,
    TABLE.name,
    TABLE.replica_identity,
    tuple(Column(column.name, column.type_oid, -1, column.name == "id") for column in TABLE.columns),
)


def row(number: int, note: str) -> bytes:
    """Make a raw tuple."""
    moment = f"2026-11-{number % 28 + 1:02} 12:{number % 60:02}:00.{number % 1000:03}+00"
    texts = (str(number), f"name of {number}", f"{number}@example.com", f"{number}.50", moment, note)
    return write_tuple([text.encode() for text in texts])


def changes(rows: int) -> Iterator[Change]:
    """Insert rows, then change each."""
    for number in range(rows):
        yield Insert(
            RELATION,
            row(number, "a note that nobody reads, long enough to weigh what a row of an application weighs"),
            number,
        )
    for number in range(rows):
        yield Update(
            RELATION,
            None,
            row(number, "another note, of which the same can be said, so that both kinds of change are alike"),
            rows + number,
        )


def batches(rows: int) -> list[Batch]:
    """Gather the changes as the backlog would."""
    everything = list(changes(rows))
    transactions = [
        Transaction(700, LSN(first * 16 + 8), LSN(first * 16 + 16), 0, tuple(everything[first : first + size]), 2000)
        for size in (TRANSACTION_CHANGES,)
        for first in range(0, len(everything), size)
    ]
    made, position = [], LSN(0)
    for first in range(0, len(transactions), BATCH_CHANGES // TRANSACTION_CHANGES):
        taken = transactions[first : first + BATCH_CHANGES // TRANSACTION_CHANGES]
        made.append(Batch(position, taken[-1].end_lsn, taken))
        position = taken[-1].end_lsn
    return made


def requests(prepared: list[Batch], path: Path) -> list[Request]:
    """Make the requests of the bare loop."""
    store, plans = CheckpointStore(EmbeddedClient(path, "bench"), "bench", "bench"), Plans([TABLE])
    made: list[Request] = []
    for batch in prepared:
        for one in cut(batch.transactions, batch.position, Reached(batch.previous), LIMITS):
            head = store.advance(WRITER, one.before, one.after)
            made.append([*head, *statements_of(one.transactions, plans, in_order=False)])
    return made


def bare(path: Path, made: list[Request]) -> float:
    """Execute requests; return the seconds."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for sql in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"):
            connection.execute(sql).fetchall()
        for statement in (*CREATE_OWN, create_table(table_plan(TABLE))):
            connection.execute(statement.sql)
        connection.execute(
            "INSERT INTO _walsync_checkpoint (slot, target, target_id, system_identifier, timeline, epoch, lsn, at)"
            " VALUES ('bench', 'bench', '', '1', 1, 1, '0/0', '')"
        )
        started = time.perf_counter()
        for request in made:
            connection.execute("BEGIN")
            for sql, parameters in request:
                connection.execute(sql, parameters)
            connection.execute("COMMIT")
        return time.perf_counter() - started


async def bare_in_thread(path: Path, made: list[Request], watch: Watch) -> float:
    """Execute requests as `bare` does, in a thread beside the event loop; return the seconds."""
    async with watch.running():
        return await asyncio.to_thread(bare, path, made)


async def ours(path: Path, prepared: list[Batch], watch: Watch) -> float:
    """Write batches; return the seconds."""
    target = D1Target(D1Settings(name="bench", type="d1", url=f"sqlite://{path}"), "bench")
    return await write(target, TABLE, prepared, watch)


def measure(rows: int) -> tuple[float, float, float, float]:
    """Return changes per second of the bare loop and of walsync, and how long the loop was blocked under each."""
    prepared, bare_watch, watch = batches(rows), Watch(), Watch()
    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    with tempfile.TemporaryDirectory(prefix="walsync-bench-") as folder:
        made = requests(prepared, Path(folder))
        gc.freeze()  # what both sides wait with is not to be looked through in the middle
        for number in range(ROUNDS):
            seconds["bare"].append(asyncio.run(bare_in_thread(Path(folder) / f"bare{number}", made, bare_watch)))
            seconds["ours"].append(asyncio.run(ours(Path(folder) / f"ours{number}", prepared, watch)))
    total = 2 * rows
    bare_rate, our_rate = (total / statistics.median(seconds[side]) for side in ("bare", "ours"))
    return bare_rate, our_rate, bare_watch.longest, watch.longest


def main() -> int:
    """Measure, print, record; 0 if the speed wanted is there."""
    arguments = options(100_000).parse_args()
    settle()  # as `walsync run` does
    bare_rate, our_rate, bare_blocked, blocked = measure(arguments.rows)
    ratio = our_rate / bare_rate
    line = (
        f"bare {bare_rate:,.0f} changes/s, walsync {our_rate:,.0f} changes/s, ratio **{ratio:.2f}**;"
        f" event loop blocked for {blocked * 1000:.0f} ms at most (beside the bare loop: {bare_blocked * 1000:.0f} ms)"
    )
    print(line)
    if arguments.record:
        record("D1 embedded", f"SQLite {sqlite3.sqlite_version}, synchronous=FULL on both sides", line)
    return 0 if ratio >= WANTED_RATIO and blocked <= WANTED_BLOCKED_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
