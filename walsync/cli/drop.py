"""``walsync drop``: forgets one target, or everything that walsync has made on the source."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import psycopg2

from walsync.checkpoint.registry import Registry
from walsync.cli.options import load, with_config, with_logs
from walsync.config import Config
from walsync.errors import ConfigurationError, SourceRefused, WalsyncError
from walsync.postgres import Connection
from walsync.source import publication
from walsync.source import slot as slots
from walsync.source.session import open_session, source_error
from walsync.source.settings import SourceSettings
from walsync.target.registry import open_target
from walsync.target.settings import TargetSettings

_RELEASE_SECONDS: Final = 3.0
_RELEASE_POLL_SECONDS: Final = 0.1
"""The server holds the slot for a moment after the process that read it has ended."""


@click.command()
@with_config
@with_logs("warning")
@click.option("--target", metavar="NAME", help="Forget this target only; the others go on.")
def drop(path: Path | None, *, target: str | None) -> None:
    """Forget targets; their rows stay.

    With --target: its registration, and its checkpoint where it is configured and can be reached. A target that is
    still configured gets a new snapshot at the next start. Without: all targets, the slot, and the publication if
    walsync made it.
    """
    config = load(path)
    with _session(config.source) as session:
        if target is None:
            _drop_all(config, session)
        else:
            _drop_target(config, session, target)


def _drop_target(config: Config, session: Connection, name: str) -> None:
    registry = Registry(session, config.source.slot)
    registered = registry.load()
    configured = next((target for target in config.targets if target.name == name), None)
    if configured is None and name not in registered:
        known = ", ".join(sorted({*registered, *(target.name for target in config.targets)}))
        raise ConfigurationError("WS1021", f"there is no target {name}", hint=f"the targets known here: {known}")
    if configured is not None:
        # The running instance would see its checkpoint vanish. One that is not configured has no instance.
        _refuse_while_active(session, config.source.slot)
        _forget(configured, config.source.slot)
    if registry.remove(name):
        click.echo(f"removed the registration of target {name}")


def _drop_all(config: Config, session: Connection) -> None:
    settings = config.source
    _refuse_while_active(session, settings.slot)
    # The slot first: the server itself refuses it to whoever comes too late.
    for name in (settings.slot, slots.hold_name(settings.slot)):
        if slots.find(session, name) is not None:
            slots.drop(session, name)
            click.echo(f"dropped slot {name}")
    for target in config.targets:
        _forget(target, settings.slot)
    registry = Registry(session, settings.slot)
    for name in registry.load():
        registry.remove(name)
        click.echo(f"removed the registration of target {name}")
    if publication.drop(session, settings.publication):
        click.echo(f"dropped publication {settings.publication}")
    elif publication.find(session, settings.publication) is not None:
        click.echo(f"kept publication {settings.publication}, which walsync did not make")
    click.echo("nothing of walsync is left on the source but the empty registry")


def _refuse_while_active(session: Connection, slot: str) -> None:
    deadline = time.monotonic() + _RELEASE_SECONDS
    while (found := slots.find(session, slot)) is not None and found.active_pid is not None:
        if time.monotonic() < deadline:
            time.sleep(_RELEASE_POLL_SECONDS)
            continue
        raise SourceRefused("WS2403", f"slot {slot} is in use by pid {found.active_pid}", hint="stop walsync first")


def _forget(settings: TargetSettings, slot: str) -> None:
    try:
        held = asyncio.run(_forget_checkpoint(settings, slot))
    except WalsyncError as error:
        click.echo(f"target {settings.name} keeps its checkpoint, if it has one: {error}", err=True)
        click.echo("  hint: run this again when it can be reached, before walsync runs", err=True)
    else:
        if held:
            click.echo(f"removed the checkpoint of target {settings.name}; its rows stay")


async def _forget_checkpoint(settings: TargetSettings, slot: str) -> bool:
    target = open_target(settings, slot=slot)
    try:
        held = await target.read_checkpoint() is not None
        await target.forget()
    finally:
        await target.close()
    return held


@contextmanager
def _session(settings: SourceSettings) -> Iterator[Connection]:
    session = open_session(settings.dsn.get_secret_value(), "walsync drop")
    try:
        yield session
    except psycopg2.Error as error:
        raise source_error(error) from error
    finally:
        session.close()
