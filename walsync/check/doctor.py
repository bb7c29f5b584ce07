"""Asks every check there is, in the order of the data's path."""

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import Final

from walsync.check import source, target
from walsync.check.finding import Report
from walsync.check.incomplete import is_complete
from walsync.config import Config
from walsync.http.settings import HttpSettings
from walsync.target.registry import open_target

_LOOPBACK: Final = ("127.", "localhost", "::1")


async def examine(config: Config) -> Report:
    """Look at everything that a configuration names; blocks whose variables were filled in are left out."""
    report = Report()
    targets = [settings for settings in config.targets if is_complete(settings)]
    if is_complete(config.source) and len(targets) == len(config.targets):
        report.ok("configuration", f"is valid; targets: {', '.join(one.name for one in config.targets)}")
    _check_token(config.http, report)
    found = source.Source()
    if is_complete(config.source):
        names = [settings.name for settings in config.targets]
        found = await asyncio.to_thread(
            source.examine, config.source, names, report, catch_up_streams=config.backlog.catch_up_streams
        )
    if not found.is_read_by_walsync:
        _check_port(config.http, report)
    async with AsyncExitStack() as stack:
        looks = []
        for settings in targets:
            one = open_target(settings, slot=config.source.slot)
            stack.push_async_callback(one.close)  # after all have been looked at: what targets share, all of them share
            looks.append(target.examine(one, settings, config.batch, found))
        for found_there in await asyncio.gather(*looks):
            report.extend(found_there.findings)
    return report


def _check_token(http: HttpSettings, report: Report) -> None:
    if http.address is None or http.token.get_secret_value():
        return
    if not http.address[0].startswith(_LOOPBACK):
        report.warning(
            "WS7005",
            "configuration",
            f"/status and /metrics are open to whoever reaches {http.listen}",
            "set http.token, or listen on 127.0.0.1",
        )


def _check_port(http: HttpSettings, report: Report) -> None:
    """Listen for a moment, as `run` will; an instance that runs has the port, and is known by its slot."""
    if http.address is None:
        return
    family = socket.AF_INET6 if ":" in http.address[0] else socket.AF_INET
    try:
        socket.create_server(http.address, family=family).close()
    except OSError as error:
        report.error(
            "WS7001",
            "configuration",
            f"cannot listen on {http.listen}: {error.strerror or error}",
            "stop what listens there, or change http.listen; empty switches HTTP off",
        )
