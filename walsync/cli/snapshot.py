"""``walsync snapshot``: has the running instance copy tables once more, and tells when they are there."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import click

from walsync.cli.ask import ask, order
from walsync.cli.options import load, with_config, with_logs
from walsync.config import Config
from walsync.errors import WalsyncError, stopped
from walsync.lsn import LSN, ZERO
from walsync.status import Status, TableProgress, TableStatus, TargetState

_LOOK_SECONDS: Final = 0.5
_AWAY: Final = frozenset({TargetState.RETRYING, TargetState.PARKED, TargetState.NEEDS_SNAPSHOT})

_Table: TypeAlias = tuple[str, str]
"""A target, and one of its tables."""


@click.command()
@with_config
@with_logs("warning")
@click.option("--target", metavar="NAME", help="Copy to this target only.")
@click.option("--table", metavar="SCHEMA.TABLE", help="Copy this table only.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Return when the rows are there, or at once.")
def snapshot(path: Path | None, *, target: str | None, table: str | None, wait: bool) -> None:
    """Copy tables once more while the others go on.

    Who reads a target sees the old rows, kept in step, until the new ones take their place.
    """
    config = load(path)
    asyncio.run(_copy(config, target, table, wait=wait))


async def _copy(config: Config, target: str | None, table: str | None, *, wait: bool) -> None:
    before = _positions(await ask(config.http))
    answer = await order(config.http, "/snapshot", {"target": target, "table": table})
    tables: Mapping[str, Sequence[str]] = answer["tables"]
    waiting = {(name, one) for name, several in tables.items() for one in several}
    if not wait:
        click.echo(f"{len(waiting)} tables will be copied: walsync status --watch")
        return
    told: set[str] = set()
    while waiting:
        await asyncio.sleep(_LOOK_SECONDS)
        status = await ask(config.http)
        if status is None:
            raise WalsyncError("WS7008", "the instance has ended", hint="start it, and run this again: walsync run")
        for name, one, state in _finished(status, before):
            if (name, one) in waiting:
                waiting.discard((name, one))
                rows = "" if state.rows is None else f"{state.rows:,} rows, "
                click.echo(f"{name}: {one} is there, {rows}as of {state.synced_lsn}")
        waited_for = {name for name, _ in waiting}
        _refuse_stopped(status, waited_for)
        told |= _tell_who_is_away(status, waited_for - told)


def _positions(status: Status | None) -> dict[_Table, LSN]:
    return {} if status is None else {(name, one): state.synced_lsn or ZERO for name, one, state in _tables(status)}


def _finished(status: Status, before: Mapping[_Table, LSN]) -> Iterator[tuple[str, str, TableStatus]]:
    for name, one, state in _tables(status):
        synced = state.synced_lsn or ZERO
        if state.state is TableProgress.SYNCED and synced > before.get((name, one), ZERO):
            yield name, one, state


def _tables(status: Status) -> Iterator[tuple[str, str, TableStatus]]:
    for target in status.targets:
        for one, state in target.tables.items():
            yield target.name, one, state


def _tell_who_is_away(status: Status, names: set[str]) -> set[str]:
    away = [target for target in status.targets if target.name in names and target.state in _AWAY]
    for target in away:
        click.echo(f"{target.name} is {target.state.value}: its tables are copied when it is back", err=True)
    return {target.name for target in away}


def _refuse_stopped(status: Status, waited_for: set[str]) -> None:
    for target in status.targets:
        if target.name in waited_for and target.state is TargetState.STOPPED:
            raise stopped(target.name)
