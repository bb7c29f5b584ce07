"""Two processes with one configuration: one works, one waits; whoever was replaced never writes again, to any kind."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import yaml
from fix_postgres import Database
from fix_proxy import Proxy, address
from fix_replication import Command, Replication, locked, slot_row, uncommitted
from fix_rest_api import RestApi, served
from fix_walsync import Walsync, eventually, free_port
from fix_workerd import Workerd
from integration.lines import CREATE, KINDS, NAME, Kind, postgres
from psycopg2.extensions import make_dsn

from walsync.lsn import LSN
from walsync.status import SourceState, TargetState

SECONDS = 60.0
TAKEOVER_SECONDS = 10.0
"""Within what the waiting process has written, from the death of the other on: it takes about two."""

TIMEOUT = "5s"
"""After how long without an answer the source gives up a walsender: the slot of a frozen process is free then."""


@pytest.fixture
def rest_api(workerd: Workerd) -> Iterator[RestApi]:
    with served(RestApi(workerd, is_atomic=False)) as api:
        yield api


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param](request)


@pytest.fixture
def replication(source: Database) -> Replication:
    """A table on the source, which is quick to give up on a frozen reader."""
    source.execute(CREATE)
    dsn = make_dsn(source.dsn, options=f"-c wal_sender_timeout={TIMEOUT}")
    return Replication(source, {}, ["public.lines"], {"source": {"dsn": dsn}})


@pytest.fixture
def start(replication: Replication, walsync_command: Callable[..., Walsync]) -> Iterator[Callable[..., Command]]:
    """Start `walsync run`; each has a port of its own, perhaps its own way to the source, and all else in common."""
    made: list[Command] = []

    def run(kind: Kind, way: str | None = None) -> Command:
        port = free_port()
        target = {"name": NAME, **kind.entry}
        source = {**replication.content["source"], **({} if way is None else {"dsn": way})}
        content = {
            **replication.content,
            "source": source,
            "targets": [target],
            "http": {"listen": f"127.0.0.1:{port}"},
        }
        command = Command(walsync_command(yaml.safe_dump(content)), f"http://127.0.0.1:{port}")
        command.walsync.start("run")
        made.append(command)
        return command

    yield run
    for command in made:
        command.walsync.close()


def until_waiting(replication: Replication, command: Command) -> None:
    """Wait until a process says what it waits for."""
    pid = slot_row(replication, "active_pid")

    def waits() -> bool:
        status = command.status()
        error = status.source.last_error if status is not None else None
        return (
            status is not None
            and status.source.state is SourceState.WAITING_FOR_SLOT
            and status.source.blocked_by is not None
            and status.source.blocked_by.pid == pid
            and error is not None
            and error.code == "WS2405"
        )

    eventually(waits, SECONDS, "the second to wait, and to name whom it waits for")
    assert {line["code"] for line in command.log("source_unavailable")} == {"WS2405"}
    assert command.log("slot_taken") == []


def insert(replication: Replication, line: str) -> LSN:
    """Commit a line; return a position before its commit."""
    before = LSN.parse(replication.source.execute("SELECT pg_current_wal_insert_lsn()::text")[0][0])
    replication.source.execute("INSERT INTO lines VALUES (%s)", line)
    return before


def until_written(command: Command, position: LSN, seconds: float = SECONDS) -> None:
    """Wait until a process has stored more than `position`."""

    def is_stored() -> bool:
        target = command.target(NAME) if is_streaming(command) else None
        return target is not None and target.checkpoint_lsn is not None and target.checkpoint_lsn > position

    eventually(is_stored, seconds, f"the target to pass {position}")


def finish(command: Command) -> None:
    command.walsync.terminate()
    assert command.walsync.wait(SECONDS) == 0, command.walsync.output


def signal_to(command: Command, number: int) -> None:
    assert command.walsync.process is not None
    os.kill(command.walsync.process.pid, number)


def ended_as_fenced(command: Command) -> str:
    """Wait for the end of a process that was replaced; return the code it gave."""
    assert command.walsync.wait(SECONDS) == 5, command.walsync.output
    said = [line for line in command.walsync.stderr.read_text().splitlines() if line.startswith("error WS")]
    assert len(said) == 1, command.walsync.output
    return said[0].split()[1].rstrip(":")


def epoch(command: Command) -> int:
    return int(command.log("slot_taken")[-1]["epoch"])


def start_both(replication: Replication, start: Callable[[], Command]) -> tuple[Command, Command]:
    """Start one that streams, and one that waits for the slot."""
    first = start()
    first.until_state(TargetState.STREAMING)
    second = start()
    until_waiting(replication, second)
    return first, second


@pytest.mark.parametrize(
    "kind",
    [kind if kind == "postgres" else pytest.param(kind, marks=pytest.mark.long) for kind in KINDS],
    indirect=True,
)
def test_a_second_process_waits_and_takes_over_when_the_first_is_killed(
    replication: Replication, start: Callable[..., Command], kind: Kind
) -> None:
    first, second = start_both(replication, lambda: start(kind))
    until_written(first, insert(replication, "by the first"))
    first.walsync.sigkill()
    until_written(second, insert(replication, "by the second"), TAKEOVER_SECONDS)
    finish(second)
    assert kind.rows() == ["by the first", "by the second", "copied"]


def test_a_process_that_begins_while_another_waits_for_its_slot_waits_for_that(
    replication: Replication, start: Callable[..., Command], request: pytest.FixtureRequest
) -> None:
    kind = postgres(request)
    with uncommitted(replication.source, "INSERT INTO lines VALUES ('rolled back')"):
        first = start(kind)
        eventually(lambda: slot_row(replication, "active_pid"), SECONDS, "the first to create the slot")
        second = start(kind)
        until_waiting(replication, second)
        assert first.log("slot_created") == []
    # Between its creation and its stream the slot is free for a moment: the second may be the one to take it.
    works = eventually(lambda: [one for one in (first, second) if is_streaming(one)], SECONDS, "one of them to work")[0]
    waits = second if works is first else first
    until_waiting(replication, waits)
    works.walsync.sigkill()
    until_written(waits, insert(replication, "by the other"))
    finish(waits)
    assert kind.rows() == ["by the other", "copied"]


def test_of_processes_that_begin_at_the_same_moment_one_works(
    replication: Replication, start: Callable[..., Command], request: pytest.FixtureRequest
) -> None:
    kind = postgres(request)
    waiting = [start(kind) for _ in range(3)]
    for number in range(3):
        works = eventually(lambda: [one for one in waiting if is_streaming(one)], SECONDS, "one of them to work")
        assert len(works) == 1
        waiting.remove(works[0])
        until_written(works[0], insert(replication, f"line {number}"))
        works[0].walsync.sigkill()
    assert kind.rows() == ["copied", "line 0", "line 1", "line 2"]


def is_streaming(command: Command) -> bool:
    assert command.walsync.is_running, command.walsync.output
    target = command.target(NAME)
    return target is not None and target.state is TargetState.STREAMING


def test_a_process_that_was_frozen_and_replaced_is_fenced_when_it_goes_on(
    replication: Replication, start: Callable[..., Command], kind: Kind, new_proxy: Callable[[str, int], Proxy]
) -> None:
    way = new_proxy(*address(replication.source))
    dsn = make_dsn(replication.content["source"]["dsn"], host=way.host, port=way.port)
    first = start(kind, dsn)
    first.until_state(TargetState.STREAMING)
    second = start(kind)
    until_waiting(replication, second)
    signal_to(first, signal.SIGSTOP)
    meanwhile = insert(replication, "meanwhile")  # it lies in the frozen one's socket, too
    eventually(lambda: second.log("slot_taken"), SECONDS, "the second to take the slot")
    if kind.takes_one_process:
        held = eventually(lambda: second.log("target_unavailable"), SECONDS, "the second to miss the target")
        assert {line["code"] for line in held} == {"WS4601"}
    else:
        until_written(second, meanwhile)
        way.refuse()  # that it is replaced it can learn from the target alone
        way.cut()
    signal_to(first, signal.SIGCONT)
    codes = {"WS2409" if kind.takes_one_process else "WS4001"}
    if kind.ends_sessions:
        eventually(lambda: first.log("target_unavailable"), SECONDS, "the first to find its session ended")
        assert kind.rows() == ["copied", "meanwhile"]
        way.accept()
        codes = {"WS2409", "WS4001"}  # to claim the target anew it asks the source, too
    assert ended_as_fenced(first) in codes
    until_written(second, insert(replication, "after"))
    finish(second)
    assert kind.rows() == ["after", "copied", "meanwhile"]
    assert epoch(second) > epoch(first)


@pytest.mark.parametrize("moved_on", [False, True], ids=["where it was", "further on"])
def test_a_process_that_was_frozen_with_nothing_to_write_finds_out_at_the_slot(
    replication: Replication, start: Callable[..., Command], request: pytest.FixtureRequest, *, moved_on: bool
) -> None:
    target = postgres(request)
    first = start(target)
    first.until_state(TargetState.STREAMING)
    second = start(target)
    until_waiting(replication, second)
    signal_to(first, signal.SIGSTOP)
    second.until_state(TargetState.STREAMING, NAME)
    if moved_on:
        meanwhile = insert(replication, "meanwhile")
        until_written(second, meanwhile)
        confirmed = partial(slot_row, replication, "confirmed_flush_lsn")
        eventually(lambda: LSN.parse(confirmed()) > meanwhile, SECONDS, "the slot to move on")
    signal_to(first, signal.SIGCONT)
    assert ended_as_fenced(first) == "WS2409"
    until_written(second, insert(replication, "after"))
    finish(second)
    assert target.rows() == ["after", "copied", *(["meanwhile"] if moved_on else [])]


def test_a_process_that_is_frozen_inside_a_transaction_does_not_keep_the_checkpoint(
    replication: Replication, start: Callable[..., Command], target: Database, request: pytest.FixtureRequest
) -> None:
    kind = postgres(request)
    first, second = start_both(replication, lambda: start(kind))
    with locked(target, "lines"):
        meanwhile = insert(replication, "meanwhile")
        eventually(lambda: _holds_the_checkpoint(target, epoch(first)), SECONDS, "the batch to wait inside")
        signal_to(first, signal.SIGSTOP)
        eventually(lambda: second.log("slot_taken"), SECONDS, "the second to take the slot")
        eventually(lambda: not _holds_the_checkpoint(target, epoch(first)), SECONDS, "the older session to end")
        claimed = "SELECT 1 FROM walsync.checkpoint WHERE epoch = %s"
        eventually(lambda: target.execute(claimed, epoch(second)), SECONDS, "the second to have the checkpoint")
    until_written(second, meanwhile)
    signal_to(first, signal.SIGCONT)
    assert ended_as_fenced(first) in {"WS2409", "WS4001"}
    finish(second)
    assert kind.rows() == ["copied", "meanwhile"]


def _holds_the_checkpoint(target: Database, run: int) -> bool:
    """Tell whether a run has a transaction open that has written the checkpoint."""
    return bool(
        target.execute(
            """
            SELECT 1 FROM pg_locks JOIN pg_stat_activity AS activity USING (pid)
            WHERE relation = 'walsync.checkpoint'::regclass AND mode = 'RowExclusiveLock' AND granted
            AND application_name LIKE %s
            """,
            f"walsync % epoch {run}",
        )
    )
