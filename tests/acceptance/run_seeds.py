"""Runs the acceptance run for one seed after the other, one line each: `run_seeds.py --version 18 --seeds 1..20`."""

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest
from acceptance.run import AcceptanceRun
from acceptance.three_kinds import BLOWS, others


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", type=int, default=18, help="of the source: 14 to 18")
    parser.add_argument("--seeds", default="1..20", help="one seed, or the first and the last: 1..20")
    parser.add_argument("--kinds", action="store_true", help="with targets of all kinds at once")
    parser.add_argument("--logs", type=Path, help="keep what walsync said in this folder")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("..")
    failed = [seed for seed in range(int(first), int(last or first) + 1) if not _passes(seed, arguments)]
    _say(f"failed: {failed}" if failed else "all equal")
    return 1 if failed else 0


def _passes(seed: int, arguments: argparse.Namespace) -> bool:
    version, logs = arguments.version, arguments.logs
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="walsync-acceptance-") as folder:
        if arguments.kinds:
            run = AcceptanceRun(seed, Path(folder), version=version, blows=BLOWS, others=others(Path(folder)))
        else:
            run = AcceptanceRun(seed, Path(folder), version=version)
        try:
            with run:
                outcome = run.run()
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 - told, and the next seed is run
            _say(f"seed {seed} on {version}: FAILED\n{traceback.format_exc()}\n{run.output}")
            return False
        finally:
            if logs is not None:
                shutil.copy(Path(folder, "stderr"), logs / f"seed-{seed}-{version}.log")
        _say(f"{outcome} ({time.monotonic() - started:.0f} s)")
        for line in (*outcome.differences, *outcome.leftovers):
            _say(line)
        return not (outcome.differences or outcome.leftovers)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a program of its own


if __name__ == "__main__":
    sys.exit(main())
