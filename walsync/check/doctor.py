"""Asks every check there is, in the order of the data's path."""

import asyncio
from typing import Final

from walsync.check import source, target
from walsync.check.finding import Report
from walsync.config import Config
from walsync.http.settings import HttpSettings

_LOOPBACK: Final = ("127.", "localhost", "::1")


async def examine(config: Config) -> Report:
    """Look at everything that a valid configuration names."""
    report = Report()
    report.ok("configuration", f"is valid; targets: {', '.join(one.name for one in config.targets)}")
    _check_http(config.http, report)
    names = [settings.name for settings in config.targets]
    found = await asyncio.to_thread(source.examine, config.source, names, report)
    looks = [target.examine(settings, config.source.slot, found) for settings in config.targets]
    for one in await asyncio.gather(*looks):
        report.extend(one.findings)
    return report


def _check_http(http: HttpSettings, report: Report) -> None:
    if http.address is None or http.token.get_secret_value():
        return
    if not http.address[0].startswith(_LOOPBACK):
        report.warning(
            "WS7005",
            "configuration",
            f"/status and /metrics are open to whoever reaches {http.listen}",
            "set http.token, or listen on 127.0.0.1",
        )
