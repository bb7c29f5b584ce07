"""What one target that is away costs another, and how fast it catches up.

    python bench/isolation.py [--rows 400000] [--seconds 15] [--record]

Two Postgres targets on servers of their own. The rate of catching up is taken on the same rows as the main stream's:
they are written while walsync is stopped, or while one target is down. The delay is that of the target which stays,
from commit to durable, of each batch's oldest transaction, under a steady load by another process.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager

import psycopg2
from recording import options, record

from walsync.config import Config
from walsync.demo.engines import PostgresServer
from walsync.interpreter import settle
from walsync.metrics import Metrics
from walsync.pipeline import Pipeline
from walsync.progress import Progress
from walsync.status import TargetState
from walsync.target.base import Batch

WANTED_RATE = 0.8
WANTED_DELAY = 2.0
PER_TRANSACTION = 100
SECONDS = 300.0
EPOCH_2000 = 946_684_800

TABLE = """
CREATE TABLE w1 (
    id bigint PRIMARY KEY, name text, email text, balance numeric(12,2), active boolean, created timestamptz
)
"""
ROWS = """
INSERT INTO w1 SELECT i, 'name of ' || i, md5(i::text) || '@example.com ' || repeat('x', 40), i / 7.0, i %% 3 = 0,
    '2026-11-21'::timestamptz + i * interval '1 second' FROM generate_series(%s, %s) AS i
"""
LOAD = f"""
import itertools, psycopg2, sys, time
connection = psycopg2.connect(sys.argv[1])
connection.autocommit = True
cursor = connection.cursor()
begun = time.perf_counter()
for number in itertools.count():
    time.sleep(max(0.0, begun + number * float(sys.argv[3]) - time.perf_counter()))
    first = int(sys.argv[2]) + number * 5
    cursor.execute({ROWS!r}, (first, first + 4))
"""
LOAD_PERIOD_SECONDS = 0.005


class Delays(Metrics):
    """Keeps each delay, which the histogram only sorts into buckets."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[float]] = {}

    def count_batch(self, target: str, batch: Batch, seconds: float) -> None:
        """Count a batch that has become durable."""
        super().count_batch(target, batch, seconds)
        if batch.transactions:
            committed_at = batch.transactions[0].commit_time / 1e6 + EPOCH_2000
            self.seen.setdefault(target, []).append(time.time() - committed_at)


class Bench:
    """A source and two targets."""

    def __init__(self, source: PostgresServer, near: PostgresServer, far: PostgresServer) -> None:
        self.source, self.near, self.far = source, near, far
        self.metrics = Delays()
        self.pipeline = self._pipeline()
        self._written = self._loads = 0

    def _pipeline(self) -> Pipeline:
        targets = [
            {"name": name, "type": "postgres", "dsn": server.dsn()}
            for name, server in (("near", self.near), ("far", self.far))
        ]
        content: dict[str, object] = {"source": {"dsn": self.source.dsn(), "tables": ["public.w1"]}, "targets": targets}
        # A small backlog: who is away is soon behind it, and catches up on a stream of its own.
        content |= {"backlog": {"max_bytes": "4MB"}, "http": {"listen": ""}}
        return Pipeline(Config.model_validate(content), self.metrics)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run walsync in this process."""
        self.pipeline = self._pipeline()
        task = asyncio.create_task(self.pipeline.run())
        try:
            yield
        finally:
            self.pipeline.stop()
            await task

    def write(self, rows: int) -> None:
        """Write rows in transactions of a common size."""
        with closing(psycopg2.connect(self.source.dsn())) as connection, connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")
            for first in range(self._written, self._written + rows, PER_TRANSACTION):
                cursor.execute(ROWS, (first + 1, first + PER_TRANSACTION))
                connection.commit()
        self._written += rows

    @contextmanager
    def load(self) -> Iterator[None]:
        """Let another process write at a steady rate."""
        self._loads += 1
        arguments = [self.source.dsn(), str(-10_000_000 * self._loads), str(LOAD_PERIOD_SECONDS)]
        process = subprocess.Popen([sys.executable, "-c", LOAD, *arguments])
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until something is reached."""
        deadline = time.monotonic() + SECONDS
        while not reached():
            if time.monotonic() > deadline:
                raise TimeoutError
            await asyncio.sleep(0.005)

    def is_reading(self) -> bool:
        """Whether the main stream is open."""
        return self.pipeline.session is not None and self.pipeline.session.main.is_reading

    def progress(self, name: str) -> Progress:
        """Return how far a target is."""
        session = self.pipeline.session
        return Progress() if session is None else session.deliveries[name].progress

    async def until_state(self, name: str, state: TargetState) -> None:
        """Wait for a state of a target."""
        await self.until(lambda: self.progress(name).state is state)

    async def until_position(self, name: str, lsn: int) -> None:
        """Wait until a target has what commits below `lsn`."""
        await self.until(lambda: self.progress(name).position >= lsn)

    async def caught_up(self) -> None:
        """Wait until both targets have everything."""
        await asyncio.wait_for(self.pipeline.wait_until_caught_up(), SECONDS)


