"""Runs one seed after the other, and says in one line each what it came to."""

import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.run import AcceptanceRun, Outcome

MakeRun = Callable[[int, Path], AcceptanceRun]


def run_seeds(seeds: str, make: MakeRun, logs: Path | None = None) -> dict[int, Outcome | None]:
    """Run seeds, one or the first and the last as in 1..20; an Outcome for each, None where it came to none.

    What walsync said is kept in the folder `logs`.
    """
    first, _, last = seeds.partition("..")
    outcomes = {seed: _run(seed, make, logs) for seed in range(int(first), int(last or first) + 1)}
    failed = [seed for seed, outcome in outcomes.items() if outcome is None or not outcome.is_equal]
    say(f"failed: {failed}" if failed else "all equal")
    return outcomes


def say(line: str) -> None:
    """Print at once."""
    print(line, flush=True)  # noqa: T201 - for programs of their own


def _run(seed: int, make: MakeRun, logs: Path | None) -> Outcome | None:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="walsync-acceptance-") as folder:
        run = make(seed, Path(folder))
        try:
            with run:
                outcome = run.run()
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 - told, and the next seed is run
            say(f"seed {seed} on {run.source.version}: FAILED\n{traceback.format_exc()}\n{run.output}")
            return None
        finally:
            if logs is not None:
                shutil.copy(Path(folder, "stderr"), logs / f"seed-{seed}-{run.source.version}.log")
        say(f"{outcome} ({time.monotonic() - started:.0f} s)")
        for line in (*outcome.differences, *outcome.leftovers):
            say(line)
        return outcome
