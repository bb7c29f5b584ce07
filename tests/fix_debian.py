"""Programs out of Debian's packages: unpacked into the user's cache, never installed; root is not needed."""

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

APT_SECONDS = 180


class PackageMissing(Exception):
    """A package cannot be had here."""


def unpacked(package: str, instead: str) -> Path:
    """Return the folder that holds a package's files, fetched when it is asked for the first time.

    `instead` tells people without Debian what to do.
    """
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    cache = Path(home) / "walsync-tests" / package
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another session may be at it; let go when the file is closed
        if not (cache / "files").exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as name:
                folder = Path(name)
                _run(["dpkg", "-x", str(_download(package, folder, instead)), str(folder / "files")], folder, instead)
                (folder / "files").rename(cache / "files")
    return cache / "files"


def _download(package: str, folder: Path, instead: str) -> Path:
    """Let apt fetch the package; where its lists are missing or old, with lists of our own."""
    command = ["apt-get", "--quiet", "download", package]
    (folder / "lists").mkdir()
    (folder / "cache").mkdir()
    own = ["-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
    own += ["-o", "Debug::NoLocking=1"]
    try:
        _run(command, folder, instead)
    except PackageMissing:
        _run(["apt-get", "--quiet", *own, "update"], folder, instead)
        _run([*command, *own], folder, instead)
    return next(folder.glob(f"{package}_*.deb"))


def _run(command: Sequence[str], folder: Path, instead: str) -> None:
    try:
        answer = subprocess.run(
            command,
            cwd=folder,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=APT_SECONDS,
        )
    except FileNotFoundError:
        raise PackageMissing(f"{command[0]} is not here; {instead}") from None
    if answer.returncode != 0:
        raise PackageMissing(f"{' '.join(command)} failed; {instead}:\n{answer.stdout}")
