"""The `walsync run` that the demo looks after: a process of its own, to be killed and started again.

A keeper stands between, as with the servers: however the demo ends, the child ends with it.
"""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from walsync.demo.engines import keeper
from walsync.errors import WalsyncError

_COMMAND: Final = (sys.executable, "-c", "from walsync.cli.main import main; main()")
_OUR_OWN_ACCOUNT: Final = ("-1", "-1")
_END_SECONDS: Final = 60.0
_LOG_TAIL_LINES: Final = 20


class ChildFailed(WalsyncError):
    """The demo's own walsync ended when nobody had told it to, or did not do what the demo waits for."""


class Child:
    """`walsync` with one configuration file and one folder, which holds its log and goes with it."""

    def __init__(self, folder: Path, config: Path, url: str) -> None:
        self.pid = 0
        self._folder = folder
        self._config = config
        self.url = url
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._keeper is None or self._keeper.poll() is not None

    def start(self, *arguments: str) -> None:
        """Start `walsync run`."""
        command = (*_COMMAND, "run", "-c", str(self._config), *arguments)
        with self._log.open("ab") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__, *_OUR_OWN_ACCOUNT, str(self._folder), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a terminal is the demo's to act on
            )
        assert self._keeper.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        self.pid = int(self._keeper.stdout.readline() or 0)

    def require_running(self) -> None:
        """Raise with the end of the log when it has ended by itself."""
        if self.has_ended:
            raise self.failed("ended by itself")

    def kill(self) -> None:
        """End it as a crash would."""
        keeper.send(signal.SIGKILL, [self.pid])
        self.wait()

    def stop(self) -> int:
        """Let it drain and end; returns its exit code."""
        keeper.send(signal.SIGTERM, [self.pid])
        return self.wait()

    def wait(self) -> int:
        """Return the exit code."""
        if self._keeper is None:
            return 0
        try:
            code = self._keeper.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            raise self.failed(f"did not end within {_END_SECONDS:.0f} s") from None
        self._keeper.communicate()  # closes the pipes
        self._keeper = None
        return code

    def close(self) -> None:
        """End it if it still runs."""
        if self._keeper is not None:
            self.kill()

    def failed(self, what: str) -> ChildFailed:
        """Make an error that holds the end of the log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return ChildFailed("WS1904", f"walsync {what}; its log ends:\n" + "\n".join(lines))

    @property
    def _log(self) -> Path:
        return self._folder / "log"
