"""One acceptance run: walsync between two real servers, a random workload, and everything that can die, dying.

It asserts nothing about the rows; it returns what it found. `seed` decides the workload and the order of the blows,
though not the moment at which threads and processes meet them.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Self

import psycopg2
import yaml
from acceptance import operations, reading, zoo
from acceptance.pace import Pace
from fix_engines import installation
from fix_walsync import Walsync, eventually, free_port

from walsync.demo.compare import Comparison, PostgresReader, compare
from walsync.demo.engines import PostgresServer
from walsync.demo.workload import Operation, Style, Tally, Transaction, Workload

TARGET_VERSION = 16

EARLY_KILLS = 4
CATCH_UP_SECONDS = 120
SESSION_SECONDS = 30
NOT_OURS_TO_SEE = ("unexpected_error", "target_stopped", "Traceback", "WS3001")
"""What the log never holds in a run without a mistake."""


@dataclass(frozen=True)
class Blows:
    """How often each thing happens in a run."""

    kills: int = 20
    drains: int = 1
    target_outages: int = 2
    target_disconnects: int = 2
    target_freezes: int = 1
    source_restarts: int = 2
    source_disconnects: int = 2


@dataclass
class Outcome:
    """What a run came to; it is sound when nothing is in `differences` and `leftovers`."""

    seed: int
    version: int
    tally: Tally
    blows: Counter[str]
    tables: list[Comparison]
    leftovers: list[str] = field(default_factory=list)

    @property
    def differences(self) -> list[str]:
        return [str(comparison) for comparison in self.tables if not comparison.equal]

    @property
    def is_equal(self) -> bool:
        return not self.differences and not self.leftovers

    def __str__(self) -> str:
        outages = sum(self.blows.values()) - self.blows["kill"]
        rows = sum(table.rows for table in self.tables)
        verdict = "equal" if self.is_equal else "NOT EQUAL"
        return (
            f"seed {self.seed} on {self.version}: {self.tally.committed} transactions, {self.tally.rows} changes,"
            f" {self.blows['kill']} kills, {outages} outages, {len(self.tables)} tables, {rows} rows: {verdict}"
        )


class AcceptanceRun:
    """Owns both servers, the process and the workload of one run; `with` starts the servers.

    `others` are the targets besides the Postgres replica.
    """

    rate = 60.0
    """Transactions per second: more than walsync gets done between two kills, less than the machine can take."""

    def __init__(
        self,
        seed: int,
        folder: Path,
        *,
        version: int = 18,
        blows: Blows | None = None,
        others: Sequence[reading.Place] = (),
    ) -> None:
        self.seed = seed
        self.source = PostgresServer(installation(version))
        self.target = PostgresServer(installation(TARGET_VERSION))
        self._folder = folder
        self._version = version
        self._random = Random(f"{seed} blows")
        self._blows = blows or Blows()
        self._others = others
        self._happened: Counter[str] = Counter()
        self._walsync: Walsync | None = None
        self._address = f"127.0.0.1:{free_port()}"
        self._stack = ExitStack()
        """What ends with the run, after the process."""

    def __enter__(self) -> Self:
        self._stack.enter_context(self.source)
        self._stack.enter_context(self.target)
        return self

    def __exit__(self, *_: object) -> None:
        if self._walsync is not None:
            self._walsync.close()
        self._stack.close()

    @property
    def output(self) -> str:
        """What walsync said last."""
        return self._walsync.output if self._walsync is not None else ""

    def run(self) -> Outcome:
        """Make the tables, let everything happen, and compare."""
        self._make_tables()
        walsync = self._walsync = self._configure()
        pace = Pace(walsync, self._random, self._progress)
        workload = Workload(self.source.dsn(), self._operations(), seed=self.seed, style=Style(rate=self.rate))
        workload.start()
        try:
            self._strike(pace)
        finally:
            tally = workload.stop()
        self._come_to_rest(pace)
        code = walsync.run(
            "run", "--until-caught-up", "--timeout", f"{CATCH_UP_SECONDS}s", timeout=CATCH_UP_SECONDS * 2
        )
        assert code == 0, f"run --until-caught-up ended with {code}"
        source, target = PostgresReader(self.source.dsn()), PostgresReader(self.target.dsn())
        tables = compare(source, target, zoo.SCHEMAS)
        for other in self._others:
            tables += reading.compare(self.source.dsn(), other)
        return Outcome(self.seed, self._version, tally, self._happened, tables, self._leftovers())

    def _come_to_rest(self, pace: Pace) -> None:
        """End the process, now that the source is at rest."""
        pace.drain()

    def _make_tables(self) -> None:
        execute(self.source.dsn(), *zoo.source_statements())
        execute(self.target.dsn(), *zoo.target_statements())
        with closing(psycopg2.connect(self.source.dsn())) as session, session, session.cursor() as cursor:
            operations.fill(Transaction(cursor), Random(f"{self.seed} fill"))

    def _operations(self) -> list[Operation]:
        return operations.operations()

    def _configure(self) -> Walsync:
        path = self._folder / "walsync.yaml"
        path.write_text(yaml.safe_dump(self._content()), encoding="utf-8")
        return Walsync(path, self._folder)

    def _content(self) -> dict[str, object]:
        """Return what stands in the configuration."""
        replica = {"name": "replica", "type": "postgres", "dsn": self.target.dsn()}
        return {
            "source": {"dsn": self.source.dsn(), "tables": [f"{schema}.*" for schema in zoo.SCHEMAS]},
            "targets": [replica, *(other.entry for other in self._others)],
            "http": {"listen": self._address},
        }

    def _strike(self, pace: Pace) -> None:
        blows: list[tuple[str, Callable[[Pace], None]]] = [
            *[("kill", Pace.kill)] * (self._blows.kills - EARLY_KILLS),
            *[("drain", self._drain)] * self._blows.drains,
            *[("target outage", self._target_outage)] * self._blows.target_outages,
            *[("target disconnect", self._disconnect_target)] * self._blows.target_disconnects,
            *[("target freeze", self._freeze_target)] * self._blows.target_freezes,
            *[("source restart", self._restart_source)] * self._blows.source_restarts,
            *[("source disconnect", self._disconnect_source)] * self._blows.source_disconnects,
        ]
        self._random.shuffle(blows)
        pace.start()
        # The first ones meet the start, the creation of the slot, and the snapshot.
        for _ in range(EARLY_KILLS):
            pace.pause(0.3, 1.2)
            self._happened["kill"] += 1
            pace.kill()
        self._let_copies_end()
        for name, blow in blows:
            pace.let_it_work()
            self._happened[name] += 1
            blow(pace)
        pace.let_it_work()

    def _let_copies_end(self) -> None:
        """Wait, where a run is to meet every target after its first copy too."""

    def _progress(self) -> object:
        # Looked at here, so that a mistake is told at once and not by what it leads to.
        assert not self._complaints(), self._complaints()
        if query(self.target.dsn(), "SELECT FROM pg_tables WHERE schemaname = 'walsync' AND tablename = 'checkpoint'"):
            return query(self.target.dsn(), "SELECT max(lsn) FROM walsync.checkpoint")
        return None

    def _complaints(self) -> list[str]:
        log = (self._folder / "stderr").read_text(encoding="utf-8")
        return [line for line in log.splitlines() if any(word in line for word in NOT_OURS_TO_SEE)]

    @staticmethod
    def _drain(pace: Pace) -> None:
        pace.drain()
        pace.start()

    def _target_outage(self, pace: Pace) -> None:
        self._random.choice((self.target.stop, self.target.kill))()
        pace.pause(0.1, 1.0)
        self.target.start()

    def _disconnect_target(self, pace: Pace) -> None:
        del pace
        execute(self.target.dsn(), _TERMINATE.format("application_name LIKE 'walsync%'"))

    def _freeze_target(self, pace: Pace) -> None:
        self.target.pause()
        pace.pause(0.1, 1.0)
        self.target.resume()

    def _restart_source(self, pace: Pace) -> None:
        del pace
        self.source.restart()

    def _disconnect_source(self, pace: Pace) -> None:
        del pace
        which = self._random.choice(("backend_type = 'walsender'", "application_name LIKE 'walsync%'"))
        execute(self.source.dsn(), _TERMINATE.format(which))

    def _leftovers(self) -> list[str]:
        """Find what should have gone: slots, sessions, temporary tables, staged rows, complaints in the log."""
        found: list[str] = []
        for server in (self.source, self.target):
            eventually(partial(_has_no_session, server.dsn()), SESSION_SECONDS, "the sessions of walsync to end")
            found += [f"temporary table {name} on {server.version}" for (name,) in query(server.dsn(), _TEMPORARY)]
        # Not before: a temporary slot ends with its session.
        found += [f"slot {name}" for (name,) in query(self.source.dsn(), _OTHER_SLOTS)]
        checkpoints = query(self.target.dsn(), "SELECT slot, target FROM walsync.checkpoint")
        if checkpoints != [("walsync", "replica")]:
            found.append(f"checkpoints {checkpoints}")
        for other in self._others:
            found += other.leftovers()
        return [*found, *self._complaints()]


_TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {} AND pid <> pg_backend_pid()"
_OTHER_SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE slot_name <> 'walsync'"
_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'walsync%'"
_TEMPORARY = "SELECT oid::regclass::text FROM pg_class WHERE relpersistence = 't'"


def execute(dsn: str, *statements: str) -> None:
    """Run statements, each by itself."""
    with closing(psycopg2.connect(dsn)) as session:
        session.autocommit = True
        with session.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def _has_no_session(dsn: str) -> bool:
    return not query(dsn, _SESSIONS)


def query(dsn: str, sql: str) -> list[tuple[object, ...]]:
    """Return the rows of a statement."""
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()
