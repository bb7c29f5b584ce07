"""The commands of README and docs as they stand there: a block of `sh` is run, or a comment above it says why not.

    <!-- not run: needs an account at Cloudflare -->

A block without a language right behind one of `sh` is what that printed. Positions, times, sizes and addresses differ
from run to run and are not compared, nor is how fast something grows; a line `...` stands for any lines.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from walsync.demo.engines import from_wheel

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = (REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md")))

COMMANDS = {"sh", "bash", "shell", "console"}
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")
FENCE = re.compile(r"```(\w*)")
LOOSE_COMMAND = re.compile(r" {4}(\$ |walsync |make |pip |docker |kill |psql |npx |npm |\$EDITOR )")
"""A command in an indented block: nobody could mark it, and no test would run it."""

MARK = "@@ end of block @@"
MASKS = (
    (re.compile(r"\b[0-9A-F]{1,8}/[0-9A-F]{1,8}\b"), "LSN"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[\d.]*(Z|\+00(:00)?)?"), "TIME"),
    (re.compile(r" \([+-]\d+(\.\d+)? ([kMG]i?)?B/s\)"), ""),  # told only after some seconds of watching
    (re.compile(r"\b\d+(\.\d+)? ([kMG]i?)?B\b"), "SIZE"),
    (re.compile(r"\b\d+\.\d+\b"), "NUMBER"),
    (re.compile(r"\b(127\.0\.0\.1|localhost):\d+\b"), "ADDRESS"),
    (re.compile(r" +"), " "),
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where it begins, its language, what it holds, and whether a comment excuses it."""

    line: int
    language: str
    text: str
    is_excused: bool
    follows: bool
    """Whether nothing but blank lines stands between it and the block before."""


def blocks(text: str) -> list[Block]:
    """Read the fenced blocks of a document."""
    found: list[Block] = []
    lines = text.splitlines()
    at, blank_since_block = 0, False
    excused = False
    while at < len(lines):
        match = FENCE.fullmatch(lines[at])
        if match is None:
            excused = NOT_RUN.fullmatch(lines[at]) is not None or (excused and not lines[at])
            blank_since_block = blank_since_block and not lines[at]
            at += 1
            continue
        end = lines.index("```", at + 1)
        found.append(Block(at + 1, match[1], "\n".join(lines[at + 1 : end]), excused, blank_since_block))
        at, blank_since_block, excused = end + 1, True, False
    return found


def loose_commands(text: str) -> list[str]:
    """Find commands that stand outside of fenced blocks."""
    inside = False
    found = []
    for line in text.splitlines():
        inside ^= line.startswith("```")
        if not inside and LOOSE_COMMAND.match(line):
            found.append(line.strip())
    return found


def masked(text: str) -> list[str]:
    """Take away what differs from run to run."""
    for pattern, name in MASKS:
        text = pattern.sub(name, text)
    return [line.rstrip() for line in text.strip().splitlines()]


def fits(expected: list[str], printed: list[str]) -> bool:
    """Compare, with `...` for any lines."""
    pattern = "".join(r"(?:.*\n)*" if line == "..." else re.escape(line) + r"\n" for line in expected)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


def clone(folder: Path) -> None:
    """Make the folder look like the repository, as far as commands of the documents look into it."""
    for name in ("conf", "docker", "sql"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("node_modules"))


def run(
    commands: list[str], folder: Path, environment: Mapping[str, str], *, port: int = 0, timeout: float
) -> list[str]:
    """Run blocks one after the other in one shell, and return what each printed; fails with the first that fails.

    `port` takes the place of 8787, where another walsync of this machine may listen.
    """
    between = f"test ! -f walsync.yaml || sed -i 's/127.0.0.1:8787/127.0.0.1:{port}/' walsync.yaml\necho; echo '{MARK}'"
    script = "\n".join(["set -euo pipefail", *(f"{text}\n{between}" for text in commands)])
    programs = [Path(sys.executable).parent, from_wheel(18).program("psql").parent]
    if shutil.which("sqlite3") is None:
        programs.append(_sqlite3_command(folder))
    path = ":".join([*map(str, programs), os.environ["PATH"]])
    with (folder / "printed").open("w+") as printed, (folder / "complained").open("w+") as complained:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env={"HOME": str(folder), "LANG": "C.UTF-8", "PATH": path, **environment},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=complained,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what a block has left behind ends here, too
            process.wait()
        output, errors = (folder / "printed").read_text(), (folder / "complained").read_text()
    assert code == 0, f"exit code {code}\n--- printed\n{output}\n--- complained\n{errors}"
    return output.split(MARK)[:-1]


def _sqlite3_command(folder: Path) -> Path:
    """Write what the command sqlite3 does for the documents, with Python's SQLite, where there is no such command."""
    programs = folder.parent / "programs"
    programs.mkdir(exist_ok=True)
    command = programs / "sqlite3"
    command.write_text(
        f"#!{sys.executable}\n"
        "import sqlite3, sys\n"
        "options = [one for one in sys.argv[1:] if one.startswith('-')]\n"
        "path, sql = [one for one in sys.argv[1:] if not one.startswith('-')]\n"
        "cursor = sqlite3.connect(path).execute(sql)\n"
        "if '-header' in options:\n"
        "    print('|'.join(column[0] for column in cursor.description))\n"
        "for row in cursor:\n"
        "    print('|'.join('' if value is None else str(value) for value in row))\n"
    )
    command.chmod(0o755)
    return programs
