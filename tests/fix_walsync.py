"""The command line as a real process, and the one place where a test waits for something to come true."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from walsync.demo.engines import free_port

__all__ = ["Walsync", "eventually", "eventually_async", "free_port", "walsync_command"]

POLL_SECONDS = 0.02
OUTPUT_TAIL_CHARACTERS = 4_000

# The process dies with the tests even when those are killed. The signal follows the thread that started it, which is
# pytest's main thread; what a test starts from another thread ends, at the latest, with the fixture.
LAUNCH = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

T = TypeVar("T")


def eventually(predicate: Callable[[], T], timeout: float, what: str) -> T:
    """Return the predicate's first true answer; fail and say `what` was waited for after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            _fail(timeout, what, answer)
        time.sleep(POLL_SECONDS)
    return answer


async def eventually_async(predicate: Callable[[], T], timeout: float, what: str) -> T:  # noqa: ASYNC109 - as above
    """Wait like `eventually`, while the event loop goes on."""
    deadline = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            _fail(timeout, what, answer)
        await asyncio.sleep(POLL_SECONDS)
    return answer


def _fail(timeout: float, what: str, answer: object) -> None:
    pytest.fail(f"waited {timeout:g} s in vain for: {what} (last answer: {answer!r})")


@dataclass(slots=True)
class Walsync:
    """The `walsync` command with one configuration; each start appends its output to `stdout` and `stderr`."""

    config_path: Path
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    command: Path = Path(sys.executable).parent / "walsync"
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def stdout(self) -> Path:
        return self.cwd / "stdout"

    @property
    def stderr(self) -> Path:
        return self.cwd / "stderr"

    @property
    def output(self) -> str:
        """What the command said last, for the message of a failure."""
        texts = [(path.name, path.read_text() if path.exists() else "") for path in (self.stdout, self.stderr)]
        return "\n".join(f"--- {name}\n{text[-OUTPUT_TAIL_CHARACTERS:]}" for name, text in texts)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def returncode(self) -> int | None:
        return None if self.process is None else self.process.poll()

    def start(self, *args: str) -> None:
        """Start `walsync ARGS...`; the configuration is named in the environment, so any command can be run."""
        assert not self.is_running, "one process at a time"
        env = {**os.environ, "WALSYNC_CONFIG": str(self.config_path), "PYTHONUNBUFFERED": "1", **self.env}
        with self.stdout.open("ab") as stdout, self.stderr.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", LAUNCH, str(os.getpid()), str(self.command), *args],
                cwd=self.cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    def run(self, *args: str, timeout: float = 60) -> int:
        """Start a command that ends by itself and return its exit code."""
        self.start(*args)
        return self.wait(timeout)

    def sigkill(self) -> None:
        """End the process as a crash would, and return when it is gone."""
        self._signal(signal.SIGKILL)
        self.wait(10)

    def terminate(self) -> None:
        """Send SIGTERM: the process drains and ends; `wait` for it."""
        self._signal(signal.SIGTERM)

    def wait(self, timeout: float) -> int:
        """Return the exit code; fail, with the output, when the process has not ended in time."""
        assert self.process is not None, "not started"
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"walsync did not end within {timeout:g} s\n{self.output}")

    def close(self) -> None:
        """Kill the process if it still runs."""
        if self.is_running:
            self.sigkill()

    def _signal(self, number: int) -> None:
        assert self.process is not None, "not started"
        self.process.send_signal(number)


@pytest.fixture
def walsync_command(tmp_path: Path) -> Iterator[Callable[..., Walsync]]:
    """Make `Walsync` objects whose processes end with the test: `walsync_command(yaml_text, **environment)`."""
    made: list[Walsync] = []

    def make(config: str, **env: str) -> Walsync:
        cwd = tmp_path / f"walsync{len(made)}"
        cwd.mkdir()
        config_path = cwd / "walsync.yaml"
        config_path.write_text(config)
        made.append(Walsync(config_path, cwd, env))
        return made[-1]

    yield make
    for walsync in made:
        walsync.close()
        print(walsync.output)  # noqa: T201 - pytest shows it when the test failed
