"""`walsync demo`: five targets, a workload, a SIGKILL of walsync and an outage in it, and a comparison of all rows."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import psycopg2

from walsync.demo import keep, tables
from walsync.demo.compare import Comparison, PostgresReader, compare, compare_table
from walsync.demo.display import Display
from walsync.demo.engines import leftovers
from walsync.demo.literals import Unreadable
from walsync.demo.stage import REPLICA, Place, Stage, places, reader
from walsync.demo.watch import Sight, Watch
from walsync.demo.workload import Style, Tally, Workload

OUTAGE_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.2
_WAIT_SECONDS: Final = 60.0
_KILL_AT: Final = 0.25
_OUTAGE_AT: Final = 0.5
"""Parts of the time that is written; an outage begins when the one before is over."""


@dataclass(frozen=True)
class Options:
    """How long and how fast the workload writes, what it is made from, and whether everything stays afterwards."""

    seconds: float = 10.0
    rate: float = 200.0
    seed: int = 1
    keep: bool = False
    on_workerd: bool = False
    """Six D1 databases behind the gateway Worker, instead of three files."""


def run(options: Options) -> bool:
    """Do it all; returns whether every table of every target is equal to its source."""
    display = Display()
    for folder in leftovers.remove():
        display.say(f"removed what a demo that was killed had left: {folder}")
    display.say("starting two servers")
    with Stage(on_workerd=options.on_workerd) as stage:
        return _Demo(options, stage, display).run()


class _Demo:
    def __init__(self, options: Options, stage: Stage, display: Display) -> None:
        self._options = options
        self._stage = stage
        self._display = display
        self._watch = Watch(stage.child.url)
        self._pause = threading.Event()  # never set: its `wait` is the pace

    def run(self) -> bool:
        stage = self._stage
        for server, role in ((stage.source, "source"), (stage.target, "target")):
            self._display.say(f"Postgres {server.version}, the {role}: {server.dsn()}")
        stage.execute(tables.CREATE, tables.FILL)
        self._copy()
        tally, seconds = self._write()
        self._catch_up()
        equal = self._compare(tally, seconds)
        if self._options.keep:
            keep.everything(stage, self._watch, self._display)
            return self._compare_again()
        if equal:
            self._display.print("walsync demo --keep leaves everything running, to play with.")
        return equal

    def _copy(self) -> None:
        """Let walsync make its snapshots."""
        source = PostgresReader(self._stage.source.dsn())
        rows = sum(source.count(table) for table in source.tables(tables.SCHEMAS))
        self._stage.child.start()
        self._display.say(
            f"walsync run, process {self._stage.child.pid}: {self._stage.number} snapshots of {rows:,} rows begin"
        )
        with self._display.copying(rows):
            self._go_on(self._watch.all_stream, "the snapshots")
        for sight in self._watch.targets.values():
            copied = f"{sight.copied_rows:,} rows of {len(sight.copied)} tables in {sight.copy_seconds:.1f} s"
            self._display.say(f"  {sight.name:8} {copied}")

    def _write(self) -> tuple[Tally, float]:
        """Let the workload run, with both blows in it; returns what was written, and in how many seconds."""
        options = self._options
        workload = Workload(
            self._stage.source.dsn(), tables.operations(), seed=options.seed, style=Style(rate=options.rate)
        )
        pace = f"at most {options.rate:g} transactions/s" if options.rate else "as fast as it goes"
        self._display.say(f"writing for {options.seconds:g} s, {pace}, seed {options.seed}")
        began = time.monotonic()
        workload.start()
        try:
            with self._display.streaming(self._watch):
                self._go_on_until(began + options.seconds * _KILL_AT)
                self._kill(workload.tally)
                self._go_on_until(began + options.seconds * _OUTAGE_AT)
                self._stop_target()
                self._go_on_until(began + options.seconds)
        finally:
            tally = workload.stop()
        seconds = time.monotonic() - began
        self._display.say(
            f"written in {seconds:.1f} s: {tally.committed:,} transactions with {tally.rows:,} changes;"
            f" {tally.rolled_back:,} were rolled back"
        )
        return tally, seconds

    def _kill(self, tally: Tally) -> None:
        """Kill walsync as a crash would, and start it again."""
        child, began = self._stage.child, time.monotonic()
        self._watch.look()
        committed, pid = tally.committed, child.pid
        child.kill()
        self._watch.begin_process()
        self._display.say(f"SIGKILL of walsync, process {pid}: nothing reaches any target, the writers go on")
        child.start()
        self._display.say(f"walsync run again, process {child.pid}")
        self._go_on(self._watch.all_stream, "the targets to follow the stream again")
        copied = sum(sight.copied_by_this_process for sight in self._watch.targets.values())
        self._display.say(
            f"all {self._stage.number} follow again {time.monotonic() - began:.1f} s after the SIGKILL;"
            f" rows copied again: {copied};"
            f" transactions committed meanwhile: {tally.committed - committed:,}"
        )

    def _stop_target(self) -> None:
        """Stop the target's server for a while, and measure what the other targets do."""
        server = self._stage.target
        server.stop()
        began = time.monotonic()
        self._display.say(f"Postgres {server.version}, the target {REPLICA}, is stopped")
        self._watch.look()
        before = {name: _Position.of(sight) for name, sight in self._watch.targets.items()}
        self._go_on_until(began + OUTAGE_SECONDS)
        after = {name: _Position.of(sight) for name, sight in self._watch.targets.items()}
        state = self._watch.targets[REPLICA].state
        server.start()
        self._display.say(
            f"Postgres {server.version} is up again after {time.monotonic() - began:.1f} s. {REPLICA} was {state};"
            " in that time:"
        )
        for name, position in before.items():
            self._display.say(f"  {name:8} {position.to(after[name])}")
        self._go_on(self._watch.all_stream, f"{REPLICA} to follow the stream again")
        self._display.say(f"{REPLICA} follows again {time.monotonic() - began:.1f} s after it was stopped")

    def _catch_up(self) -> None:
        """Wait until every target has everything, and end walsync in order."""
        goal = self._stage.wal_end()
        self._go_on(lambda: self._watch.all_have(goal), "every target to have everything")
        if self._stage.child.stop() != 0:
            raise self._stage.child.failed("did not drain")
        self._display.say(f"every target has everything, up to {goal}; walsync drained and ended with 0")

    def _compare(self, tally: Tally, seconds: float) -> bool:
        found = self._found()
        changes: Counter[str] = Counter()
        for (table, _), rows in tally.changes.items():
            changes[table] += rows
        self._display.print()
        self._display.show_tables(found, changes)
        self._display.print()
        self._display.show_targets(found, self._watch, seconds)
        self._display.print()
        equal = _equal(found)
        rows = sum(one.rows for comparisons in found.values() for one in comparisons)
        self._display.conclude(
            f"{rows:,} rows in {self._stage.number} targets compared value by value, after {tally.rows:,} changes"
            f" ({tally.rows / seconds:,.0f}/s), a SIGKILL and an outage",
            equal=equal,
        )
        return equal

    def _compare_again(self) -> bool:
        """Compare once more, with what was created meanwhile."""
        child = self._stage.child
        if not child.has_ended and child.stop() != 0:
            raise child.failed("did not drain")
        child.start("--until-caught-up", "--timeout", f"{_WAIT_SECONDS:.0f}s")
        if child.wait() != 0:
            raise child.failed("did not catch up")
        found = self._found()
        self._add_tables_of_ones_own(found)
        self._display.show_tables(found)
        equal = _equal(found)
        self._display.conclude("compared once more", equal=equal)
        return equal

    def _found(self) -> dict[str, list[Comparison]]:
        """Compare all targets; walsync does not run meanwhile."""
        self._display.say("comparing every value with psycopg2, sqlite3 and SurrealDB's engine:")
        dsn, targets = places(self._stage.folder)
        source = PostgresReader(dsn)

        def compare_one(place: Place) -> list[Comparison]:
            with ExitStack() as stack:
                found = compare(source, reader(place, source, stack), tables.SCHEMAS)
            different = sum(1 for one in found if not one.equal)
            self._display.say(f"  {place.name:8} {len(found)} tables, {different} of them different")
            return found

        with ThreadPoolExecutor() as pool:  # most of the work is the source's server's, which prints the values
            return dict(zip((place.name for place in targets), pool.map(compare_one, targets), strict=True))

    def _add_tables_of_ones_own(self, found: dict[str, list[Comparison]]) -> None:
        """Compare what somebody has created, as far as the demo can read its types."""
        dsn, targets = places(self._stage.folder)
        source = PostgresReader(dsn)
        with ExitStack() as stack:
            readers = {place.name: reader(place, source, stack) for place in targets}
            for table, columns in source.tables(["public"]).items():
                try:
                    compared = {name: compare_table(source, one, table, columns) for name, one in readers.items()}
                except (Unreadable, psycopg2.DataError) as error:
                    self._display.say(f"{table} is left out: {error}")
                    continue
                for name, one in compared.items():
                    found[name].append(one)

    def _go_on_until(self, moment: float) -> None:
        self._go_on(lambda: time.monotonic() >= moment, "the time to pass")

    def _go_on(self, reached: Callable[[], bool], what: str) -> None:
        """Watch and show until something is reached; WS1904 when walsync ends, or a target stands still too long."""
        deadline = time.monotonic() + _WAIT_SECONDS
        hindmost = self._watch.hindmost()
        while True:
            self._stage.child.require_running()
            self._watch.look()
            self._display.update(self._watch)
            if reached():
                return
            before, hindmost = hindmost, self._watch.hindmost()
            if hindmost != before:
                deadline = time.monotonic() + _WAIT_SECONDS
            if time.monotonic() > deadline:
                raise self._stage.child.failed(
                    f"left a target where it was for {_WAIT_SECONDS:.0f} s; the demo waits for {what}"
                )
            self._pause.wait(_LOOK_SECONDS)


@dataclass(frozen=True)
class _Position:
    """How far a target was at a moment."""

    position: object
    changes: int

    @classmethod
    def of(cls, sight: Sight) -> "_Position":
        return cls(sight.position, sight.counters["changes"])

    def to(self, later: "_Position") -> str:
        return f"{later.changes - self.changes:+,} changes, from {self.position} to {later.position}"


def _equal(found: dict[str, list[Comparison]]) -> bool:
    return all(one.equal for comparisons in found.values() for one in comparisons)
