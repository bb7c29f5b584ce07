"""Asks for the status again and again, until interrupted: redrawn on a terminal, a line each time elsewhere."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import click
from rich.live import Live

from walsync.cli.ask import View, find
from walsync.cli.status_table import console, line, render
from walsync.config import Config
from walsync.errors import WalsyncError

_TOKEN_REFUSED: Final = "WS7002"  # noqa: S105 - a code

Show = Callable[[View], None]


async def watch(config: Config, *, every_seconds: float, as_json: bool) -> None:
    """Show the status every so often; returns at SIGINT or SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    stopping = asyncio.create_task(stopped.wait())
    with _display(as_json=as_json) as show:
        while not stopping.done():
            looking = asyncio.create_task(_look(config))
            await asyncio.wait([looking, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not looking.done():
                looking.cancel()
                await asyncio.wait([looking])
                return
            show(looking.result())
            await asyncio.wait([stopping], timeout=every_seconds)


async def _look(config: Config) -> View:
    try:
        return await find(config)
    except WalsyncError as error:
        if error.code == _TOKEN_REFUSED:
            raise
        return await find(config, offline=f"{error.code} {error.message}")


@contextmanager
def _display(*, as_json: bool) -> Iterator[Show]:
    screen = console()
    if as_json:
        yield lambda view: click.echo(view.status.to_json().decode())
    elif screen.is_terminal:
        with Live(console=screen, auto_refresh=False) as live:
            yield lambda view: live.update(render(view.status, note=view.note, title=_now()), refresh=True)
    else:
        yield _Lines().show


class _Lines:
    """One line each time, and the note whenever it is another one."""

    def __init__(self) -> None:
        self._note = ""

    def show(self, view: View) -> None:
        """Print what was found."""
        if view.note != self._note:
            self._note = view.note
            click.echo(f"{_now()} {view.note or 'an instance answers'}")
        click.echo(f"{_now()} {line(view.status)}")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
