"""The real Prometheus and promtool for the tests: Debian's package, unpacked without being installed, once.

WALSYNC_TEST_PROMETHEUS names a folder that holds both programs, for systems without apt; `off` leaves these tests out.
"""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from fix_walsync import LAUNCH, eventually, free_port

SETTING = "WALSYNC_TEST_PROMETHEUS"
PROGRAMS = ("prometheus", "promtool")
APT_SECONDS = 180
READY_SECONDS = 60
ANSWER_SECONDS = 10


class PrometheusMissing(Exception):
    """The programs cannot be had here."""


@dataclass(frozen=True, slots=True)
class PrometheusFiles:
    """Where the two programs are."""

    folder: Path

    @property
    def prometheus(self) -> Path:
        return self.folder / "prometheus"

    @property
    def promtool(self) -> Path:
        return self.folder / "promtool"


class Prometheus:
    """A running Prometheus that can be asked."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def is_ready(self) -> bool:
        """Tell whether it has loaded its configuration and scrapes."""
        try:
            with urlopen(f"{self.url}/-/ready", timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - http, written above
                return bool(answer.status == 200)
        except URLError:
            return False

    def ask(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """Evaluate a query now: labels and value of each series of the answer."""
        data = self._get("/api/v1/query", query=promql)
        return [(one["metric"], float(one["value"][1])) for one in data["result"]]

    def rules(self) -> dict[str, str]:
        """Tell the state of each alert rule, or its error."""
        groups = self._get("/api/v1/rules", type="alert")["groups"]
        found = (rule for group in groups for rule in group["rules"])
        return {rule["name"]: rule.get("lastError") or rule["state"] for rule in found}

    def _get(self, path: str, **parameters: str) -> Any:  # noqa: ANN401
        with urlopen(f"{self.url}{path}?{urlencode(parameters)}", timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - http, written above
            content = json.load(answer)
        assert content["status"] == "success", content
        return content["data"]


@contextlib.contextmanager
def run_prometheus(files: PrometheusFiles, configuration: Path) -> Iterator[Prometheus]:
    """Run Prometheus with a configuration; its data is beside that file. It dies with the tests."""
    port = free_port()
    log_path = configuration.parent / "prometheus.log"
    arguments = [
        str(files.prometheus),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={configuration.parent / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", LAUNCH, str(os.getpid()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        prometheus = Prometheus(port)
        eventually(lambda: prometheus.is_ready() or process.poll() is not None, READY_SECONDS, "Prometheus to start")
        assert process.poll() is None, log_path.read_text()
        yield prometheus
    finally:
        process.terminate()
        process.wait(READY_SECONDS)


@pytest.fixture(scope="session")
def prometheus_files() -> PrometheusFiles:
    """Return Prometheus' programs, fetched when they are missing; a test that cannot have them fails."""
    setting = os.environ.get(SETTING, "")
    if setting == "off":
        pytest.skip(f"${SETTING} is off")
    folder = Path(setting) if setting else _cache() / "usr" / "bin"
    if not setting and not _is_complete(folder):
        _fetch(_cache())
    if not _is_complete(folder):
        raise PrometheusMissing(f"{folder} does not hold {' and '.join(PROGRAMS)}; {Path(__file__).name} says more")
    return PrometheusFiles(folder)


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "walsync-tests" / "prometheus"


def _is_complete(folder: Path) -> bool:
    return all(os.access(folder / program, os.X_OK) for program in PROGRAMS)


def _fetch(cache: Path) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    with (cache.parent / "prometheus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another session may be fetching; let go when the file is closed
        if _is_complete(cache / "usr" / "bin"):
            return
        with tempfile.TemporaryDirectory(dir=cache.parent, prefix="fetching-") as name:
            unpacked = Path(name) / "unpacked"
            _run(["dpkg", "-x", str(_download(Path(name))), str(unpacked)], cwd=Path(name))
            if cache.exists():
                cache.rename(Path(name) / "incomplete")
            unpacked.rename(cache)


def _download(folder: Path) -> Path:
    """Let apt fetch the package; where its lists are missing or old, with lists of our own, which needs no root."""
    command = ["apt-get", "--quiet", "download", "prometheus"]
    lists = folder / "lists"
    lists.mkdir()
    own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={folder / 'cache'}", "-o", "Debug::NoLocking=1"]
    try:
        _run(command, cwd=folder)
    except PrometheusMissing:
        (folder / "cache").mkdir()
        _run(["apt-get", "--quiet", *own, "update"], cwd=folder)
        _run([*command, *own], cwd=folder)
    return next(folder.glob("prometheus_*.deb"))


def _run(command: Sequence[str], cwd: Path) -> None:
    try:
        answer = subprocess.run(
            command,
            cwd=cwd,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=APT_SECONDS,
        )
    except FileNotFoundError:
        raise PrometheusMissing(f"{command[0]} is not here; ${SETTING} names a folder with {PROGRAMS}") from None
    if answer.returncode != 0:
        raise PrometheusMissing(f"{' '.join(command)} failed:\n{answer.stdout}\n${SETTING} names a folder instead")
