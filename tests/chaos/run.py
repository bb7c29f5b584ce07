"""One chaos run: five targets of three kinds, and whatever can go wrong with any of them, one upon the other.

It asserts that those who can go on do so, and returns what was found at the end; nothing else is judged here.
"""

import json
import os
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final, Self
from urllib.error import HTTPError

import pytest
import yaml
from acceptance import zoo
from acceptance.operations import operations
from acceptance.pace import Pace
from acceptance.reading import Place
from acceptance.run import AcceptanceRun, Outcome, execute, query
from chaos import large
from chaos.places import COME_AND_GO, COPIED, LEDGER, MIRROR, TABLES, Station, stations
from chaos.schedule import NO_BLOWS, TROUBLES, Blow, Cast, Step, draw
from fix_proxy import Proxy
from fix_replication import Command
from fix_walsync import Walsync, eventually

from walsync.demo.workload import Operation
from walsync.identifier import quote
from walsync.lsn import LSN
from walsync.status import Status, TargetState, TargetStatus

STALL_SECONDS: Final = 30.0
"""How long a target that is reached, and streamed before, may take to get what was committed, whoever else is away.

The only time that is judged; it takes tenths of a second on a machine with nothing else to do.
"""

SECONDS: Final = 90.0
"""How long anything else may take: a target tries again after 15 s at most, others' snapshots come before its own."""

WAITS_FOR_ALL: Final = 3
"""Every so many looks, one that also waits until all stream that can, so that all are held to it from there on."""

TOKEN: Final = "a-token-for-tests"
FILES: Final = {"walsync.yaml", "stdout", "stderr", "everything.sqlite", "region.sqlite"}
FILES_OF_GRAPH: Final = {"graph", "graph.lock", "surrealdb", "surrealdb.log"}
MADE_BY_READING: Final = ("-wal", "-shm")
"""Beside a D1 file, which is read here without being allowed to remove them."""


@dataclass
class ChaosOutcome(Outcome):
    """What a run came to; `slowest_seconds` is the longest that targets which could go on took to get what was new."""

    slowest_seconds: float = 0.0
    looks: int = 0
    """How often a target was seen to go on while another was in trouble."""

    bound: int = 0
    """How many of those had to: they streamed at the last look, and nothing has happened to them since."""

    def __str__(self) -> str:
        rows, kills = sum(table.rows for table in self.tables), self.blows[Blow.KILL]
        return (
            f"seed {self.seed} on {self.version}: {self.tally.committed} transactions, {self.tally.rows} changes,"
            f" {kills} kills, {self.blows.total() - kills} other blows, {rows} rows, {self.looks} looks"
            f" ({self.bound} bound), {self.slowest_seconds:.1f} s at most: {'equal' if self.is_equal else 'NOT EQUAL'}"
        )


