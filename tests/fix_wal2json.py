"""The real wal2json, to be compared with: Debian's package for Postgres 15, in a copy of the tests' own server 15.

The package is unpacked, never installed, and kept in the user's cache. WALSYNC_TEST_WAL2JSON=off leaves the tests out.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_debian import unpacked
from fix_engines import installation

from walsync.demo.engines import Installation, PostgresServer
from walsync.demo.engines.installation import workspace

SETTING = "WALSYNC_TEST_WAL2JSON"
PACKAGE = "postgresql-15-wal2json"
VERSION = 15


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
    """Return wal2json.so; a test that cannot have it fails."""
    files = unpacked(PACKAGE, f"set {SETTING}=off where there is no Debian")
    return files / "usr" / "lib" / "postgresql" / str(VERSION) / "lib" / "wal2json.so"
