"""How fast a table gets into a Postgres target by walsync's first copy, beside `pg_dump --data-only | psql`.

    python bench/snapshot.py [--rows 5000000] [--record]

One table (six columns, 150 bytes) is copied from one server to another, in turns, each time into an empty table with
its primary key. Time is from the start of the processes to their end: walsync's contains taking the slot and the
snapshot, and going on until the target has caught up.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
import yaml

from walsync.demo.engines import PostgresServer
from walsync.source.copy_out import COMPILED

ROUNDS = 3
WANTED_RATIO = 1.0
RESULTS = Path(__file__).with_name("RESULTS.md")
WALSYNC = Path(sys.executable).with_name("walsync")

TABLE = """
CREATE TABLE w1 (
    id bigint PRIMARY KEY, name text, email text, balance numeric(12,2), active boolean, created timestamptz
)
"""
ROWS = """
INSERT INTO w1 SELECT i, 'name of ' || i, md5(i::text) || '@example.com ' || repeat('x', 40), i / 7.0, i %% 3 = 0,
    '2026-11-21'::timestamptz + i * interval '1 second' FROM generate_series(1, %s) AS i
"""
SETTINGS = {"max_wal_size": "4GB", "shared_buffers": "256MB", "autovacuum": "off"}


def execute(server: PostgresServer, statement: str, *parameters: object) -> str:
    """Run a statement, and return its one value."""
    connection = psycopg2.connect(server.dsn())
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return str(cursor.fetchall()[0][0]) if cursor.description else ""
    finally:
        connection.close()


def dump(source: PostgresServer, target: PostgresServer) -> None:
    """Copy as Postgres' own tools do."""
    program = source.installation.program
    dumping = subprocess.Popen(
        [program("pg_dump"), "--data-only", "--table", "w1", source.dsn()], stdout=subprocess.PIPE
    )
    subprocess.run(
        [program("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, target.dsn()],
        stdin=dumping.stdout,
        check=True,
    )
    if dumping.wait() != 0:
        raise RuntimeError(f"pg_dump ended with {dumping.returncode}")


def snapshot(source: PostgresServer, target: PostgresServer) -> None:
    """Copy as walsync does."""
    configuration = {
        "source": {"dsn": source.dsn(), "tables": ["public.w1"]},
        "targets": [{"name": "replica", "type": "postgres", "dsn": target.dsn()}],
        "http": {"listen": ""},
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(configuration, file)
        file.flush()
        command = [WALSYNC, "run", "--config", file.name, "--until-caught-up"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def run(
    copy: Callable[[PostgresServer, PostgresServer], None], source: PostgresServer, target: PostgresServer, rows: int
) -> tuple[float, float]:
    """Return the seconds that a copy takes, and the CPU that it uses outside of the servers."""
    execute(target, "DROP TABLE IF EXISTS w1")
    execute(target, "DROP SCHEMA IF EXISTS walsync CASCADE")
    execute(target, TABLE)
    for server in (source, target):
        execute(server, "CHECKPOINT")
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    copy(source, target)
    elapsed, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if execute(target, "SELECT count(*) FROM w1") != str(rows):
        raise RuntimeError("rows are missing")
    slots = "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots"
    execute(source, slots)
    execute(source, "DROP SCHEMA IF EXISTS walsync CASCADE")
    return elapsed, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(rows: int) -> tuple[float, str]:
    """Copy in turns; return the median ratio, and what came of it."""
    sides = {"dump": dump, "walsync": snapshot}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    busy: dict[str, list[float]] = {name: [] for name in sides}
    with PostgresServer(settings=SETTINGS) as source, PostgresServer(settings=SETTINGS) as target:
        execute(source, TABLE)
        execute(source, ROWS, rows)
        execute(source, "VACUUM (ANALYZE) w1")
        for _ in range(ROUNDS):
            for name, copy in sides.items():
                elapsed, cpu = run(copy, source, target, rows)
                seconds[name].append(elapsed)
                busy[name].append(cpu)
    ratios = sorted(first / second for first, second in zip(seconds["dump"], seconds["walsync"], strict=True))
    rates = {name: rows / statistics.median(each) for name, each in seconds.items()}
    ratio = statistics.median(ratios)
    return ratio, (
        f"pg_dump | psql {rates['dump']:,.0f} rows/s, walsync {rates['walsync']:,.0f} rows/s; ratio per round"
        f" {ratios[0]:.2f} to {ratios[-1]:.2f}, median **{ratio:.2f}**; CPU outside of the servers, µs per row:"
        f" {1e6 * statistics.median(busy['dump']) / rows:.1f} and {1e6 * statistics.median(busy['walsync']) / rows:.1f}"
    )


def main() -> int:
    """Measure, and print or record the line; 0 if the speed wanted is there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--record", action="store_true", help="append the result to bench/RESULTS.md")
    arguments = parser.parse_args()
    ratio, line = measure(arguments.rows)
    print(line)
    if arguments.record:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        command = " ".join(["python", "bench/snapshot.py", *sys.argv[1:]])
        where = (
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()},"
            f" load {os.getloadavg()[0]:.1f}, nice {os.nice(0)}, lines read {'in C' if COMPILED else 'in Python'}"
        )
        with RESULTS.open("a", encoding="utf-8") as results:
            results.write(
                f"\n## Snapshot into Postgres, {datetime.now(UTC):%Y-%m-%d}, {commit.stdout.strip()}\n"
                f"{where}; `{command}`; Postgres 18 on both sides, fsync off.\n\n{line}\n"
            )
    return 0 if ratio >= WANTED_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
