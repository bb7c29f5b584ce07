"""Postgres 14, 15 and 17 for the tests: unpacked by npm from tests/engines, once, whoever asks first."""

import fcntl
import functools
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from walsync.demo.engines import Installation, from_wheel
from walsync.demo.engines.installation import WHEEL_FOLDERS

ENGINES = Path(__file__).parent / "engines"
LOCK = ENGINES / "package-lock.json"
INSTALLED = ENGINES / "node_modules" / ".package-lock.json"  # npm writes it last
NPM_VERSIONS = (14, 15, 17)
VERSIONS = (14, 15, 16, 17, 18)
PLATFORM = ("linux", "x86_64")
INSTALL_SECONDS = 300


class EngineMissing(Exception):
    """A Postgres that the tests need cannot be installed here."""


@functools.cache
def installation(version: int) -> Installation:
    """Return the files of a major version, installing them when they are missing or older than the lock file."""
    if version in WHEEL_FOLDERS:
        return from_wheel(version)
    if version not in NPM_VERSIONS:
        raise EngineMissing(f"the tests have Postgres {VERSIONS}, not {version}")
    here = (sys.platform, platform.machine())
    if here != PLATFORM:
        raise EngineMissing(f"Postgres {version} is in tests/engines for {PLATFORM} only; this is {here}")
    with LOCK.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another session may be installing; let go when the file is closed
        if not INSTALLED.exists() or INSTALLED.stat().st_mtime < LOCK.stat().st_mtime:
            _install()
        for each in NPM_VERSIONS:
            _make_links(_package(each))
    return Installation(version, _package(version) / "native")


def _package(version: int) -> Path:
    return ENGINES / "node_modules" / f"postgres{version}"


def _install() -> None:
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(ENGINES)]
    try:
        answer = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=INSTALL_SECONDS
        )
    except FileNotFoundError:
        raise EngineMissing(f"npm is not installed; the tests need it for Postgres {NPM_VERSIONS}") from None
    if answer.returncode != 0:
        raise EngineMissing(f"{' '.join(command)} failed:\n{answer.stdout}")


def _make_links(package: Path) -> None:
    # An npm archive cannot hold links: the package lists them, for an install script that we do not let run.
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        source, target = (_inside(package, link[name]) for name in ("source", "target"))
        if not target.is_symlink():
            target.symlink_to(os.path.relpath(source, target.parent))


def _inside(package: Path, name: str) -> Path:
    path = (package / name).absolute()
    if ".." in Path(name).parts or not path.is_relative_to(package):
        raise EngineMissing(f"pg-symlinks.json of {package.name} points outside the package: {name}")
    return path
