"""Records the captures again: starts servers, runs `scenario.sql`, and writes down what their replication streams say.

    PYTHONPATH=tests python tests/captures/record.py 14=PREFIX 15=PREFIX 17=PREFIX

PREFIX is the folder with `bin`, `lib` and `share` of that version; 16 and 18 come with the extra `walsync[demo]` and
are recorded without an argument. From one recording to the next, positions, times and xids differ. The messages are the
same, since the scenario says where the streams are read, and memory decides what is streamed before its transaction
ends; only Relation and Type come once more where a server hears of DDL before it decodes what preceded it.

The lines of the scenario that start with --@ are for this program:
    --@ slots          everything above is preparation; the streams start here
    --@ session NAME   the statements below run in this session
    --@ since VERSION  the next statement is for this version and later ones
    --@ read           read all streams up to here, while the open transactions stay open
"""

import contextlib
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
from captures.frames import FOLDER, Capture, Frame, of_version
from psycopg2.extras import LogicalReplicationConnection

from walsync.demo.engines import Installation, PostgresServer, from_wheel

SETTINGS = {
    "autovacuum": "off",  # it would repeat Relation messages whenever it likes
    "logical_decoding_work_mem": "64kB",  # the least there is
    "max_prepared_transactions": "10",
}
PUBLICATIONS = "published,filtered,rooted"
READ_SECONDS = 30.0


class Recorder:
    """One replication session whose frames are kept."""

    def __init__(self, capture: Capture, dsn: str) -> None:
        self.capture = capture
        self.frames: list[Frame] = []
        self._connection = psycopg2.connect(dsn, connection_factory=LogicalReplicationConnection)
        self._cursor = self._connection.cursor()
        way = capture.way
        options: dict[str, object] = {
            "proto_version": str(way.protocol_version),
            "publication_names": PUBLICATIONS,
            "messages": "true",
        }
        if way.streaming != "off":
            options["streaming"] = way.streaming
        if way.two_phase:
            options["two_phase"] = "on"
        self._cursor.start_replication(slot_name=way.name, options=options)

    def read_until(self, mark: bytes) -> None:
        """Keep frames up to a message with this content."""
        while not (self.frames and self.frames[-1].payload.endswith(mark)):
            message = self._cursor.read_message()
            if message is not None:
                self.frames.append(Frame(message.data_start, message.payload))
            elif not any(select.select([self._connection], [], [], READ_SECONDS)):
                raise TimeoutError(f"{self.capture}: no {mark!r} for {READ_SECONDS} s")

    def close(self) -> None:
        """End the session."""
        self._connection.close()


class Play:
    """Runs the scenario against one server."""

    def __init__(self, version: int, dsn: str) -> None:
        self._version = version
        self._dsn = dsn
        self._sessions: dict[str, Any] = {}
        self._session = "one"
        self._since = 0
        self._marks = 0
        self.recorders: list[Recorder] = []

    def run(self, scenario: str) -> None:
        """Do what the scenario says, line by line."""
        directives: dict[str, Callable[[str], None]] = {
            "slots": self._start,
            "session": self._choose_session,
            "since": self._skip_before,
            "read": self._read,
        }
        for step in _steps(scenario):
            if step.startswith("--@"):
                _, name, *argument = step.split()
                directives[name](*argument or [""])
            elif self._since <= self._version:
                self._execute(self._session, step)
            if not step.startswith("--@"):
                self._since = 0

    def close(self) -> None:
        """End all sessions."""
        for session in [*self.recorders, *self._sessions.values()]:
            session.close()

    def _execute(self, session: str, statement: str) -> None:
        if session not in self._sessions:
            self._sessions[session] = psycopg2.connect(self._dsn)
            self._sessions[session].autocommit = True
        with self._sessions[session].cursor() as cursor:
            cursor.execute(statement)

    def _start(self, _: str) -> None:
        for capture in of_version(self._version):
            two_phase = ", false, true" if capture.way.two_phase else ""
            create = f"select pg_create_logical_replication_slot('{capture.way.name}', 'pgoutput'{two_phase})"
            self._execute("marks", create)
            self.recorders.append(Recorder(capture, self._dsn))

    def _choose_session(self, name: str) -> None:
        self._session = name

    def _skip_before(self, version: str) -> None:
        self._since = int(version)

    def _read(self, _: str) -> None:
        self._marks += 1
        mark = f"mark {self._marks:03}"
        self._execute("marks", f"select pg_logical_emit_message(false, 'read', '{mark}')")
        self._execute("marks", "insert into unpublished values (0)")  # its commit writes the WAL out at once
        for recorder in self.recorders:
            recorder.read_until(mark.encode())


def _steps(scenario: str) -> Iterator[str]:
    statement: list[str] = []
    for line in scenario.split("\n"):
        if line.startswith("--@"):
            yield line
        elif line and not line.startswith("--"):
            statement.append(line)
            if line.endswith(";"):
                yield "\n".join(statement)
                statement = []


def record(version: int, dsn: str) -> None:
    """Record all captures of one server."""
    with contextlib.closing(Play(version, dsn)) as play:
        play.run((FOLDER / "scenario.sql").read_text(encoding="utf-8"))
        for recorder in play.recorders:
            recorder.capture.write(recorder.frames)


def main(arguments: list[str]) -> None:
    """Record every version there is an installation for."""
    installations = {version: from_wheel(version) for version in (16, 18)}
    for argument in arguments:
        number, _, prefix = argument.partition("=")
        installations[int(number)] = Installation(int(number), Path(prefix))
    for version, installation in sorted(installations.items()):
        with PostgresServer(installation, settings=SETTINGS) as server:
            record(version, server.dsn())


if __name__ == "__main__":
    main(sys.argv[1:])
