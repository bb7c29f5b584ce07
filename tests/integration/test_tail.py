"""``walsync tail`` as a real process: what it prints, what it acknowledges, and how it ends."""

import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from fix_postgres import Database, Server
from fix_walsync import Walsync, eventually

from walsync.demo.engines import PostgresServer
from walsync.lsn import LSN

SECONDS = 30.0
PIPE_BYTES = 65_536
FORMAT = ("--format", "wal2json", "--format-version", "2", "-o", "include-transaction=0")


class Tailed:
    """A source with a table and a publication, and the command that tails it."""

    def __init__(self, database: Database, command: Walsync) -> None:
        self.database = database
        self.command = command
        self.slot = f"{database.name}_tail"
        database.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        database.execute("CREATE PUBLICATION p FOR TABLE t")

    @property
    def where(self) -> tuple[str, ...]:
        return ("tail", "--dsn", self.database.dsn, "--publication", "p")

    @property
    def permanent(self) -> tuple[str, ...]:
        return (*self.where, "--slot", self.slot, *FORMAT)

    def make_slot(self) -> None:
        self.database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", self.slot)

    def insert(self, *ids: int) -> str:
        """Commit each row by itself, and return the position after them."""
        for number in ids:
            self.database.execute("INSERT INTO t VALUES (%s, 'v')", number)
        return self.position()

    def position(self) -> str:
        ((lsn,),) = self.database.execute("SELECT pg_current_wal_lsn()::text")
        return str(lsn)

    def confirmed(self) -> LSN:
        query = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s"
        ((lsn,),) = self.database.execute(query, self.slot)
        return LSN.parse(lsn)

    def is_free(self) -> bool:
        query = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
        return self.database.execute(query, self.slot) == [(False,)]

    def run(self, *args: str, code: int = 0) -> list[int]:
        """Run the command to its end, and return the ids that it printed."""
        self.command.stdout.unlink(missing_ok=True)
        assert self.command.run(*args) == code, self.command.output
        return ids_of(self.command.stdout.read_bytes())


def ids_of(printed: bytes) -> list[int]:
    records = [json.loads(line) for line in printed.splitlines()]
    return [record["columns"][0]["value"] for record in records if record["action"] == "I"]


@pytest.fixture
def tailed(source: Database, walsync_command: Callable[..., Walsync]) -> Tailed:
    return Tailed(source, walsync_command(""))


def slots_of(database: Database) -> list[tuple[str, bool]]:
    query = "SELECT slot_name::text, temporary FROM pg_replication_slots WHERE database = current_database()"
    return [(name, temporary) for name, temporary in database.execute(query)]


def test_what_committed_before_a_position_is_printed_and_acknowledged_on_every_version(
    any_source: Database, walsync_command: Callable[..., Walsync]
) -> None:
    tailed = Tailed(any_source, walsync_command(""))
    tailed.make_slot()
    first = tailed.insert(1, 2)
    second = tailed.insert(3)
    assert tailed.run(*tailed.permanent, "--until-lsn", first) == [1, 2]
    assert tailed.confirmed() >= LSN.parse(first)
    assert tailed.run(*tailed.permanent, "--until-lsn", first) == []
    assert tailed.run(*tailed.permanent, "--until-lsn", second) == [3]


def test_a_position_in_the_middle_of_idle_wal_is_an_end_too(tailed: Tailed) -> None:
    tailed.make_slot()
    tailed.database.execute("CREATE TABLE unpublished (id int)")
    tailed.database.execute("INSERT INTO unpublished SELECT generate_series(1, 100)")
    end = tailed.position()
    assert tailed.run(*tailed.permanent, "--until-lsn", end) == []
    assert tailed.confirmed() >= LSN.parse(end)


def test_a_slot_that_is_not_there_is_made_and_stays(tailed: Tailed) -> None:
    tailed.insert(1)
    assert tailed.run(*tailed.permanent, "--until-caught-up") == []
    assert slots_of(tailed.database) == [(tailed.slot, False)]
    tailed.insert(2)
    assert tailed.run(*tailed.permanent, "--until-caught-up") == [2]


def test_without_a_slot_it_starts_now_and_leaves_nothing(tailed: Tailed) -> None:
    tailed.insert(1)
    command = tailed.command
    command.start(*tailed.where, *FORMAT)
    streaming = "SELECT 1 FROM pg_stat_replication WHERE application_name = 'walsync tail' AND state = 'streaming'"
    eventually(lambda: tailed.database.execute(streaming), SECONDS, "the stream to begin")
    assert [temporary for _, temporary in slots_of(tailed.database)] == [True]
    tailed.insert(2)
    eventually(lambda: ids_of(command.stdout.read_bytes()) == [2], SECONDS, "the row to be printed")
    command.terminate()
    assert command.wait(SECONDS) == 0
    eventually(lambda: slots_of(tailed.database) == [], SECONDS, "the slot to go")


