"""The targets behind servers, each reached by a line of its own that can be cut and held."""

import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from acceptance.reading import Part
from acceptance.reading_d1 import OWN_OF_REST, D1Served
from acceptance.reading_surrealdb import SurrealDBServed
from acceptance.three_kinds import EVERYTHING, REGION
from acceptance.troubled import Line, Serve
from acceptance.zoo import KEYED
from fix_proxy import Proxy
from fix_rest_api import ACCOUNT, TOKEN, RestApi, served
from fix_surrealdb import VERSIONS, SurrealServer
from fix_workerd import SECRET, Workerd

WITH_KEY: Final = [Part(table) for table in KEYED]
"""What D1 over REST takes."""

REST_CALM_SECONDS: Final = 7.0
"""Requests of a token are spaced: a line that is cut as often as the others' never sees a target opened."""


def surrealdb(stack: ExitStack, folder: Path) -> list[Line]:
    """Serve both versions of SurrealDB."""
    lines = []
    for number, version in enumerate(VERSIONS):
        server = stack.enter_context(SurrealServer(version, folder / f"surrealdb{number}"))
        proxy = stack.enter_context(Proxy(server.host, server.port))
        name = f"graph{number}"
        place = SurrealDBServed(name, folder / name, EVERYTHING, server=server, port=proxy.port)
        lines.append(Line(place, proxy))
    return lines


def d1(stack: ExitStack, folder: Path) -> list[Line]:
    """Serve two regions by the gateway, and a third database by REST, where requests are not atomic."""
    workerd = stack.enter_context(closing(Workerd(folder / "workerd")))
    api = stack.enter_context(served(RestApi(workerd, is_atomic=False, clock=time.monotonic)))
    lines = []
    for name, database, parts in (("weur", "DB_WEUR", EVERYTHING), ("oc", "DB_OC", REGION)):
        proxy = _proxy(stack, workerd.url)
        keys = {"url": f"http://{proxy.host}:{proxy.port}", "database": database, "secret": SECRET}
        lines.append(Line(D1Served(name, workerd.plain(database), parts, keys), proxy))
    proxy = _proxy(stack, api.url)
    keys = {
        "account_id": ACCOUNT,
        "database_id": "id-enam",
        "api_token": TOKEN,
        "api_url": f"http://{proxy.host}:{proxy.port}{urlsplit(api.url).path}",
    }
    place = D1Served("enam", workerd.plain("DB_ENAM"), WITH_KEY, keys, own=OWN_OF_REST)
    lines.append(Line(place, proxy, REST_CALM_SECONDS))
    return lines


def _proxy(stack: ExitStack, url: str) -> Proxy:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return stack.enter_context(Proxy(parts.hostname, parts.port))


SERVED: Final[Mapping[str, Serve]] = {"d1": d1, "surrealdb": surrealdb}
