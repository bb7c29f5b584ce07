"""Finds out where source and targets are: from the running instance, or without one from the databases."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import aiohttp
import orjson

from walsync.cli.offline_status import look
from walsync.config import Config
from walsync.errors import ConfigurationError, WalsyncError
from walsync.http.settings import HttpSettings
from walsync.status import Status

_ANSWER_SECONDS: Final = 15.0  # above the 10 s in which the instance's own question to its source gives up

_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not listened on


@dataclass(frozen=True, slots=True)
class View:
    """A status, and where it comes from when that is not the running instance."""

    status: Status
    note: str = ""


async def find(config: Config, *, offline: str = "") -> View:
    """Ask the instance, or without one the databases; `offline` says why there is nobody to ask."""
    note = offline or f"no instance answers on {config.http.listen or 'HTTP, which is off'}"
    if not offline:
        answer = await ask(config.http)
        if answer is not None and answer.source.slot == config.source.slot:
            return View(answer)
        if answer is not None:
            note = f"the instance on {config.http.listen} reads slot {answer.source.slot}, not {config.source.slot}"
    return View(await look(config), f"{note}; what follows comes from the databases")


async def ask(http: HttpSettings) -> Status | None:
    """Ask the instance that listens where this configuration says; None when nobody listens there."""
    answer = await _request(http, "GET", "/status")
    if answer is None:
        return None
    try:
        return Status.from_json(answer.body)
    except ValueError:
        raise _strange(answer.url, f"status {answer.code}") from None


async def order(http: HttpSettings, path: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Have the running instance do something; WalsyncError with its own word where it refuses, or there is none."""
    answer = await _request(http, "POST", path, content)
    if answer is None:
        raise WalsyncError(
            "WS7008", f"no instance answers on {http.listen or 'HTTP, which is off'}", hint="start it: walsync run"
        )
    try:
        found = orjson.loads(answer.body)
        if answer.code < HTTPStatus.BAD_REQUEST:
            return dict(found)
        kind = ConfigurationError if str(found["code"]).startswith("WS1") else WalsyncError
        refusal = kind(found["code"], found["message"], hint=found["hint"])
    except (ValueError, KeyError, TypeError):
        raise _strange(answer.url, f"status {answer.code}") from None
    raise refusal


class _Answer(NamedTuple):
    url: str
    code: int
    body: bytes


async def _request(
    http: HttpSettings, method: str, path: str, content: Mapping[str, Any] | None = None
) -> _Answer | None:
    if http.address is None:
        return None
    host, port = http.address
    host = _ANY_ADDRESS.get(host, host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"
    token = http.token.get_secret_value()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as client,
            client.request(method, url, headers=headers, json=content) as response,
        ):
            body, code = await response.read(), response.status
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        return None  # it has ended, perhaps while it was asked
    except TimeoutError:
        raise WalsyncError("WS7004", f"{url} did not answer in {_ANSWER_SECONDS:g} s", hint="look at its log") from None
    except aiohttp.ClientError as error:
        raise _strange(url, type(error).__name__) from None
    if code == HTTPStatus.UNAUTHORIZED:
        raise WalsyncError("WS7002", f"{url} refuses the token", hint="http.token differs from the running instance's")
    return _Answer(url, code, body)


def _strange(url: str, what: str) -> WalsyncError:
    return WalsyncError("WS7003", f"{url} answers, but not as walsync does ({what})", hint="see what listens there")
