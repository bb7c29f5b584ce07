"""The real Prometheus and promtool for the tests: Debian's package, unpacked without being installed, once.

WALSYNC_TEST_PROMETHEUS names a folder that holds both programs, for systems without apt; `off` leaves these tests out.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from fix_debian import unpacked
from fix_walsync import LAUNCH, eventually, free_port

SETTING = "WALSYNC_TEST_PROMETHEUS"
PROGRAMS = ("prometheus", "promtool")
READY_SECONDS = 60
ANSWER_SECONDS = 10


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
    instead = f"${SETTING} names a folder with {' and '.join(PROGRAMS)}"
    folder = Path(setting) if setting else unpacked("prometheus", instead) / "usr" / "bin"
    assert all(os.access(folder / program, os.X_OK) for program in PROGRAMS), f"{folder} does not hold them: {instead}"
    return PrometheusFiles(folder)
