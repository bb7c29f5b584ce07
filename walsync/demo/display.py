"""Shows the demo: on a terminal tables that change in place, elsewhere plain lines."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from walsync.demo.compare import Comparison
from walsync.demo.watch import AWAY, Watch

_PLAIN_WIDTH: Final = 110  # for files and pipes, which have no width of their own
_WIDE: Final = 100
"""Below this many columns the tables go without what can be spared."""

_PLAIN_EVERY_SECONDS: Final = 2.5
_UNKNOWN: Final = "-"
_COLOURS: Final = {"streaming": "green", "retrying": "yellow", "stopped": "red", AWAY: "red"}


class Display:
    """Says what happens, with the seconds since the beginning."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._console = Console(width=None if self._is_terminal else _PLAIN_WIDTH, highlight=False)
        self._began = time.monotonic()
        self._live: Live | None = None
        self._progress: tuple[Progress, dict[str, TaskID]] | None = None
        self._printed = 0.0

    def say(self, line: str) -> None:
        """Print a line, above what changes in place."""
        self._console.print(f"{time.monotonic() - self._began:5.1f} s  {escape(line)}", soft_wrap=True)

    def print(self, line: str = "") -> None:
        """Print a line as it is, to be read or copied."""
        self._console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def copying(self, rows: int) -> Iterator[None]:
        """Show how far the snapshots of `rows` rows are, while the block runs."""
        columns = TextColumn("{task.description:8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=self._console, disable=not self._is_terminal, transient=True) as progress:
            tasks: dict[str, TaskID] = {}
            self._progress = progress, tasks
            self._rows = rows
            try:
                yield
            finally:
                self._progress = None

    @contextmanager
    def streaming(self, watch: Watch) -> Iterator[None]:
        """Show the targets, while the block runs."""
        if not self._is_terminal:
            yield
            return
        with Live(self._targets(watch), console=self._console, auto_refresh=False, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def update(self, watch: Watch) -> None:
        """Show what was seen."""
        if self._progress is not None:
            self._update_progress(watch, *self._progress)
        if self._live is not None:
            self._live.update(self._targets(watch), refresh=True)
        elif not self._is_terminal and time.monotonic() > self._printed + _PLAIN_EVERY_SECONDS:
            self._printed = time.monotonic()
            if self._progress is not None:
                parts = [f"{one.name} {len(one.copied)}/{one.tables} tables" for one in watch.targets.values()]
                self.say(", ".join(parts) or "walsync begins")
            else:
                self._console.print(self._targets(watch))

    def show_tables(self, found: Mapping[str, Sequence[Comparison]], changes: Mapping[str, int] | None = None) -> None:
        """Print each table with its verdict for each target, and the first differences."""
        numbers = ("ROWS",) if changes is None else ("ROWS", "CHANGES")
        table = _table("TABLE", right=numbers, then=tuple(map(str.upper, found)))
        verdicts = {name: {one.table: one for one in comparisons} for name, comparisons in found.items()}
        for one in next(iter(found.values())):
            changed = () if changes is None else (f"{changes.get(str(one.table), 0):,}",)
            each = (verdicts[name][one.table].equal for name in found)
            table.add_row(str(one.table), f"{one.rows:,}", *changed, *map(_verdict, each))
        self._console.print(table)
        for name, comparisons in found.items():
            for one in comparisons:
                if not one.equal:
                    self.print(f"{name}: {one}")

    def show_targets(self, found: Mapping[str, Sequence[Comparison]], watch: Watch, seconds: float) -> None:
        """Print the numbers of each target, and its verdict."""
        columns = ("ROWS", "COPIED/S", "CHANGES", "CHANGES/S", "P50 LAG", "P99 LAG")
        table = _table("TARGET", right=columns, then=("EQUAL",))
        for name, comparisons in found.items():
            sight = watch.targets[name]
            changes = sight.counters["changes"]
            table.add_row(
                name,
                f"{sum(one.rows for one in comparisons):,}",
                f"{sight.copied_rows / sight.copy_seconds:,.0f}" if sight.copy_seconds else _UNKNOWN,
                f"{changes:,}",
                f"{changes / seconds:,.0f}" if seconds else _UNKNOWN,
                _milliseconds(sight.delay(0.5)),
                _milliseconds(sight.delay(0.99)),
                _verdict(all(one.equal for one in comparisons)),
            )
        self._console.print(table)
        self.print("Lag: from commit on the source to durable in the target, of each batch's oldest transaction.")
        self.print("Changes: as walsync counts them; a killed process takes the count of its last moment with it.")

    def conclude(self, line: str, *, equal: bool) -> None:
        """Print the last line."""
        verdict = "[green]all equal[/green]" if equal else "[red]NOT EQUAL[/red]"
        self._console.print(f"{escape(line)}: {verdict}", soft_wrap=True)

    def _targets(self, watch: Watch) -> Table:
        wide = self._console.width >= _WIDE
        columns = ("CHANGES/S", *(("CHANGES", "BATCHES") if wide else ("BATCHES",)), "LAG ms", "LAG", "HAS UP TO")
        table = _table("TARGET", *(("TYPE",) if wide else ()), "STATE", right=columns)
        for sight in watch.targets.values():
            colour = _COLOURS.get(sight.state, "cyan")
            table.add_row(
                sight.name,
                *((sight.type,) if wide else ()),
                f"[{colour}]{sight.state}[/{colour}]",
                f"{sight.changes_per_second:,.0f}",
                *((f"{sight.counters['changes']:,}",) if wide else ()),
                f"{sight.counters['batches']:,}",
                _UNKNOWN if sight.lag_seconds is None else f"{sight.lag_seconds * 1000:,.0f}",
                _UNKNOWN if sight.lag_bytes is None else decimal(sight.lag_bytes).replace("bytes", "B"),
                str(sight.position or _UNKNOWN),
            )
        return table

    def _update_progress(self, watch: Watch, progress: Progress, tasks: dict[str, TaskID]) -> None:
        for sight in watch.targets.values():
            if sight.name not in tasks:
                tasks[sight.name] = progress.add_task(sight.name, total=self._rows)
            progress.update(tasks[sight.name], completed=sight.copied_rows)


def _table(*left: str, right: Iterable[str], then: Iterable[str] = ()) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    for name in then:
        table.add_column(name, no_wrap=True)
    return table


def _verdict(equal: bool) -> str:  # noqa: FBT001 - the verdict is what it is about
    return "equal" if equal else "[red]NO[/red]"


def _milliseconds(seconds: float | None) -> str:
    return _UNKNOWN if seconds is None else f"{seconds * 1000:,.0f} ms"
