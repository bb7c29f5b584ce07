"""How fast `walsync tail` writes wal2json's format 2, beside the plugin itself and what the walsender can do at all.

    PYTHONPATH=tests python bench/wal2json.py [--rows 1000000] [--record]

One transaction of inserts (six columns, 150 bytes) is read again and again, from copies of one slot, by processes that
write to /dev/null, in turns: pg_recvlogical with pgoutput, pg_recvlogical with the real wal2json, walsync tail. Time is
from the start of the process to its end. Needs pg_recvlogical, and Debian's wal2json (see tests/fix_wal2json.py).
"""

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg2
from fix_wal2json import with_plugin
from recording import options, record

from walsync.demo.engines import PostgresServer
from walsync.row import COMPILED

ROUNDS = 3
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


class Source:
    """A server with the transaction in its WAL, and a slot of each plugin before it."""

    def __init__(self, server: PostgresServer, rows: int) -> None:
        self.dsn = server.dsn()
        self._connection = psycopg2.connect(self.dsn)
        self._connection.autocommit = True
        self._copies = 0
        self.execute(TABLE)
        self.execute("CREATE PUBLICATION w1 FOR TABLE w1")
        for plugin in ("pgoutput", "wal2json"):
            self.execute("SELECT pg_create_logical_replication_slot(%s, %s)", plugin, plugin)
        self.execute(ROWS, rows)
        self.end = self.execute("SELECT pg_current_wal_lsn()::text")
        self.execute("CHECKPOINT")

    def execute(self, statement: str, *parameters: object) -> str:
        """Run a statement, and return its one value."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return str(cursor.fetchall()[0][0]) if cursor.description else ""

    def copy_slot(self, plugin: str) -> str:
        """Copy the slot as it was before the transaction."""
        self._copies += 1
        name = f"{plugin}_{self._copies}"
        self.execute("SELECT pg_copy_logical_replication_slot(%s, %s)", plugin, name)
        return name

    def drop_slot(self, name: str) -> None:
        """Drop a copy."""
        self.execute("SELECT pg_drop_replication_slot(%s)", name)


def pg_recvlogical(source: Source, slot: str, options: list[str]) -> list[str]:
    """Write the command of Postgres' own reader."""
    given = [word for option in options for word in ("-o", option)]
    to = ["-f", "/dev/null", "--endpos", source.end, "--no-loop", "--start"]
    return ["pg_recvlogical", "-d", source.dsn, "-S", slot, *to, *given]


def walsender(source: Source, slot: str) -> list[str]:
    """Read as fast as the server can send."""
    return pg_recvlogical(source, slot, ["proto_version=1", "publication_names=w1"])


def plugin(source: Source, slot: str) -> list[str]:
    """Let the server write JSON."""
    return pg_recvlogical(source, slot, ["format-version=2"])


def ours(source: Source, slot: str) -> list[str]:
    """Write it here."""
    where = ["--dsn", source.dsn, "--publication", "w1", "--slot", slot, "--until-lsn", source.end]
    return [str(WALSYNC), "tail", *where, "--format", "wal2json", "--format-version", "2", "--output", "/dev/null"]


def run(source: Source, kind: str, command: Callable[[Source, str], list[str]]) -> tuple[float, float]:
    """Return the seconds that a reader takes, and the seconds of CPU that it uses itself."""
    slot = source.copy_slot(kind)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command(source, slot), check=True, stdin=subprocess.DEVNULL)
    elapsed, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    source.drop_slot(slot)
    return elapsed, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(rows: int) -> str:
    """Read in turns, and return what came of it."""
    readers = {"walsender": ("pgoutput", walsender), "wal2json": ("wal2json", plugin), "walsync": ("pgoutput", ours)}
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    busy: dict[str, list[float]] = {name: [] for name in readers}
    with PostgresServer(with_plugin(), settings={"logical_decoding_work_mem": "64MB"}) as server:
        source = Source(server, rows)
        for _ in range(ROUNDS):
            for name, (kind, command) in readers.items():
                elapsed, cpu = run(source, kind, command)
                seconds[name].append(elapsed)
                busy[name].append(cpu)
    rates = {name: rows / statistics.median(each) for name, each in seconds.items()}
    ratios = sorted(first / second for first, second in zip(seconds["walsender"], seconds["walsync"], strict=True))
    return (
        f"walsender to /dev/null {rates['walsender']:,.0f} rows/s, the plugin {rates['wal2json']:,.0f}, walsync"
        f" {rates['walsync']:,.0f}; walsync / walsender per round {ratios[0]:.2f} to {ratios[-1]:.2f}, median"
        f" **{statistics.median(ratios):.2f}**; walsync / plugin **{rates['walsync'] / rates['wal2json']:.2f}**;"
        f" CPU of walsync {1e6 * statistics.median(busy['walsync']) / rows:.1f} µs per row"
    )


def main() -> None:
    """Measure, and print or record the line."""
    arguments = options(1_000_000).parse_args()
    line = measure(arguments.rows)
    print(line)
    if arguments.record:
        about = f"rows split {'in C' if COMPILED else 'in Python'}; Postgres 15, wal2json 2.5"
        record("wal2json format 2, W1", about, line)


if __name__ == "__main__":
    main()
