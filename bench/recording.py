"""What the benches share: their options, and how RESULTS.md says when, where and by what something was measured."""

import argparse
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")


def options(rows: int) -> argparse.ArgumentParser:
    """Make a parser; `rows` are written unless --rows says something else."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=rows)
    parser.add_argument("--record", action="store_true", help="append the result to bench/RESULTS.md")
    return parser


def record(title: str, about: str, result: str) -> None:
    """Append a result of this process; `about` says what it was measured with."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    command = " ".join(["python", f"bench/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    where = (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()},"
        f" load {os.getloadavg()[0]:.1f}, nice {os.nice(0)}"
    )
    with RESULTS.open("a", encoding="utf-8") as results:
        results.write(
            f"\n## {title}, {datetime.now(UTC):%Y-%m-%d}, {commit.stdout.strip()}\n"
            f"{where}; `{command}`; {about}.\n\n{result}\n"
        )
