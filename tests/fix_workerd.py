"""workerd, the engine that Cloudflare runs D1 on, with the gateway Worker and six databases; offline.

npm unpacks it from tests/workerd once, whoever asks first. One process serves all tests of a session; `d1_database`
hands out its databases, empty. `Plain` reads and troubles one without the gateway.
"""

import fcntl
import hashlib
import hmac
import json
import os
import subprocess
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

WORKERD = Path(__file__).parent / "workerd"
LOCK = WORKERD / "package-lock.json"
INSTALLED = WORKERD / "node_modules" / ".package-lock.json"  # npm writes it last
INSTALL_SECONDS = 300
STOP_SECONDS = 20
ANSWER_SECONDS = 60

REGIONS: Final = ("WNAM", "ENAM", "WEUR", "EEUR", "APAC", "OC")
DATABASES: Final = tuple(f"DB_{region}" for region in REGIONS)
SECRET: Final = "a secret of the tests alone"
PREVIOUS_SECRET: Final = "the one before it"
SECRETS: Final = {"WALSYNC_SECRET": SECRET, "WALSYNC_SECRET_PREVIOUS": PREVIOUS_SECRET}

# Nothing of this may leave the machine, or colour the output.
QUIET: Final = {"CI": "1", "WRANGLER_SEND_METRICS": "false", "WRANGLER_SEND_ERROR_REPORTS": "false"}

Rows = list[tuple[Any, ...]]


class WorkerdMissing(Exception):
    """workerd cannot be installed or started here."""


class SqlRefused(Exception):
    """The database refused what a test asked of it."""


class Workerd:
    """A running workerd; its databases are called by the names of their bindings."""

    def __init__(self, folder: Path, secrets: Mapping[str, str] = SECRETS) -> None:
        _install()
        databases = {name: name.lower() for name in DATABASES}
        options = {"folder": str(folder), "databases": databases, "secrets": dict(secrets)}
        self._process = subprocess.Popen(
            ["node", str(WORKERD / "run.mjs"), json.dumps(options)],
            stdin=subprocess.PIPE,  # it ends when this does
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **QUIET},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("{"):
            self._process.kill()
            raise WorkerdMissing(f"workerd did not start:\n{line}{self._process.communicate()[0]}")
        addresses = json.loads(line)
        self.url = addresses["gateway"].rstrip("/")
        self._plain_url = addresses["plain"].rstrip("/")

    def plain(self, database: str) -> "Plain":
        """Return what reads and troubles a database."""
        return Plain(f"{self._plain_url}/{database}")

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=STOP_SECONDS)


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


def _install() -> None:
    with LOCK.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another session may be installing; let go when the file is closed
        if INSTALLED.exists() and INSTALLED.stat().st_mtime >= LOCK.stat().st_mtime:
            return
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(WORKERD)]
        try:
            answer = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=INSTALL_SECONDS, cwd=WORKERD
            )
        except FileNotFoundError:
            raise WorkerdMissing("npm is not installed; the tests need it for workerd") from None
        if answer.returncode != 0:
            raise WorkerdMissing(f"{' '.join(command)} failed:\n{answer.stdout}{answer.stderr}")


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
