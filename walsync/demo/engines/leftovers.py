"""Removes what a killed process left of its workspace: servers that outlived their keepers, and files.

A workspace's owner holds a lock on a file in it for as long as it lives, however it dies; a folder whose lock can be
taken has no owner any more. One without that file is nobody's to remove: it is being made, or is something else.
"""

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from walsync.demo.engines import keeper

PREFIX: Final = "walsync-engines-"
_LOCK: Final = "owner.lock"
_END_SECONDS: Final = 10.0  # servers that are told to end at once need a tenth of one
_POLL_SECONDS: Final = 0.02
_PROGRAMS: Final = (b"postgres", b"python")  # not the editor that somebody has opened a log with

_PID_FILE_SHARED_MEMORY_LINE: Final = (
    6  # "key id" of the System V segment: LOCK_FILE_LINE_SHMEM_KEY - 1, utils/pidfile.h
)
_IPC_RMID: Final = 0  # linux/ipc.h


def own(folder: Path) -> int:
    """Mark a folder as this process's until it ends; the descriptor has to stay open."""
    # Locked before it has its name, so that nobody finds it without.
    unnamed = folder / f"{_LOCK}.new"
    lock = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    unnamed.rename(folder / _LOCK)
    return lock


def remove_shared_memory(data: Path) -> None:
    """Remove the System V segment that a killed server leaves, which only its next start would remove."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        segment = int(lines[_PID_FILE_SHARED_MEMORY_LINE].split()[1])
    except (OSError, IndexError):
        return
    ctypes.CDLL(None).shmctl(segment, _IPC_RMID, None)


def remove() -> list[Path]:
    """Remove every workspace in the folder for temporary files that has lost its owner; returns which."""
    return [folder for folder in _workspaces() if _remove_if_left(folder)]


def _workspaces() -> Iterator[Path]:
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        if folder.is_dir() and not folder.is_symlink():
            yield folder


def _remove_if_left(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # none, or another account's
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _end_processes(folder)
        for data in folder.glob("*/data"):
            remove_shared_memory(data)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return not folder.exists()


def _end_processes(folder: Path) -> None:
    """End what names the folder on its command line: servers, keepers, walsync."""
    for ending in (signal.SIGQUIT, signal.SIGKILL):
        pids = _processes_of(folder)
        keeper.send(ending, pids)
        keeper.send(signal.SIGCONT, pids)  # a paused process would act on nothing
        if _wait(lambda: not _processes_of(folder)):
            return


def _wait(reached: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _END_SECONDS
    while not reached():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _processes_of(folder: Path) -> list[int]:
    name = os.fsencode(folder) + b"/"
    accounts = {os.geteuid()}
    with contextlib.suppress(FileNotFoundError):  # the last of them has removed it
        accounts.add(folder.stat().st_uid)  # the one that the servers had
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            program, *words = (entry / "cmdline").read_bytes().split(b"\0")
            ours = entry.stat().st_uid in accounts and program.rpartition(b"/")[2].startswith(_PROGRAMS)
            if ours and any((word + b"/").startswith(name) for word in words):
                found.append(int(entry.name))
    return [pid for pid in found if keeper.is_running(pid)]
