"""When the next blow falls: at a random moment, or at one after walsync has got something done."""

import threading
from collections.abc import Callable
from random import Random

from fix_walsync import Walsync, eventually

PROGRESS_SECONDS = 120


class Pace:
    """Waits for random moments in the life of one command."""

    def __init__(self, walsync: Walsync, random: Random, progress: Callable[[], object]) -> None:
        self._walsync = walsync
        self._random = random
        self._progress = progress
        self._said_before = 0
        self._pause = threading.Event()  # never set: its `wait` is the pace

    def pause(self, shortest: float, longest: float) -> None:
        """Let a random time pass."""
        self._pause.wait(self._random.uniform(shortest, longest))

    def let_it_work(self) -> None:
        """Wait for a random moment: every other one comes only after `progress` has given another answer."""
        if self._random.random() < 0.5:
            before = self._progress()
            eventually(lambda: self._progress() != before, PROGRESS_SECONDS, "walsync to get on")
            self.pause(0, 0.3)
        else:
            self.pause(0.05, 1.0)
        assert self._walsync.is_running, f"walsync ended by itself with {self._walsync.returncode}"

    def start(self) -> None:
        """Start the process."""
        self._said_before = len(self._log())
        self._walsync.start("run")

    def kill(self, times: int = 1) -> None:
        """Kill the process, and start it again at once; more than once: at random moments."""
        for number in range(times):
            if number or times > 1:
                self.let_it_work()
            self._walsync.sigkill()
            self.start()

    def drain(self) -> None:
        """End the process with SIGTERM, once it does something that could be drained."""
        eventually(
            lambda: "slot_taken" in self._log()[self._said_before :], PROGRESS_SECONDS, "walsync to take its slot"
        )
        self._walsync.terminate()
        code = self._walsync.wait(PROGRESS_SECONDS)
        assert code == 0, f"SIGTERM ended walsync with {code}"

    def _log(self) -> str:
        return self._walsync.stderr.read_text() if self._walsync.stderr.exists() else ""
