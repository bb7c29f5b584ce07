"""``walsync status``: what the running instance says; without one, what slot and checkpoints say."""

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp
import click

from walsync.cli.offline_status import look
from walsync.cli.options import load, with_config, with_logs
from walsync.cli.status_table import show
from walsync.config import Config
from walsync.errors import WalsyncError
from walsync.http.settings import HttpSettings
from walsync.status import Status

_ANSWER_SECONDS: Final = 15.0  # above the 10 s in which the instance's own question to its source gives up

_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not listened on


@click.command()
@with_config
@with_logs("warning")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON that /status answers with.")
def status(path: Path | None, *, as_json: bool) -> int:
    """Show where source and targets are.

    Ends with 1 when the source could not be asked.
    """
    found = asyncio.run(_find(load(path)))
    if as_json:
        click.echo(found.to_json(indent=True).decode())
    else:
        show(found)
    return 1 if found.source.last_error is not None else 0


async def _find(config: Config) -> Status:
    answer = await ask(config.http)
    if answer is None or answer.source.slot != config.source.slot:
        return await look(config)
    return answer


async def ask(http: HttpSettings) -> Status | None:
    """Ask the instance that listens where this configuration says; None when nobody listens there."""
    if http.address is None:
        return None
    host, port = http.address
    host = _ANY_ADDRESS.get(host, host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/status"
    token = http.token.get_secret_value()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as client, client.get(url, headers=headers) as response:
            body, code = await response.read(), response.status
    except aiohttp.ClientConnectorError:
        return None
    except TimeoutError:
        raise WalsyncError("WS7004", f"{url} did not answer in {_ANSWER_SECONDS:g} s", hint="look at its log") from None
    except aiohttp.ClientError as error:
        raise _strange(url, type(error).__name__) from None
    if code == HTTPStatus.UNAUTHORIZED:
        raise WalsyncError("WS7002", f"{url} refuses the token", hint="http.token differs from the running instance's")
    try:
        return Status.from_json(body)
    except ValueError:
        raise _strange(url, f"status {code}") from None


def _strange(url: str, what: str) -> WalsyncError:
    return WalsyncError("WS7003", f"{url} answers, but not as walsync does ({what})", hint="see what listens there")
