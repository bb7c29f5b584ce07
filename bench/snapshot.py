"""How fast a table gets into a Postgres target by walsync's first copy, beside `pg_dump --data-only | psql`.

    python bench/snapshot.py [--rows 5000000] [--rounds 3] [--record]

One table (six columns, 150 bytes) is copied from one server to another, in turns, each time into an empty table with
its primary key. Time is from the start of pg_dump and psql to their end. Walsync is a service: what counts is the time
from its decision to copy until the rows are committed, with the snapshot and its slot; the process is told beside it.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import truediv
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
    with closing(psycopg2.connect(server.dsn())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return str(cursor.fetchall()[0][0]) if cursor.description else ""


def dump(source: PostgresServer, target: PostgresServer) -> float:
    """Copy as Postgres' own tools do; return the seconds."""
    program = source.installation.program
    started = time.perf_counter()
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
    return time.perf_counter() - started


def snapshot(source: PostgresServer, target: PostgresServer) -> float:
    """Copy as walsync does; return the seconds from the decision to copy until that is done."""
    configuration = {
        "source": {"dsn": source.dsn(), "tables": ["public.w1"]},
        "targets": [{"name": "replica", "type": "postgres", "dsn": target.dsn()}],
        "http": {"listen": ""},
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(configuration, file)
        file.flush()
        command = [WALSYNC, "run", "--config", file.name, "--until-caught-up"]
        ran = subprocess.run(command, check=True, stderr=subprocess.PIPE)
    said = [json.loads(line) for line in ran.stderr.splitlines()]
    [begun] = [line for line in said if line["event"] == "target_state" and line["state"] == "snapshot"]
    [done] = [line for line in said if line["event"] == "table_copied"]
    moments = [datetime.fromisoformat(line["timestamp"]).timestamp() for line in (begun, done)]
    return moments[1] - moments[0]


@dataclass
class Side:
    """What one way to copy takes, in seconds: by itself, with all of its processes, and of CPU beside the servers."""

    copy: Callable[[PostgresServer, PostgresServer], float]
    seconds: list[float] = field(default_factory=list)
    process_seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def run(self, source: PostgresServer, target: PostgresServer, rows: int) -> None:
        """Copy once."""
        execute(target, "DROP TABLE IF EXISTS w1")
        execute(target, "DROP SCHEMA IF EXISTS walsync CASCADE")
        execute(target, TABLE)
        for server in (source, target):
            execute(server, "CHECKPOINT")
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        self.seconds.append(self.copy(source, target))
        self.process_seconds.append(time.perf_counter() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu_seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        if execute(target, "SELECT count(*) FROM w1") != str(rows):
            raise RuntimeError("rows are missing")
        execute(source, "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots")
        execute(source, "DROP SCHEMA IF EXISTS walsync CASCADE")


def measure(rows: int, rounds: int) -> tuple[float, str]:
    """Copy in turns; return the median ratio, and what came of it."""
    theirs, ours = Side(dump), Side(snapshot)
    with PostgresServer(settings=SETTINGS) as source, PostgresServer(settings=SETTINGS) as target:
        execute(source, TABLE)
        execute(source, ROWS, rows)
        execute(source, "VACUUM (ANALYZE) w1")
        for _ in range(rounds):
            for side in (theirs, ours):
                side.run(source, target, rows)
    ratios = sorted(map(truediv, theirs.seconds, ours.seconds))
    processes = statistics.median(map(truediv, theirs.process_seconds, ours.process_seconds))
    rates = [rows / statistics.median(side.seconds) for side in (theirs, ours)]
    cpu = [1e6 * statistics.median(side.cpu_seconds) / rows for side in (theirs, ours)]
    ratio = statistics.median(ratios)
    return ratio, (
        f"pg_dump | psql {rates[0]:,.0f} rows/s, walsync {rates[1]:,.0f} rows/s; ratio per round {ratios[0]:.2f} to"
        f" {ratios[-1]:.2f}, median **{ratio:.2f}**, with walsync's start and end {processes:.2f}; CPU beside the"
        f" servers {cpu[0]:.1f} and {cpu[1]:.1f} µs per row"
    )


def main() -> int:
    """Measure, and print or record the line; 0 if the speed wanted is there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--record", action="store_true", help="append the result to bench/RESULTS.md")
    arguments = parser.parse_args()
    ratio, line = measure(arguments.rows, arguments.rounds)
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
