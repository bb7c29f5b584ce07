"""`walsync demo`: two real servers, a workload, a SIGKILL of walsync in the middle, and a comparison of all rows."""

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import psycopg2
from rich.console import Console
from rich.table import Table

from walsync.demo import tables
from walsync.demo.child import Child
from walsync.demo.compare import Comparison, PostgresReader, compare
from walsync.demo.engines import PostgresServer, free_port, from_wheel
from walsync.demo.engines.installation import workspace
from walsync.demo.workload import Style, Tally, Workload

SOURCE_VERSION: Final = 18
TARGET_VERSION: Final = 16
_PLAIN_WIDTH: Final = 100  # for files and pipes, which have no width of their own
_POLL_SECONDS: Final = 0.05
_READY_SECONDS: Final = 60.0
_CATCH_UP_SECONDS: Final = 60

_CONFIG: Final = """\
source:
  dsn: {source}
  tables: ["app.*", "media.*"]
targets:
  - {{name: replica, type: postgres, dsn: "{target}"}}
http: {{listen: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True)
class Options:
    """How long and how fast the workload writes, and what it is made from."""

    seconds: float = 10.0
    rate: float = 200.0
    seed: int = 1


class Demo:
    """Everything that runs during the demo; `with` ends it all."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)
        self._stack = ExitStack()
        self._started_at = time.monotonic()
        self._pause = threading.Event()  # never set: its `wait` is the pace

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self) -> bool:
        """Do it all; returns whether every table is equal."""
        self._say("starting two servers")
        source = self._stack.enter_context(PostgresServer(from_wheel(SOURCE_VERSION)))
        target = self._stack.enter_context(PostgresServer(from_wheel(TARGET_VERSION)))
        self._say(f"Postgres {source.version} on port {source.port} -> Postgres {target.version} on port {target.port}")
        _fill(source.dsn())
        child = self._stack.enter_context(self._child(source, target))
        child.start()
        self._until(child, lambda: child.is_ready, _READY_SECONDS, "the snapshot")
        self._say("snapshot complete")
        tally = self._write(source, child)
        self._catch_up(child)
        found = compare(PostgresReader(source.dsn()), PostgresReader(target.dsn()), tables.SCHEMAS)
        self._show(found, tally)
        return all(comparison.equal for comparison in found)

    @contextmanager
    def _child(self, source: PostgresServer, target: PostgresServer) -> Iterator[Child]:
        # Inside the engines' folder, which the keepers remove if this process is killed.
        folder = Path(tempfile.mkdtemp(prefix="walsync-", dir=workspace().folder))
        port = free_port()
        config = folder / "walsync.yaml"
        config.write_text(_CONFIG.format(source=source.dsn(), target=target.dsn(), port=port), encoding="utf-8")
        child = Child(folder, config, f"http://127.0.0.1:{port}")
        try:
            yield child
        finally:
            child.close()

    def _write(self, source: PostgresServer, child: Child) -> Tally:
        """Let the workload run, and kill walsync in the middle of it."""
        seconds = self._options.seconds
        style = Style(rate=self._options.rate)
        workload = Workload(source.dsn(), tables.operations(), seed=self._options.seed, style=style)
        self._say(f"writing for {seconds:g} s, at most {style.rate:g} transactions/s, seed {self._options.seed}")
        workload.start()
        try:
            self._pause.wait(seconds / 2)
            child.require_running()
            pid = child.pid
            child.kill()
            child.start()
            self._say(f"SIGKILL of walsync, process {pid}; started again as {child.pid}")
            self._pause.wait(seconds / 2)
            child.require_running()
        finally:
            tally = workload.stop()
        self._say(f"written: {tally.committed:,} transactions, {tally.rolled_back:,} rolled back")
        return tally

    def _catch_up(self, child: Child) -> None:
        self._until(child, lambda: child.is_ready, _READY_SECONDS, "the target to follow the stream again")
        if child.stop() != 0:
            raise child.failed("did not drain")
        child.start("--until-caught-up", "--timeout", f"{_CATCH_UP_SECONDS}s")
        if child.wait() != 0:
            raise child.failed("did not catch up")
        self._say("caught up")

    def _until(self, child: Child, reached: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            child.require_running()
            if time.monotonic() > deadline:
                raise child.failed(f"took more than {seconds:.0f} s for {what}")
            self._pause.wait(_POLL_SECONDS)

    def _say(self, line: str) -> None:
        self._console.print(f"{time.monotonic() - self._started_at:5.1f} s  {line}", soft_wrap=True)

    def _show(self, found: list[Comparison], tally: Tally) -> None:
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("TABLE", no_wrap=True)
        for column in ("ROWS", "CHANGES"):
            table.add_column(column, justify="right")
        table.add_column("EQUAL")
        for comparison in found:
            name = str(comparison.table)
            changes = sum(rows for (changed, _), rows in tally.changes.items() if changed == name)
            table.add_row(name, f"{comparison.rows:,}", f"{changes:,}", "yes" if comparison.equal else "[red]NO[/red]")
        self._console.print(table)
        equal = all(comparison.equal for comparison in found)
        for comparison in found:
            if not comparison.equal:
                self._console.print(str(comparison), markup=False, soft_wrap=True)
        rows = sum(comparison.rows for comparison in found)
        rate = tally.rows / self._options.seconds if self._options.seconds else 0
        self._console.print(
            f"{rows:,} rows, {tally.rows:,} changes, {rate:,.0f} changes/s, one SIGKILL: "
            + ("[green]all equal[/green]" if equal else "[red]NOT EQUAL[/red]"),
            soft_wrap=True,
        )


def _fill(dsn: str) -> None:
    with closing(psycopg2.connect(dsn)) as session, session, session.cursor() as cursor:
        cursor.execute(tables.CREATE)
        cursor.execute(tables.FILL)