async def rates(bench: Bench, rows: int) -> tuple[float, float]:
    """Return the rows per second of the main stream, which one target follows, and of catching up."""
    async with bench.running():
        await bench.caught_up()
        bench.far.stop()
        await asyncio.to_thread(bench.write, PER_TRANSACTION)
        await bench.until_state("far", TargetState.RETRYING)
    await asyncio.to_thread(bench.write, rows)
    # Far is down: near alone follows the main stream, from where it had stopped.
    async with bench.running():
        await bench.until(bench.is_reading)
        started = time.perf_counter()
        end = await bench.pipeline.upstream.wal_end()
        await bench.until_position("near", end)
        main = time.perf_counter() - started
        await bench.until_state("far", TargetState.PARKED)
        bench.far.start()
        await bench.until_state("far", TargetState.CATCHING_UP)
        started = time.perf_counter()
        await bench.until_position("far", end)
        catching_up = time.perf_counter() - started
        await bench.caught_up()
    return rows / main, rows / catching_up


def p99(delays: Sequence[float]) -> float:
    """Return the 99th percentile, in milliseconds."""
    return sorted(delays)[int(0.99 * len(delays))] * 1000


async def delays(bench: Bench, rows: int, seconds: float) -> tuple[float, float, float]:
    """Return near's p99: with far there, with far down, and while far catches up with many rows."""
    found = []
    seen = bench.metrics.seen
    async with bench.running():
        await bench.caught_up()
        with bench.load():
            await bench.until_state("near", TargetState.STREAMING)
            await asyncio.sleep(1)
            seen.clear()
            await asyncio.sleep(seconds)
            found.append(p99(seen["near"]))
            bench.far.stop()
            await asyncio.sleep(1)
            seen.clear()
            await asyncio.sleep(seconds)
            found.append(p99(seen["near"]))
            await asyncio.to_thread(bench.write, rows)
            await bench.until_state("far", TargetState.PARKED)
            await asyncio.sleep(2)
            bench.far.start()
            await bench.until_state("far", TargetState.CATCHING_UP)
            seen.clear()
            await bench.until_state("far", TargetState.STREAMING)
            found.append(p99(seen["near"]))
        await bench.caught_up()
    return found[0], found[1], found[2]


async def measure(rows: int, seconds: float) -> tuple[bool, str]:
    """Measure; tells whether all is as fast as wanted."""
    settings = {"max_wal_size": "4GB", "shared_buffers": "128MB", "autovacuum": "off"}
    with (
        PostgresServer(settings=settings) as source,
        PostgresServer(settings=settings) as near,
        PostgresServer(settings=settings) as far,
    ):
        with closing(psycopg2.connect(source.dsn())) as connection, connection.cursor() as cursor:
            cursor.execute(TABLE)
            connection.commit()
        bench = Bench(source, near, far)
        main, catching_up = await rates(bench, rows)
        there, down, back = await delays(bench, rows, seconds)
    good = catching_up >= WANTED_RATE * main and max(down, back) <= WANTED_DELAY * there
    return good, (
        f"main stream {main:,.0f} rows/s, catching up {catching_up:,.0f} rows/s, ratio **{catching_up / main:.2f}**;"
        f" p99 delay of the other target {there:.0f} ms, with this one down {down:.0f} ms (**{down / there:.2f}**),"
        f" while it catches up {back:.0f} ms (**{back / there:.2f}**)"
    )


def main() -> int:
    """Measure, and print or record the line; 0 if all is as fast as wanted."""
    parser = options(400_000)
    parser.add_argument("--seconds", type=float, default=15.0)
    arguments = parser.parse_args()
    settle()  # as a process of walsync does
    good, line = asyncio.run(measure(arguments.rows, arguments.seconds))
    print(line)
    if arguments.record:
        about = f"Postgres 18, two targets; {PER_TRANSACTION} rows a transaction, load of 200 times 5 rows a second"
        record("Isolation", about, line)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
