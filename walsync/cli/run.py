"""``walsync run``: keeps the targets in step, until it is told to stop."""

import asyncio
import signal
from pathlib import Path

import click

from walsync import service
from walsync.cli.options import Duration, load, with_config, with_logs
from walsync.logs import DEFAULT_LEVEL


@click.command()
@with_config
@with_logs(DEFAULT_LEVEL)
@click.option("--until-caught-up", is_flag=True, help="End once every target has what is committed now.")
@click.option("--timeout", type=Duration(), help="With --until-caught-up: end with 3 after so long, such as 25s.")
def run(path: Path | None, *, until_caught_up: bool, timeout: float | None) -> int:
    """Keep the targets in step with the source.

    The first SIGTERM or SIGINT drains: what was read is delivered and confirmed, then the process ends with 0. SIGHUP
    reads the configuration again.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # it waits for who takes it: it would end the process
    if timeout is not None and not until_caught_up:
        raise click.UsageError("--timeout goes with --until-caught-up")
    return asyncio.run(
        service.run(load(path), read=lambda: load(path), until_caught_up=until_caught_up, timeout=timeout)
    )
