"""Shows a `Status` to people: the source in one line, a row for each target, and every error with its hint."""

import sys
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from walsync.status import LastError, SourceStatus, Status, TableProgress, TargetState, TargetStatus

_PLAIN_WIDTH: Final = 140  # for files and pipes, which have no width of their own
_UNKNOWN: Final = "-"
_COLOURS: Final = {
    TargetState.STREAMING: "green",
    TargetState.RETRYING: "yellow",
    TargetState.STOPPED: "red",
    TargetState.NOT_RUNNING: "dim",
}


def show(status: Status) -> None:
    """Print it on stdout."""
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)
    console.print(_source_line(status.source), soft_wrap=True)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("TARGET", "TYPE", "STATE", "CHECKPOINT"):
        table.add_column(column, no_wrap=True)
    for column in ("LAG", "SECONDS", "TABLES"):
        table.add_column(column, justify="right", no_wrap=True)
    for target in status.targets:
        table.add_row(*_row(target))
    console.print(table)
    for name, error in _errors(status):
        console.print(f"{name}: {error.code} {escape(error.message)}", style="red", soft_wrap=True)
        if error.hint:
            console.print(f"  hint: {escape(error.hint)}", soft_wrap=True)


def human_bytes(count: int | None) -> str:
    """Write a number of bytes in the units of the configuration file."""
    if count is None:
        return _UNKNOWN
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1024:  # noqa: PLR2004 - the step between units, as in postgresql.conf
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TB"


def _source_line(source: SourceStatus) -> str:
    text = (
        f"[bold]source[/bold] {source.state.value}, slot {escape(source.slot)}"
        f", confirmed {source.confirmed_flush_lsn or _UNKNOWN}, WAL end {source.wal_end_lsn or _UNKNOWN}"
    )
    if source.retained_bytes is not None:
        text += f", {human_bytes(source.retained_bytes)} of WAL kept"
    if source.blocked_by is not None:
        text += f", waits for pid {source.blocked_by.pid} since {source.blocked_by.seconds:.0f} s"
    return text


def _row(target: TargetStatus) -> tuple[str, ...]:
    synced = sum(1 for table in target.tables.values() if table.state is TableProgress.SYNCED)
    colour = _COLOURS.get(target.state, "cyan")
    return (
        escape(target.name),
        escape(target.type),
        f"[{colour}]{target.state.value}[/{colour}]",
        str(target.checkpoint_lsn or _UNKNOWN),
        human_bytes(target.lag_bytes),
        _UNKNOWN if target.lag_seconds is None else f"{target.lag_seconds:.1f}",
        f"{synced}/{len(target.tables)}",
    )


def _errors(status: Status) -> Iterator[tuple[str, LastError]]:
    if status.source.last_error is not None:
        yield "source", status.source.last_error
    for target in status.targets:
        if target.last_error is not None:
            yield target.name, target.last_error
