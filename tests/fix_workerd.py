"""workerd, the engine that Cloudflare runs D1 on, with the gateway Worker and six databases; offline.

One process serves all tests of a session; `d1_database` hands out its databases,
empty. `Plain` reads and troubles one without the gateway.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from itertools import cycle
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from walsync.demo.engines import workerd as engines

ANSWER_SECONDS = 60

REGIONS: Final = ("WNAM", "ENAM", "WEUR", "EEUR", "APAC", "OC")
DATABASES: Final = tuple(f"DB_{region}" for region in REGIONS)
SECRET: Final = "a secret of the tests alone"
PREVIOUS_SECRET: Final = "the one before it"
SECRETS: Final = {"WALSYNC_SECRET": SECRET, "WALSYNC_SECRET_PREVIOUS": PREVIOUS_SECRET}

Rows = list[tuple[Any, ...]]


class SqlRefused(Exception):
    """The database refused what a test asked of it."""


class Workerd(engines.Workerd):
    """A running workerd; its databases are called by the names of their bindings."""

    def __init__(self, folder: Path, secrets: Mapping[str, str] = SECRETS) -> None:
        super().__init__(folder, DATABASES, secrets)

    def plain(self, database: str) -> "Plain":
        """Return what reads and troubles a database."""
        return Plain(f"{self.plain_url}/{database}")


class Plain:
    """Runs any SQL on one database, unsigned and unjudged."""

    def __init__(self, url: str) -> None:
        self.url = url

    def execute(self, sql: str, *parameters: object) -> Rows:
        """Run a statement; return its rows."""
        (result,) = self._ask({"statements": [[sql, parameters]], "raw": True})
        return [tuple(row) for row in result[1:]]

    def batch(self, *statements: tuple[str, list[object]]) -> list[dict[str, Any]]:
        """Run statements as one batch; return D1's own results."""
        return self._ask({"statements": statements})

    def clear(self) -> None:
        """Remove everything in it."""
        select = (
            "SELECT type, name FROM sqlite_master WHERE type IN ('view', 'trigger', 'table') AND name NOT GLOB '{}'"
        )
        for kind in ("trigger", "view", "table"):
            for found, name in self.execute(select.format("_cf_*") + " AND name NOT GLOB 'sqlite_*' ORDER BY rootpage"):
                if found == kind:
                    quoted = name.replace('"', '""')
                    self.execute(f'DROP {kind} IF EXISTS "{quoted}"')

    def _ask(self, question: Mapping[str, object]) -> list[Any]:
        status, answer = request(self.url, json.dumps(question).encode())
        if status != HTTPStatus.OK:
            raise SqlRefused(answer["error"])
        found: list[Any] = answer["results"]
        return found


def request(url: str, body: bytes, headers: Mapping[str, str] = {}, *, method: str = "POST") -> tuple[int, Any]:
    """Send one request on a connection of its own; return status and the JSON of the answer."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    with closing(HTTPConnection(parts.hostname, parts.port, timeout=ANSWER_SECONDS)) as connection:
        connection.request(method, url.removeprefix(f"{parts.scheme}://{parts.netloc}"), body, dict(headers))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def signed_headers(path: str, body: bytes, *, secret: str = SECRET, timestamp: float | None = None) -> dict[str, str]:
    """Sign a POST as docker/d1-gateway/worker.js describes, apart from walsync's own code."""
    at = str(int(time.time() if timestamp is None else timestamp))
    message = f"{at}.POST.{path}.".encode() + body
    signature = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
    return {"x-walsync-timestamp": at, "x-walsync-signature": signature}


@pytest.fixture(scope="session")
def workerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    """Start workerd once for all tests."""
    running = Workerd(tmp_path_factory.mktemp("workerd"))
    yield running
    running.close()


_next_database = cycle(DATABASES)


@pytest.fixture
def d1_database(workerd: Workerd) -> str:
    """Return the binding of a database that is empty."""
    name = next(_next_database)
    workerd.plain(name).clear()
    return name