class ChaosRun(AcceptanceRun):
    """`length` is the number of blows; `served` puts SurrealDB behind a server of its own."""

    rate = 25.0
    """Fewer transactions than elsewhere, some of them large: five targets are to keep up, and to catch up."""

    def __init__(
        self, seed: int, folder: Path, *, length: int = 30, served: bool | None = None, version: int = 18
    ) -> None:
        super().__init__(seed, folder, version=version)
        self._slowest_seconds = 0.0
        self._looks = self._bound = 0
        self._length = length
        self._served = seed % 2 == 0 if served is None else served
        self._stations: dict[str, Station] = {}
        self._absent: set[str] = set()
        self._left: set[tuple[str, str]] = set()
        """Tables by target, "" for all of them, that are not in the configuration now."""
        self._troubled: set[str] = set()
        self._streamed: set[str] = set()
        """Targets that streamed at the last look, and to which nothing has happened since: they go on doing so."""
        self._is_frozen = False

    def __enter__(self) -> Self:
        super().__enter__()
        execute(self.target.dsn(), f"CREATE DATABASE {MIRROR}")
        found = stations(self._stack, self.target, self._folder, served=self._served)
        self._stations = {one.place.name: one for one in found}
        self._others = [one.place for one in found]
        self._proxy = self._stack.enter_context(Proxy(self.source.host, self.source.port))
        return self

    def __exit__(self, *error: object) -> None:
        for station in self._stations.values():
            station.line.back()
        super().__exit__(*error)

    def run(self) -> ChaosOutcome:
        """Make the tables, let everything happen, and compare."""
        found = super().run()
        return ChaosOutcome(**vars(found), slowest_seconds=self._slowest_seconds, looks=self._looks, bound=self._bound)

    def _make_tables(self) -> None:
        super()._make_tables()
        execute(self.target.dsn(MIRROR), *zoo.target_statements())
        execute(self.source.dsn(), *LEDGER.ddl)

    def _operations(self) -> list[Operation]:
        return [*operations(), *large.operations()]

    def _content(self) -> dict[str, object]:
        tables = [quote(table.schema, table.name) for table in TABLES]
        gone = {table for target, table in self._left if not target}
        return {
            "source": {"dsn": self._proxy.dsn(), "tables": [table for table in tables if table not in gone]},
            "targets": [self._entry(one.place) for name, one in self._stations.items() if name not in self._absent],
            # Small, so that targets fall behind it; and so many streams that two are queued for.
            "backlog": {"max_bytes": "2MB", "catch_up_streams": 2},
            "http": {"listen": self._address, "token": TOKEN},
        }

    def _entry(self, place: Place) -> dict[str, object]:
        gone = {table for target, table in self._left if target in {"", place.name}}
        return {**place.entry, "tables": [part.entry for part in place.parts if part.entry["table"] not in gone]}

    def _strike(self, pace: Pace) -> None:
        assert self._walsync is not None
        self._command = Command(self._walsync, f"http://{self._address}", TOKEN)
        troubles = {name: one.line.troubles for name, one in self._stations.items()}
        tables = {name: tuple(quote("app", table) for table in those) for name, those in COME_AND_GO.items()}
        pace.start()
        for step in draw(self.seed, Cast(troubles, tables, COPIED), self._length):
            pace.pause(step.seconds, step.seconds)
            assert self._walsync.is_running, f"walsync ended by itself with {self._walsync.returncode}"
            assert not self._complaints(), self._complaints()
            self._happened[step.blow.value] += step.blow not in NO_BLOWS
            print(f"{self._clock()} {step}")  # noqa: T201 - shown when the test fails
            self._do(step, pace)

    def _come_to_rest(self, pace: Pace) -> None:
        """Wait until every target streams again, and nothing is kept for any of them."""
        try:
            eventually(self._is_whole, SECONDS, "all targets to stream, and the hold slot to go")
        except pytest.fail.Exception:
            print(self._command.status())  # noqa: T201 - shown when the test fails
            raise
        super()._come_to_rest(pace)

    def _do(self, step: Step, pace: Pace) -> None:
        self._streamed -= self._struck(step)
        match step.blow:
            case Blow.KILL:
                self._is_frozen = False
                pace.kill()
            case Blow.DRAIN:
                self._drain(pace)
            case Blow.FREEZE | Blow.THAW:
                self._is_frozen = step.blow is Blow.FREEZE
                self._signal(signal.SIGSTOP if self._is_frozen else signal.SIGCONT)
            case Blow.LEAVE_TABLE | Blow.JOIN_TABLE | Blow.LEAVE_TARGET | Blow.JOIN_TARGET:
                self._configure_anew(step)
            case Blow.SNAPSHOT:
                self._copy_again(step)
            case Blow.LOOK:
                self._look(step)
            case Blow.BACK:
                self._stations[step.target].line.back()
                self._troubled.remove(step.target)
            case blow if blow in TROUBLES:
                self._trouble(step, pace)
            case _:
                self._trouble_source(step, pace)

    def _struck(self, step: Step) -> set[str]:
        """Tell which targets are not bound to stream any more after a step: one, or all."""
        match step.blow:
            case Blow.LOOK | Blow.BACK:
                return set()
            case Blow.SNAPSHOT:
                return {step.target}
            case blow if blow in TROUBLES and not self._stations[step.target].line.needs_restart:
                return {step.target}
            case _:
                return set(self._stations)

    def _trouble_source(self, step: Step, pace: Pace) -> None:
        match step.blow:
            case Blow.CUT_SOURCE:
                self._proxy.cut()
            case Blow.CUT_SOURCE_LATER:
                self._proxy.cut_after(1 + step.number, "to_client")
            case Blow.HOLD_SOURCE:
                self._proxy.hold()
                pace.pause(0.1, 1.0)
                self._proxy.resume()
            case _:
                self._restart_source(pace)

    def _restart_source(self, pace: Pace) -> None:
        del pace
        if self._is_frozen:  # a server that shuts down in peace would wait for it
            self.source.kill()
            self.source.start()
        else:
            self.source.restart()

    def _trouble(self, step: Step, pace: Pace) -> None:
        line = self._stations[step.target].line
        self._troubled.add(step.target)
        if not line.needs_restart:
            line.trouble(step.blow, step.number)
            return
        assert self._walsync is not None
        self._walsync.sigkill()
        line.trouble(step.blow, step.number)
        pace.start()

    def _configure_anew(self, step: Step) -> None:
        """Write the file, and let it be taken by POST or by signal: once more where the source was away meanwhile.

        A target goes as an operator lets it go: out of the file, and dropped.
        """
        match step.blow:
            case Blow.LEAVE_TARGET:
                if step.target not in self._troubled:
                    eventually(lambda: self._is_streaming(step.target), SECONDS, f"{step.target} to stream, to leave")
                self._absent.add(step.target)
            case Blow.JOIN_TARGET:
                self._stations[step.target].line.wipe()
                self._absent.remove(step.target)
            case _:
                self._left ^= {(step.target, step.table)}
        self._write()
        reload = self._reload_by_post if step.number % 2 == 0 else self._reload_by_signal
        eventually(lambda: self._drop_absent() and reload(), SECONDS, "the file to be taken")

    def _copy_again(self, step: Step) -> None:
        """Have a table copied once more; once more, too, where the process has not begun with that target yet."""
        assert self._walsync is not None
        command = Walsync(self._walsync.config_path, self._folder)
        arguments = ("snapshot", "--no-wait", "--target", step.target, "--table", f"app.{step.table}")
        eventually(lambda: command.run(*arguments, timeout=SECONDS) == 0, SECONDS, "the copy to be taken on")

    def _drop_absent(self) -> bool:
        """Drop the targets that are not in the file any more: one may have been registered just now.

        False where a cut of the source that was still to come has met this command, which ends then.
        """
        assert self._walsync is not None
        for name in self._absent & self._registered():
            may_be_cut = self._proxy.is_due
            drop = Walsync(self._walsync.config_path, self._folder)
            if drop.run("drop", "--target", name, timeout=SECONDS) != 0:
                assert may_be_cut, drop.output
                return False
        return True

    def _registered(self) -> set[str]:
        if not query(self.source.dsn(), "SELECT FROM pg_tables WHERE schemaname = 'walsync' AND tablename = 'target'"):
            return set()
        return {str(name) for (name,) in query(self.source.dsn(), "SELECT name FROM walsync.target")}

    def _reload_by_post(self) -> bool:
        try:
            return self._status() is not None and bool(self._command.ask("/reload", b""))
        except HTTPError as error:
            code = json.loads(error.read())["code"]
        assert code.startswith("WS2") or code == "WS5008", code
        return False

    def _reload_by_signal(self) -> bool:
        if self._status() is None:  # it would end a process that has hardly begun
            return False
        taken, refused = len(self._command.log("configuration_taken")), len(self._command.log("reload_refused"))
        self._signal(signal.SIGHUP)
        eventually(
            lambda: (
                len(self._command.log("configuration_taken")) > taken
                or len(self._command.log("reload_refused")) > refused
            ),
            SECONDS,
            "an answer to the signal",
        )
        return len(self._command.log("configuration_taken")) > taken

    def _write(self) -> None:
        assert self._walsync is not None
        self._walsync.config_path.write_text(yaml.safe_dump(self._content()), encoding="utf-8")

    @staticmethod
    def _clock() -> str:
        """Tell the time as the log does."""
        return datetime.now(UTC).strftime("%H:%M:%S.%f")

    def _signal(self, number: int) -> None:
        assert self._walsync is not None
        assert self._walsync.process is not None
        self._walsync.process.send_signal(number)

    def _look(self, step: Step) -> None:
        """Let every target that streams, or is bound to, get what is committed now, however the others are.

        Some looks go on until all stream that can: right after a kill none does.
        """
        others = {name for name in self._stations if name not in self._troubled | self._absent}
        self._judge({name for name in others if name in self._streamed or self._is_streaming(name)})
        if step.number % WAITS_FOR_ALL == 0:
            for name in others:
                eventually(partial(self._is_streaming, name), SECONDS, f"{name} to stream")
            self._judge(others)
        # A cut that is still to come would be a blow of which the schedule knows nothing.
        self._streamed = set() if self._proxy.is_due else {name for name in others if self._is_streaming(name)}

    def _judge(self, names: set[str]) -> None:
        """Hold targets to what is committed now: within STALL_SECONDS all have it."""
        ((goal,),) = query(self.source.dsn(), "SELECT pg_current_wal_insert_lsn()::text")
        started = monotonic()
        bound, troubled = sorted(names & self._streamed), sorted(self._troubled)
        what = f"{sorted(names)} ({bound} bound) to have {goal} while {troubled} have trouble"
        try:
            eventually(lambda: self._have(names, LSN.parse(str(goal))), STALL_SECONDS, what)
        except pytest.fail.Exception:
            print(self._command.status())  # noqa: T201 - shown when the test fails
            raise
        if self._troubled:
            self._looks += len(names)
            self._bound += len(bound)
        self._slowest_seconds = max(self._slowest_seconds, monotonic() - started)

    def _status(self) -> Status | None:
        """Ask the process; fail when it has ended."""
        assert self._walsync is not None
        assert self._walsync.is_running, f"walsync ended by itself with {self._walsync.returncode}"
        return self._command.status()

    def _target(self, name: str) -> TargetStatus | None:
        status = self._status()
        return next((one for one in status.targets if one.name == name), None) if status is not None else None

    def _is_streaming(self, name: str) -> bool:
        found = self._target(name)
        return found is not None and found.state is TargetState.STREAMING

    def _have(self, names: set[str], goal: LSN) -> bool:
        status = self._status()
        if status is None:
            return not names
        having = {one.name for one in status.targets if one.checkpoint_lsn is not None and one.checkpoint_lsn >= goal}
        return names <= having

    def _is_whole(self) -> bool:
        status = self._status()
        if status is None or status.source.hold is not None or len(status.targets) != len(self._stations):
            return False
        return all(one.is_ready for one in status.targets)

    def _leftovers(self) -> list[str]:
        found = super()._leftovers()
        if self._registered() != set(self._stations):
            found.append(f"registered: {self._registered()}")
        files = {one.name for one in self._folder.iterdir() if not one.name.endswith(MADE_BY_READING)} - FILES_OF_GRAPH
        found += [f"file {name}" for name in sorted(files ^ FILES)]
        return found + [f"process {pid}" for pid in _processes(self._folder / "walsync.yaml")]


def _processes(config: Path) -> list[str]:
    """Find the processes that were given this configuration."""
    return [path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if str(config).encode() in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.parent.name != str(os.getpid()) else b""
    except OSError:  # ended meanwhile, or somebody else's
        return b""
