"""Shows a `Status` to people: the source in one line, a row for each target, and every error with its hint."""

import sys
from collections.abc import Iterator
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from walsync.status import (
    LastError,
    SlotRoom,
    SourceStatus,
    Status,
    TableProgress,
    TableStatus,
    TargetState,
    TargetStatus,
)

_PLAIN_WIDTH: Final = 140  # for files and pipes, which have no width of their own
_GROWTH_BYTES_PER_SECOND: Final = 1000  # what is less goes to and fro with every checkpoint
_REASON_CHARACTERS: Final = 120
_UNKNOWN: Final = "-"
_WAL_IS_SAFE: Final = {None, "reserved", "extended"}
_COLOURS: Final = {
    TargetState.STREAMING: "green",
    TargetState.RETRYING: "yellow",
    TargetState.PARKED: "yellow",
    TargetState.NEEDS_SNAPSHOT: "yellow",
    TargetState.STOPPED: "red",
    TargetState.NOT_RUNNING: "dim",
}


def console() -> Console:
    """Write to stdout, as wide as the terminal; files and pipes have no width of their own."""
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)


def show(status: Status, *, note: str = "") -> None:
    """Print it on stdout."""
    console().print(render(status, note=note), soft_wrap=True)


def render(status: Status, *, note: str = "", title: str = "") -> RenderableType:
    """Draw one screen; `note` tells where the values come from, `title` of when they are."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("TARGET", "TYPE", "STATE", "CHECKPOINT"):
        table.add_column(column, no_wrap=True)
    for column in ("LAG", "SECONDS", "WAL KEPT", "TABLES"):
        table.add_column(column, justify="right", no_wrap=True)
    for target in status.targets:
        table.add_row(*_row(target))
    lines = [title, note] if title else [note]
    return Group(
        *(Text(text, style="dim") for text in lines if text),
        _source_line(status.source),
        *_hold_line(status.source),
        *_backlog_line(status),
        table,
        *(Text.from_markup(text) for text in (*_reasons(status), *_copies(status), *_errors(status))),
    )


def line(status: Status) -> str:
    """Write it as one line of plain text."""
    source = status.source
    positions = f"confirmed={source.confirmed_flush_lsn or _UNKNOWN} wal_end={source.wal_end_lsn or _UNKNOWN}"
    parts = [f"source {source.state.value} {positions} retained={human_bytes(source.retained_bytes)}"]
    for target in status.targets:
        _, _, _, checkpoint, lag, seconds, kept, tables = _row(target)
        values = f"checkpoint={checkpoint} lag={lag} seconds={seconds} kept={kept} tables={tables}"
        parts.append(f"{target.name} {target.state.value} {values}")
    errors = [(name, error) for name, error in _last_errors(status)]
    return "; ".join([*parts, *(f"{name}: {error.code} {error.message}" for name, error in errors)])


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


def human_seconds(seconds: float) -> str:
    """Write a time to come in the largest unit of which there is more than one."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _source_line(source: SourceStatus) -> Text:
    text = (
        f"[bold]source[/bold] {source.state.value}, slot {escape(source.slot)}"
        f", confirmed {source.confirmed_flush_lsn or _UNKNOWN}, WAL end {source.wal_end_lsn or _UNKNOWN}"
    )
    if source.retained_bytes is not None:
        text += f", {human_bytes(source.retained_bytes)} of WAL kept{_room(source.room)}"
    if source.wal_status not in _WAL_IS_SAFE:
        text += f", [red]wal_status {source.wal_status}[/red]"
    if source.blocked_by is not None:
        text += f", waits for pid {source.blocked_by.pid} since {source.blocked_by.seconds:.0f} s"
    return Text.from_markup(text)


def _hold_line(source: SourceStatus) -> Iterator[Text]:
    hold = source.hold
    if hold is not None:
        text = (
            f"hold slot {escape(hold.slot)}: {human_bytes(hold.retained_bytes)} of WAL kept for targets that are away"
            f"{_room(hold.room)}"
        )
        if hold.wal_status not in _WAL_IS_SAFE:
            text += f", [red]wal_status {hold.wal_status}[/red]"
        yield Text.from_markup(text)


def _room(room: SlotRoom | None) -> str:
    if room is None:
        return ""
    growth = round(room.growth_bytes_per_second or 0)
    text = ""
    if abs(growth) >= _GROWTH_BYTES_PER_SECOND:
        text = f" ({'+' if growth > 0 else '-'}{human_bytes(abs(growth))}/s)"
    if room.seconds_until_limit is not None:
        text += f", [yellow]max_slot_wal_keep_size in {human_seconds(room.seconds_until_limit)}[/yellow]"
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
        human_bytes(target.retained_bytes),
        f"{synced}/{len(target.tables)}",
    )


def _backlog_line(status: Status) -> Iterator[Text]:
    backlog = status.backlog
    if backlog.transactions:
        bound = f" of {human_bytes(backlog.max_bytes)}" if backlog.max_bytes is not None else ""
        yield Text(f"backlog {human_bytes(backlog.bytes)}{bound}, {backlog.transactions} entries")


def _reasons(status: Status) -> Iterator[str]:
    for target in status.targets:
        # What an error is the reason for is told with its hint.
        if target.reason and target.last_error is None and target.state is not TargetState.STREAMING:
            yield f"{escape(target.name)}: {escape(target.reason.splitlines()[0][:_REASON_CHARACTERS])}"


def _copies(status: Status) -> Iterator[str]:
    for target in status.targets:
        for name, table in target.tables.items():
            if table.state is TableProgress.COPYING:
                yield f"{escape(target.name)}: copying {escape(name)}{_copied(table)}"


def _copied(table: TableStatus) -> str:
    if not table.rows:
        return ""
    of = f" of about {table.total_rows:,}" if table.total_rows else ""
    text = f", {table.rows:,}{of} rows, {human_bytes(table.bytes)}"
    return text if table.eta_seconds is None else f"{text}, about {human_seconds(table.eta_seconds)} to go"


def _errors(status: Status) -> Iterator[str]:
    for target in status.targets:
        if target.warning is not None:
            yield f"[yellow]{escape(target.name)}: {target.warning.code} {escape(target.warning.message)}[/yellow]"
            yield f"  hint: {escape(target.warning.hint)}"
    for name, error in _last_errors(status):
        yield f"[red]{escape(name)}: {error.code} {escape(error.message)}[/red]"
        if error.hint:
            yield f"  hint: {escape(error.hint)}"


def _last_errors(status: Status) -> Iterator[tuple[str, LastError]]:
    if status.source.last_error is not None:
        yield "source", status.source.last_error
    for target in status.targets:
        if target.last_error is not None:
            yield target.name, target.last_error
