"""workerd, the engine that Cloudflare runs D1 on, with the gateway Worker and its databases; offline.

npm unpacks it into docker/d1-gateway/local once, whoever asks first. Neither is part of the wheel: it takes Node 20,
and the repository or a copy of docker/d1-gateway, whose `local` WALSYNC_WORKERD names.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from walsync.demo.engines.installation import EngineFailed
from walsync.errors import ConfigurationError

VARIABLE: Final = "WALSYNC_WORKERD"
LOCAL: Final = Path(__file__).parents[3] / "docker" / "d1-gateway" / "local"
_NODE: Final = 20
_VERSION_SECONDS: Final = 10
_INSTALL_SECONDS: Final = 300
_STOP_SECONDS: Final = 20

_QUIET: Final = {"CI": "1", "WRANGLER_SEND_METRICS": "false", "WRANGLER_SEND_ERROR_REPORTS": "false"}
"""Nothing of this may leave the machine, or colour the output."""


def find(environ: Mapping[str, str]) -> Path:
    """Return the folder with what starts workerd; WS1905 where it or a program that it needs is missing."""
    folder = Path(environ.get(VARIABLE) or LOCAL)
    if not (folder / "run.mjs").is_file():
        raise ConfigurationError(
            "WS1905",
            f"{folder} does not hold what starts workerd (docker/d1-gateway/local of walsync's repository)",
            hint=f"export {VARIABLE}=/path/to/walsync/docker/d1-gateway/local",
        )
    for program in ("node", "npm"):
        if shutil.which(program, path=environ.get("PATH", os.defpath)) is None:
            raise ConfigurationError(
                "WS1905",
                f"{program} is not installed; workerd is started by Node {_NODE} or later",
                hint="apt-get install nodejs npm, or https://nodejs.org/en/download",
            )
    _check_node(shutil.which("node", path=environ.get("PATH", os.defpath)) or "node")
    return folder


def _check_node(node: str) -> None:
    """Refuse one that is too old here: it would end in a stack trace of somebody else's."""
    command = [node, "--version"]
    answer = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_VERSION_SECONDS)
    found = re.match(r"v(\d+)\.", answer.stdout)
    if found is None or int(found[1]) < _NODE:
        said = answer.stdout.strip() or answer.stderr.strip() or "does not say its version"
        raise ConfigurationError(
            "WS1905",
            f"{node} is {said}; workerd is started by Node {_NODE} or later",
            hint=f"put Node {_NODE} first in PATH: https://nodejs.org/en/download",
        )


def install(folder: Path) -> None:
    """Let npm unpack what the lock names, unless it has; one process at a time."""
    locked, installed = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    with locked.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go when the file is closed
        if installed.exists() and installed.stat().st_mtime >= locked.stat().st_mtime:  # npm writes it last
            return
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
        answer = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_INSTALL_SECONDS,
            cwd=folder,
        )
        if answer.returncode != 0:
            raise EngineFailed("WS1903", f"{' '.join(command)} failed:\n{answer.stdout}", hint=" ".join(command))


class Workerd:
    """A running workerd. `url` is the gateway; below `plain_url` each database takes any SQL, by its binding's name."""

    def __init__(self, folder: Path, databases: tuple[str, ...], secrets: Mapping[str, str]) -> None:
        """Start it; its files are in `folder`, `secrets` are the Worker's by name."""
        scripts = find(os.environ)
        install(scripts)
        options = {
            "folder": str(folder),
            "databases": {name: name.lower() for name in databases},
            "secrets": dict(secrets),
        }
        temporary = folder / "temporary"
        temporary.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [shutil.which("node") or "node", str(scripts / "run.mjs"), json.dumps(options)],
            stdin=subprocess.PIPE,  # it ends when this does
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **_QUIET, "TMPDIR": str(temporary)},  # miniflare leaves files there
            start_new_session=True,  # Ctrl-C in a terminal is for its parent to act on
        )
        assert self._process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        line = self._process.stdout.readline()
        if not line.startswith("{"):
            self._process.kill()
            raise EngineFailed("WS1903", f"workerd did not start:\n{line}{self._process.communicate()[0]}")
        addresses = json.loads(line)
        self.url: str = addresses["gateway"].rstrip("/")
        self.plain_url: str = addresses["plain"].rstrip("/")

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=_STOP_SECONDS)
