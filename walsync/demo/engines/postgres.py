"""A real Postgres server as a child of this process: started, stopped, killed, paused, and gone without a trace.

It listens on 127.0.0.1 only, trusts every connection, and keeps its port and data directory until it is closed, so that
clients can reconnect after a stop. fsync is off: the data survives a kill of the server, not a crash of the machine.
"""

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg2

from walsync.demo.engines import keeper, leftovers
from walsync.demo.engines.installation import SUPERUSER, EngineFailed, Installation, from_wheel, workspace
from walsync.demo.engines.port import HOST, free_port

DEFAULT_SETTINGS: Mapping[str, str] = {
    "wal_level": "logical",
    "fsync": "off",  # throw-away data; with it a commit waits for the disk
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "unix_socket_directories": "",  # a socket's path is limited to 107 bytes, and nobody needs one
    "dynamic_shared_memory_type": "mmap",  # inside the data directory, so a killed server leaves nothing in /dev/shm
    "log_line_prefix": "%m [%p] ",
}
READY_SECONDS = 60.0  # 0.1 s as a rule; recovery after a kill on a busy machine takes longest
STOP_SECONDS = 60.0  # a fast stop waits until replication clients have confirmed what was sent
GONE_SECONDS = 10.0  # how long killed processes may take to disappear
POLL_SECONDS = 0.01
PORT_ATTEMPTS = 5
LOG_TAIL_LINES = 20


class PostgresServer:
    """One server with its own data directory; `with PostgresServer() as server:` starts it, and leaves no trace."""

    def __init__(
        self, installation: Installation | None = None, *, settings: Mapping[str, str] | None = None, port: int = 0
    ) -> None:
        self._workspace = workspace()
        self.installation = self._workspace.readable(installation or from_wheel())
        self.version = self.installation.version
        self.host = HOST
        self.port = port or free_port()
        self._port_is_ours = port == 0
        self._settings = {**DEFAULT_SETTINGS, **(settings or {})}
        self._folder = self._workspace.new_server_folder(self.version)
        self.data = self._folder / "data"
        self.log = self._folder / "log"
        self._keeper: subprocess.Popen[bytes] | None = None
        self._postmaster = 0

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<PostgresServer {self.version} {self.host}:{self.port} {'up' if self.is_up else 'down'}>"

    @property
    def is_up(self) -> bool:
        """Whether the server's first process runs, paused or not."""
        return self._keeper is not None and self._keeper.poll() is None

    def dsn(self, database: str = "postgres", *, user: str = SUPERUSER) -> str:
        """Return the address of a database on this server as a postgresql:// URL."""
        return f"postgresql://{quote(user, safe='')}@{self.host}:{self.port}/{quote(database, safe='')}"

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """Return the last lines of the server's log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def start(self) -> None:
        """Start the server and wait until it takes connections; no effect on one that is up."""
        if self.is_up:
            return
        first = not self.data.exists()
        if first:
            self._workspace.copy_template(self.installation, self.data)
            self._write_settings()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                self._launch()
            except EngineFailed as error:
                rival = first and self._port_is_ours and "could not bind" in error.message
                if not rival or attempt == PORT_ATTEMPTS:
                    raise
                self.port = free_port()
            else:
                return

    def stop(self) -> None:
        """Stop the server in order ("fast"): sessions are ended, the last checkpoint is written."""
        self._end(signal.SIGINT, STOP_SECONDS)

    def kill(self) -> None:
        """Kill the server and all its processes at once, as a crash would; return when they are gone."""
        if not self.is_up:
            return
        keeper.send(signal.SIGSTOP, [self._postmaster])  # it starts no new process while we look
        everyone = [self._postmaster, *keeper.children_of(self._postmaster)]
        keeper.send(signal.SIGKILL, everyone)
        self._await_gone(everyone)
        self._end(signal.SIGKILL, GONE_SECONDS)

    def restart(self) -> None:
        """Stop the server in order and start it again, on the same port and data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze every process of the server: connections stay open and nothing answers."""
        if not self.is_up:
            return
        keeper.send(signal.SIGSTOP, [self._postmaster])  # first: it starts no new process while we look
        keeper.send(signal.SIGSTOP, keeper.children_of(self._postmaster))

    def resume(self) -> None:
        """Let a paused server go on."""
        if not self.is_up:
            return
        keeper.send(signal.SIGCONT, [*keeper.children_of(self._postmaster), self._postmaster])

    def close(self) -> None:
        """End the server at once and remove its folder; it cannot be started again."""
        self._end(signal.SIGQUIT, STOP_SECONDS)
        leftovers.remove_shared_memory(self.data)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write_settings(self) -> None:
        # In the file and not on the command line: there ALTER SYSTEM could not change them.
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in self._settings.items()]
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            configuration.writelines(lines)

    def _launch(self) -> None:
        account = self._workspace.account
        server = (self.installation.program("postgres"), "-D", self.data, "-h", self.host, "-p", str(self.port))
        arguments = map(str, (account.uid, account.gid, self._workspace.folder, *server))
        with self.log.open("ab") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",
                start_new_session=True,  # Ctrl-C in a terminal is the caller's to act on
            )
        assert self._keeper.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        self._postmaster = int(self._keeper.stdout.readline() or 0)
        self._await_ready()

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            if not self.is_up:
                self._forget_keeper()
                raise self._failed("did not start")
            if time.monotonic() > deadline:
                self._end(signal.SIGQUIT, STOP_SECONDS)
                raise self._failed(f"took no connections for {READY_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def _answers(self) -> bool:
        try:
            connection = psycopg2.connect(self.dsn(), connect_timeout=2)
        except psycopg2.OperationalError:
            return False
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute("show data_directory")
            return cursor.fetchone() == (str(self.data),)  # else another server took the port first

    def _end(self, signal_number: int, timeout_seconds: float) -> None:
        if self._keeper is None:
            return
        if self._keeper.poll() is None:
            keeper.send(signal_number, [self._postmaster])
            self.resume()
        try:
            self._keeper.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise self._failed(f"did not end within {timeout_seconds:.0f} s") from None
        self._forget_keeper()

    def _forget_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.communicate()  # closes the pipes
            self._keeper = None

    def _await_gone(self, pids: list[int]) -> None:
        deadline = time.monotonic() + GONE_SECONDS
        while any(keeper.is_running(pid) for pid in pids):
            if time.monotonic() > deadline:
                raise self._failed(f"has processes that a SIGKILL did not end within {GONE_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def _failed(self, what: str) -> EngineFailed:
        tail = self.log_tail()
        return EngineFailed(
            "WS1903", f"Postgres {self.version} on {self.host}:{self.port} {what}; its log ends:\n{tail}"
        )