def test_an_interrupt_ends_it_while_a_new_slot_waits_for_a_transaction(tailed: Tailed) -> None:
    writing = tailed.database.connect()
    with writing.cursor() as cursor:
        cursor.execute("BEGIN; INSERT INTO t VALUES (1, 'not committed')")
    tailed.command.start(*tailed.permanent)
    waiting = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'walsync tail' AND wait_event_type = 'Lock'"
    eventually(lambda: tailed.database.execute(waiting), SECONDS, "the server to wait")
    assert tailed.command.process is not None
    tailed.command.process.send_signal(signal.SIGINT)
    assert tailed.command.wait(SECONDS) == -signal.SIGINT


def test_a_limit_counts_transactions_that_print_something_and_leaves_the_rest_for_later(tailed: Tailed) -> None:
    tailed.make_slot()
    tailed.insert(1, 2, 3)
    assert tailed.run(*tailed.permanent, "--limit", "2") == [1, 2]
    assert tailed.run(*tailed.permanent, "--until-caught-up") == [3]


def test_a_publication_that_is_not_there_is_told_before_a_slot_is_made(tailed: Tailed) -> None:
    assert tailed.run("tail", "--dsn", tailed.database.dsn, "--publication", "none", "--slot", "s", code=1) == []
    assert "error WS2303: " in tailed.command.output
    assert 'CREATE PUBLICATION "none" FOR ALL TABLES' in tailed.command.output
    assert slots_of(tailed.database) == []


def test_with_a_configuration_its_own_slot_is_refused_and_another_is_not(
    tailed: Tailed, walsync_command: Callable[..., Walsync]
) -> None:
    source = {"dsn": tailed.database.dsn, "slot": tailed.slot, "publication": "p", "tables": ["public.t"]}
    targets = [{"name": "t", "type": "postgres", "dsn": "postgresql://nowhere/x"}]
    tailed.command = walsync_command(yaml.safe_dump({"source": source, "targets": targets}))
    here = ("tail", "-c", str(tailed.command.config_path), *FORMAT)
    assert tailed.run(*here, "--slot", tailed.slot, code=2) == []
    assert "error WS1031: " in tailed.command.output
    assert tailed.run(*here, "--until-caught-up") == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("-o", "nope=1"), 'error WS1030: option "nope" = "1" is unknown'),
        (("-o", "add-tables=t"), 'error WS1030: could not parse value "t" for parameter "add-tables"'),
        (("--until-lsn", "nonsense"), "is not an LSN"),
        (("--limit", "0"), "--limit"),
        (("--where", "nonsense"), "error WS1029: "),
    ],
)
def test_a_wrong_option_ends_with_2_before_anything_is_made(tailed: Tailed, args: tuple[str, ...], said: str) -> None:
    tailed.run(*tailed.permanent, *args, code=2)
    assert said in tailed.command.output
    assert slots_of(tailed.database) == []


@pytest.mark.parametrize("args", [("--dsn", "postgresql://x"), ("--dsn", "x", "--publication", "p", "-c", "y")])
def test_a_source_is_named_in_one_way(tailed: Tailed, args: tuple[str, ...]) -> None:
    tailed.run("tail", *args, code=2)


def test_a_dsn_that_cannot_be_read_is_not_repeated(tailed: Tailed) -> None:
    tailed.run("tail", "--dsn", "postgresql://u:hunter2@[", "--publication", "p", code=2)
    assert "error WS1012: " in tailed.command.output
    assert "hunter2" not in tailed.command.output


def test_logs_go_to_stderr_and_records_alone_to_stdout(tailed: Tailed) -> None:
    tailed.insert(1)
    tailed.run(*tailed.permanent, "--log-level", "info", "--until-caught-up")
    assert '"event":"slot_created"' in tailed.command.stderr.read_text()
    assert tailed.command.stdout.read_text() == ""


@pytest.mark.parametrize(
    ("name", "expected"), [("text", "INSERT   public.t  id=1  v=v"), ("json", '"new":{"id":1,"v":"v"}')]
)
def test_the_other_formats_are_there_and_tables_and_rows_can_be_chosen(
    tailed: Tailed, name: str, expected: str
) -> None:
    tailed.make_slot()
    tailed.insert(1, 2)
    chosen = ("--format", name, "--table", "public.t", "--where", "id=1", "--until-caught-up")
    tailed.command.run(*tailed.where, "--slot", tailed.slot, *chosen)
    assert expected in tailed.command.stdout.read_text()
    assert "id=2" not in tailed.command.stdout.read_text()


