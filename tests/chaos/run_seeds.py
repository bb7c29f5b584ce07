"""Runs the chaos run for one seed after the other, one line each, and a summary: `run_seeds.py --seeds 1..100`.

The summary is the record for docs/evidence.md: what happened how often, and to how many seeds nothing did any harm.
"""

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from acceptance.run import TARGET_VERSION, Outcome
from acceptance.seeds import run_seeds, say
from chaos.run import ChaosOutcome, ChaosRun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", type=int, default=18, help="of the source: 14 to 18")
    parser.add_argument("--seeds", default="1..20", help="one seed, or the first and the last: 1..20")
    parser.add_argument("--length", type=int, default=40, help="how many blows fall")
    parser.add_argument("--logs", type=Path, help="keep what walsync said in this folder")
    arguments = parser.parse_args()
    outcomes = run_seeds(
        arguments.seeds,
        lambda seed, folder: ChaosRun(seed, folder, length=arguments.length, version=arguments.version),
        arguments.logs,
    ).values()
    for line in _record(outcomes, arguments.version):
        say(line)
    return 0 if all(outcome is not None and outcome.is_equal for outcome in outcomes) else 1


def _record(outcomes: Iterable[Outcome | None], source: int) -> list[str]:
    """Write the record of the seeds."""
    every = list(outcomes)
    ran = [one for one in every if isinstance(one, ChaosOutcome)]
    happened = sum((one.blows for one in ran), Counter())
    surrealdb = f"SurrealDB embedded ({version('surrealdb')}) or 3.0"
    engines = f"Postgres {source} to Postgres {TARGET_VERSION}, D1 in files, {surrealdb}"
    transactions, changes = sum(one.tally.committed for one in ran), sum(one.tally.rows for one in ran)
    rows = sum(table.rows for one in ran for table in one.tables)
    equal = sum(one.is_equal for one in ran)
    looks, bound = sum(one.looks for one in ran), sum(one.bound for one in ran)
    slowest = max((one.slowest_seconds for one in ran), default=0.0)
    return [
        f"commit {_commit()}; {engines}",
        f"{equal} of {len(every)} seeds equal; {transactions} transactions, {changes} changes, {rows} rows compared",
        "survived: " + ", ".join(f"{number} {name}" for name, number in sorted((+happened).items())),
        f"{looks} looks at who could go on beside others in trouble, {bound} bound to; slowest {slowest:.1f} s",
    ]


def _commit() -> str:
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        check=True,
        capture_output=True,
        text=True,
    )
    return answer.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
