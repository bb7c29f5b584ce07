"""Runs one server and ends it, and removes its folder, as soon as the process that wanted it is gone.

Started as a program of its own: `keeper.py UID GID FOLDER COMMAND...`, with a pipe on stdin that its parent never
writes to. Prints the server's pid; ends when the server ends. It uses the standard library only, to run with `-I -S`.

Why a process between, and no `preexec_fn` with PR_SET_PDEATHSIG in the parent: preexec_fn runs Python between fork and
exec, which can deadlock where the parent has threads; and the signal follows the *thread* that forked, so a server
started by a worker thread would die with it. The end of a pipe follows the process, however it dies, and somebody is
left to remove the folder. The keeper is a single thread when it forks, and its server has the death signal on it.
"""

import ctypes
import os
import resource
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CANNOT_EXECUTE = 126
REMOVALS = 150
PAUSE_SECONDS = 0.2


def main() -> None:
    """Start the server, wait for its end, and end it if stdin closes first."""
    uid, gid, folder, *command = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # SIGQUIT is how things end here, and no reason for a core file
    keeper = os.getpid()
    server = os.fork()
    if server == 0:
        _become_server(int(uid), int(gid), command, keeper)
    os.write(1, b"%d\n" % server)
    parent_is_gone = threading.Event()
    threading.Thread(target=_watch_parent, args=(server, parent_is_gone), daemon=True).start()
    _, status = os.waitpid(server, 0)
    if parent_is_gone.is_set():
        _remove(folder)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _remove(folder: str) -> None:
    """Remove a folder in which others, who are ending too, may still write."""
    for _ in range(REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):  # noqa: PTH110 - as it was given
            return
        time.sleep(PAUSE_SECONDS)


def _become_server(uid: int, gid: int, command: list[str], keeper: int) -> NoReturn:
    try:
        # A shell that puts a command into the background lets it ignore these, and whoever it starts.
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        if uid >= 0:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)  # after setuid, which clears it
        if os.getppid() == keeper:  # else it died before the death signal was on
            os.execve(command[0], command, server_environment())  # noqa: S606 - a shell would add nothing
    except OSError as error:
        os.write(2, f"{command[0]}: {error}\n".encode())
    os._exit(CANNOT_EXECUTE)


def _watch_parent(server: int, parent_is_gone: threading.Event) -> None:
    os.read(0, 1)  # nobody writes: it returns when the last holder of the other end is gone
    parent_is_gone.set()
    everyone = [server, *children_of(server)]
    send(signal.SIGQUIT, [server])
    send(signal.SIGCONT, everyone)  # a paused server would act on nothing


def server_environment() -> dict[str, str]:
    """Return what a server sees of the environment: nothing of the caller's PG* variables, locale or time zone."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def children_of(parent: int) -> list[int]:
    """Return the pids of a process's children; each backend is a session of its own, so no process group names them."""
    return [pid for pid in _pids() if _state_and_parent(pid)[1] == parent]


def is_running(pid: int) -> bool:
    """Say whether a process runs; a zombie does not, and stays where the container's first process never reaps."""
    return _state_and_parent(pid)[0] not in ("", "Z", "X")


def send(signal_number: int, pids: list[int]) -> None:
    """Send a signal to each process that is still there."""
    for pid in filter(None, pids):  # 0, a server that was never started, would be our own process group
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            continue


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _state_and_parent(pid: int) -> tuple[str, int]:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", 0
    state, parent, *_ = status.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    return state, int(parent)


if __name__ == "__main__":
    main()