def test_a_file_is_appended_to_and_a_kill_costs_no_row(tailed: Tailed, tmp_path: Path) -> None:
    tailed.make_slot()
    output = tmp_path / "out.jsonl"
    args = (*tailed.permanent, "--output", str(output))
    for first in (1, 101, 201):
        tailed.insert(*range(first, first + 50))
        tailed.command.start(*args)
        tailed.insert(*range(first + 50, first + 100))
        eventually(lambda: output.exists() and output.read_bytes().count(b"\n") > 10, SECONDS, "some rows")
        tailed.command.sigkill()
        eventually(tailed.is_free, SECONDS, "the server to notice")
    assert tailed.command.run(*args, "--until-caught-up") == 0
    printed = ids_of(output.read_bytes())
    assert list(dict.fromkeys(printed)) == list(range(1, 301))
    assert tailed.run(*tailed.permanent, "--until-caught-up") == []


def test_a_line_that_a_kill_cut_short_is_removed(tailed: Tailed, tmp_path: Path) -> None:
    tailed.make_slot()
    tailed.insert(1)
    output = tmp_path / "out.jsonl"
    output.write_bytes(b'{"whole":1}\n{"torn":' + b"x" * 100_000)
    assert tailed.command.run(*tailed.permanent, "--output", str(output), "--until-caught-up") == 0
    first, second = output.read_bytes().splitlines()
    assert (json.loads(first), ids_of(second)) == ({"whole": 1}, [1])


def test_a_line_of_somebody_elses_is_ended_and_stays(tailed: Tailed, tmp_path: Path) -> None:
    tailed.make_slot()
    tailed.insert(1)
    output = tmp_path / "notes.txt"
    output.write_bytes(b"a note")
    assert tailed.command.run(*tailed.permanent, "--output", str(output), "--until-caught-up") == 0
    note, record = output.read_bytes().splitlines()
    assert (note, ids_of(record)) == (b"a note", [1])


def test_an_output_that_cannot_be_written_is_told_and_nothing_is_acknowledged(tailed: Tailed) -> None:
    tailed.make_slot()
    tailed.insert(1)
    assert tailed.command.run(*tailed.permanent, "--output", "/dev/full", "--until-caught-up") == 1
    assert "error WS8002: " in tailed.command.output
    assert tailed.run(*tailed.permanent, "--until-caught-up") == [1]


@pytest.fixture
def piped(tailed: Tailed) -> Iterator["subprocess.Popen[bytes]"]:
    """Return the command with a pipe as its output that nobody reads yet, with more to print than fits."""
    tailed.make_slot()
    tailed.insert(1)
    tailed.database.execute("INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(2, 5000) AS i")
    with start_piped(tailed) as process:
        yield process
        process.kill()


def start_piped(tailed: Tailed) -> "subprocess.Popen[bytes]":
    command = [str(tailed.command.command), *tailed.permanent]
    with tailed.command.stderr.open("ab") as stderr:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr)


def read_piece(process: "subprocess.Popen[bytes]") -> bytes:
    assert process.stdout is not None
    return os.read(process.stdout.fileno(), 65_536)


def test_a_reader_that_goes_loses_nothing(tailed: Tailed, piped: "subprocess.Popen[bytes]") -> None:
    before = tailed.confirmed()
    assert ids_of(read_piece(piped).splitlines()[0]) == [1]
    assert piped.stdout is not None
    piped.stdout.close()
    assert piped.wait(SECONDS) == 1
    assert "error WS8001: " in tailed.command.output
    assert tailed.confirmed() >= before
    assert tailed.run(*tailed.permanent, "--until-caught-up")[-4999:] == list(range(2, 5001))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_although_nobody_reads_and_what_was_not_taken_comes_again(
    tailed: Tailed, piped: "subprocess.Popen[bytes]", number: signal.Signals
) -> None:
    read_piece(piped)
    eventually(lambda: is_full(piped), SECONDS, "the pipe to be full")
    piped.send_signal(number)
    assert piped.wait(SECONDS) == 0
    assert tailed.run(*tailed.permanent, "--until-caught-up")[-4999:] == list(range(2, 5001))


def is_full(process: "subprocess.Popen[bytes]") -> bool:
    assert process.stdout is not None
    (waiting,) = struct.unpack("i", fcntl.ioctl(process.stdout, termios.FIONREAD, b"\0" * 4))
    return bool(waiting > PIPE_BYTES - 2 * select.PIPE_BUF)


def test_a_reader_that_takes_its_time_does_not_cost_the_connection(
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
    walsync_command: Callable[..., Walsync],
) -> None:
    tailed = Tailed(new_database(start_server(wal_sender_timeout="5s")), walsync_command(""))
    tailed.make_slot()
    tailed.database.execute("INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 5000) AS i")
    with start_piped(tailed) as process:
        read_piece(process)
        # Answers of a client that waits for its own output: the server would have given it up after five seconds.
        answered = "SELECT 1 FROM pg_stat_replication WHERE reply_time > backend_start + interval '10 s'"
        eventually(lambda: tailed.database.execute(answered), SECONDS, "answers for longer than the timeout")
        process.terminate()
        assert process.wait(SECONDS) == 0
    assert tailed.run(*tailed.permanent, "--until-caught-up") == list(range(1, 5001))
