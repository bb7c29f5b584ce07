"""``walsync status``: what the running instance says; without one, what slot and checkpoints say."""

import asyncio
from pathlib import Path

import click

from walsync.cli.ask import find
from walsync.cli.options import Duration, load, with_config, with_logs
from walsync.cli.status_table import show
from walsync.cli.watch import watch as watch_status


@click.command()
@with_config
@with_logs("warning")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON that /status answers with; one line each time.")
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option("--interval", type=Duration(), default="2s", show_default=True, help="With --watch: how often.")
def status(path: Path | None, *, as_json: bool, watch: bool, interval: float) -> int:
    """Show where source and targets are.

    Ends with 1 when the source could not be asked.
    """
    config = load(path)
    if watch:
        asyncio.run(watch_status(config, every_seconds=interval, as_json=as_json))
        return 0
    found = asyncio.run(find(config))
    if as_json:
        click.echo(found.status.to_json(indent=True).decode())
    else:
        show(found.status, note=found.note)
    return 1 if found.status.source.last_error is not None else 0
