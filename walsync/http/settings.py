"""The configuration of the HTTP server."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator

from walsync.setting_types import refusal
from walsync.settings import Secret, Settings

_LISTEN: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:\[\]]+)):(?P<port>[0-9]{1,5})")
_MAX_PORT: Final = 65535


def _check_listen(listen: str | None) -> str | None:
    if not listen:
        return None
    match = _LISTEN.fullmatch(listen)
    if match is None or int(match["port"]) > _MAX_PORT:
        raise refusal(
            "WS1017",
            "not an address to listen on",
            "write host:port, such as 127.0.0.1:8787, 0.0.0.0:8787 or [::1]:8787; leave it empty for no HTTP at all",
        )
    return listen


class HttpSettings(Settings):
    """Where a running instance answers, and to whom."""

    listen: Annotated[str | None, AfterValidator(_check_listen)] = "127.0.0.1:8787"
    """``host:port``; port 0 takes a free one. Empty: no HTTP, and `walsync status` asks the databases instead."""

    token: Secret = Secret("")
    """What /status and /metrics ask for, as ``Authorization: Bearer TOKEN``; empty: they are open. /health and /ready
    are always open, since probes cannot send it."""

    webhook_secret: Secret = Secret("")
    """The key of the HMAC that will sign ``POST /webhook``; accepted already, and without effect so far."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port to listen on; None when HTTP is off."""
        match = _LISTEN.fullmatch(self.listen or "")
        return None if match is None else (match["v6"] or match["host"], int(match["port"]))
