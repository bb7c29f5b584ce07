"""Runs the acceptance run for one seed after the other, one line each: `run_seeds.py --version 18 --seeds 1..20`."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from acceptance.run import AcceptanceRun
from acceptance.seeds import run_seeds
from acceptance.served import SERVED
from acceptance.three_kinds import BLOWS, others
from acceptance.troubled import TroubledRun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", type=int, default=18, help="of the source: 14 to 18")
    parser.add_argument("--seeds", default="1..20", help="one seed, or the first and the last: 1..20")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--kinds", action="store_true", help="with targets of all kinds at once")
    which.add_argument("--served", choices=SERVED, help="with targets behind servers, their lines cut and held")
    parser.add_argument("--logs", type=Path, help="keep what walsync said in this folder")
    arguments = parser.parse_args()

    def make(seed: int, folder: Path) -> AcceptanceRun:
        if arguments.kinds:
            return AcceptanceRun(seed, folder, version=arguments.version, blows=BLOWS, others=others(folder))
        if arguments.served:
            return TroubledRun(seed, folder, SERVED[arguments.served], version=arguments.version)
        return AcceptanceRun(seed, folder, version=arguments.version)

    outcomes = run_seeds(arguments.seeds, make, arguments.logs)
    return 0 if all(outcome is not None and outcome.is_equal for outcome in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
