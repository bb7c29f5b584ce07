"""The real wal2json, to be compared with: Debian's package for Postgres 15, in a copy of the tests' own server 15.

The package is unpacked, never installed, and kept in the user's cache. WALSYNC_TEST_WAL2JSON=off leaves the tests out.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_engines import installation

from walsync.demo.engines import Installation, PostgresServer
from walsync.demo.engines.installation import workspace

SETTING = "WALSYNC_TEST_WAL2JSON"
PACKAGE = "postgresql-15-wal2json"
VERSION = 15
DOWNLOAD_SECONDS = 120


class PluginMissing(Exception):
    """Debian's wal2json cannot be had here."""


@pytest.fixture(scope="module")
def wal2json_server() -> Iterator[PostgresServer]:
    """Return a server of version 15 that has wal2json 2.5."""
    if os.environ.get(SETTING, "on") == "off":
        pytest.skip(f"{SETTING}=off")
    settings = {"max_prepared_transactions": "10", "max_replication_slots": "60"}
    with PostgresServer(with_plugin(), settings=settings) as server:
        yield server


def with_plugin() -> Installation:
    """Copy the server's files, and put the plugin among them: other tests' servers have none."""
    prefix = Path(tempfile.mkdtemp(prefix="wal2json-", dir=workspace().folder)) / "native"
    shutil.copytree(installation(VERSION).prefix, prefix, symlinks=True)
    shutil.copy(plugin(), prefix / "lib" / "postgresql")
    return Installation(VERSION, prefix)


def plugin() -> Path:
    """Return wal2json.so, downloaded when it is asked for the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "walsync-tests" / PACKAGE
    unpacked = cache / "files" / "usr" / "lib" / "postgresql" / str(VERSION) / "lib" / "wal2json.so"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another session may be at it; let go when the file is closed
        if not unpacked.exists():
            _run("apt-get", "download", PACKAGE, folder=cache)
            (package,) = cache.glob(f"{PACKAGE}_*.deb")
            _run("dpkg", "-x", str(package), str(cache / "new"), folder=cache)
            (cache / "new").rename(cache / "files")
    return unpacked


def _run(*command: str, folder: Path) -> None:
    told = f"set {SETTING}=off where there is no Debian"
    try:
        answer = subprocess.run(
            command,
            cwd=folder,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DOWNLOAD_SECONDS,
        )
    except FileNotFoundError:
        raise PluginMissing(f"{command[0]} is not there, and the real wal2json with it; {told}") from None
    if answer.returncode != 0:
        raise PluginMissing(f"{' '.join(command)} failed; apt-get update may help, or {told}:\n{answer.stdout}")
