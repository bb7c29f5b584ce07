"""The command, killed at each step that the hold slot goes through: nothing is lost, nothing is left."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from fix_isolation import ROWS, hold, insert, on_own_server, registered, rows
from fix_postgres import Database, Server
from fix_proxy import NewLine, Proxy
from fix_replication import SECONDS, Command, Replication, slot_row
from fix_walsync import eventually

from walsync.demo.engines import PostgresServer
from walsync.lsn import LSN
from walsync.status import TargetState

MAKING = [b"pg_copy_logical_replication_slot", b"state = 'parked', durable"]
REMOVAL = [b"state = 'registered', durable", b"pg_drop_replication_slot"]
REPLACEMENT = [b"pg_drop_replication_slot", b"pg_copy_logical_replication_slot"]
MARK = b"ALTER_REPLICATION_SLOT"
ADVANCE = b"pg_replication_slot_advance"
SIDES = ["to_server", "to_client"]
"""Where the line stops: the step was never asked for, or it was taken and the answer is lost."""

MOSTLY = [pytest.param("to_server", marks=pytest.mark.long), "to_client"]
"""The same, where the first differs little from a kill before the step."""

ONE_BY_ONE = {"batch": {"transactions": 1}}
BLOCKED = 305
"""The row that a target takes no further than, where it is to stand still in the middle of catching up."""

Start = Callable[[Replication], tuple[Command, Proxy]]


@pytest.fixture
def start(line_to: NewLine, start_command: Callable[[Replication], Command]) -> Start:
    """Run the command on a line to the source that can be stopped, and wait until every target streams."""

    def start(replication: Replication) -> tuple[Command, Proxy]:
        line = line_to(replication.source)
        changes = {**replication.changes, "source": {"dsn": line.dsn(replication.source.name)}}
        command = start_command(replace(replication, changes=changes))
        command.until_streaming(replication.targets)
        return command, line

    return start


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("step", [*MAKING, *REMOVAL], ids=bytes.decode)
def test_a_kill_at_any_step_of_the_hold_slot_loses_nothing(
    apart: Replication, away: Proxy, start: Start, step: bytes, side: str
) -> None:
    command, line = start(apart)
    stopped = stop_at(line, step, side)
    away.go_away()
    insert(apart, 1, 300)
    if step in REMOVAL:
        eventually(lambda: rows(apart, "near") == 301 and hold(apart) is not None, SECONDS, "one target to be parked")
        away.accept()
    kill(command, line, stopped, lambda: side == "to_server" or is_done(apart, step))
    away.accept()
    command.walsync.start("run")
    goes_on(apart, command, 301)


@pytest.mark.parametrize("side", MOSTLY)
def test_a_kill_before_standbys_may_copy_the_hold_slot_leaves_that_to_the_next_run(
    apart: Replication,
    away: Proxy,
    start: Start,
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
    side: str,
) -> None:
    apart = on_own_server(apart, start_server(18), new_database)
    command, line = start(apart)
    stopped = stop_at(line, MARK, side)
    away.go_away()
    insert(apart, 1, 300)
    kill(command, line, stopped, lambda: side == "to_server" or slot_row(apart, "failover", "_hold"))
    assert slot_row(apart, "failover", "_hold") is (side == "to_client")
    command.walsync.start("run")
    eventually(lambda: slot_row(apart, "failover", "_hold"), SECONDS, "the hold slot to be marked")
    away.accept()
    goes_on(apart, command, 301)


@pytest.mark.parametrize("side", MOSTLY)
def test_a_kill_while_the_hold_slot_moves_on_loses_nothing(
    apart: Replication, away: Proxy, start: Start, side: str
) -> None:
    apart = replace(apart, changes={**apart.changes, **ONE_BY_ONE})
    command, line = start(apart)
    part(apart, away)
    insert(apart, 301, BLOCKED)
    eventually(lambda: rows(apart, "near") == BLOCKED + 1, SECONDS, "the one that streams to have all rows")
    stands_at = hold(apart)
    with blocked(apart.targets["far"], BLOCKED):
        stopped = stop_at(line, ADVANCE, side)
        away.accept()
        kill(command, line, stopped, lambda: side == "to_server" or hold(apart) != stands_at)
    command.walsync.start("run")
    goes_on(apart, command, BLOCKED + 1)


@pytest.mark.parametrize("side", MOSTLY)
@pytest.mark.parametrize("step", REPLACEMENT, ids=bytes.decode)
def test_a_kill_while_the_hold_slot_is_replaced_by_one_further_back_loses_nothing(
    apart: Replication,
    away: Proxy,
    start: Start,
    target_server: Server,
    new_database: Callable[[Server], Database],
    *,
    step: bytes,
    side: str,
) -> None:
    other = new_database(target_server)
    apart = replace(apart, targets={**apart.targets, "other": other}, changes={**apart.changes, **ONE_BY_ONE})
    command, line = start(apart)
    part(apart, away)
    eventually(lambda: rows(apart, "other") == 301, SECONDS, "the one that will be slow to have all rows")
    before = hold(apart)
    with ExitStack() as stack:
        # The one that is slow stays on the main stream, which is not full; the one that catches up passes it there.
        stack.enter_context(blocked(other, 301))
        stack.enter_context(blocked(apart.targets["far"], BLOCKED))
        insert(apart, 301, BLOCKED + 35)
        away.accept()
        eventually(lambda: hold(apart) != before, SECONDS, "the hold slot to move on")
        ahead = hold(apart)
        stopped = stop_at(line, step, side)
        insert(apart, BLOCKED + 36, 640)
        kill(command, line, stopped, lambda: side == "to_server" or is_replaced(apart, step, ahead))
    command.walsync.start("run")
    goes_on(apart, command, 641)


@pytest.mark.parametrize("side", MOSTLY)
def test_a_kill_while_a_hold_slot_is_dropped_that_was_lost_costs_its_target_a_snapshot_and_nobody_else(
    apart: Replication,
    away: Proxy,
    start: Start,
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
    side: str,
) -> None:
    server = start_server(18, max_slot_wal_keep_size="48MB", min_wal_size="32MB")
    apart = on_own_server(apart, server, new_database)
    command, line = start(apart)
    part(apart, away)
    stopped = stop_at(line, b"pg_drop_replication_slot", side)
    last = 300
    while slot_row(apart, "wal_status", "_hold") not in {"lost", None} and last < 320:
        last += 1
        [(before,)] = apart.source.execute("SELECT pg_current_wal_lsn()")
        insert(apart, last, last)
        apart.source.execute("SELECT pg_switch_wal()")
        eventually(lambda before=before: has_passed(apart, before), SECONDS, "the main slot to move")  # type: ignore[misc]
        apart.source.execute("CHECKPOINT")
    kill(command, line, stopped, lambda: side == "to_server" or hold(apart) is None)
    assert slot_row(apart, "wal_status", "_hold") == ("lost" if side == "to_server" else None)
    away.accept()
    command.walsync.start("run")
    goes_on(apart, command, last + 1, copied={"far"})


def part(apart: Replication, away: Proxy) -> None:
    """Let one target fall behind until the hold slot is its own, and more WAL come than is worth a move of the slot."""
    away.go_away()
    insert(apart, 1, 300)
    eventually(lambda: rows(apart, "near") == 301, SECONDS, "the one that streams to have all rows")
    eventually(lambda: registered(apart) == "parked", SECONDS, "the one that is away to be parked")
    for _ in range(2):
        apart.source.execute("SELECT pg_logical_emit_message(false, 'test', 'an empty segment is not left')")
        apart.source.execute("SELECT pg_switch_wal()")


def has_passed(apart: Replication, lsn: str) -> bool:
    return LSN.parse(slot_row(apart, "confirmed_flush_lsn")) > LSN.parse(lsn)


@contextmanager
def blocked(target: Database, row: int) -> Iterator[None]:
    """Let nobody else write a row into a target, until the end of the block."""
    connection = target.connect()
    connection.autocommit = False
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (%s, 'in the way')", (row,))
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


def stop_at(line: Proxy, step: bytes, side: str) -> list[bytes]:
    """Stop the line at the next such statement; what is returned is empty until then."""
    stopped: list[bytes] = []

    def stop() -> None:
        line.hold(side)  # type: ignore[arg-type]
        stopped.append(step)

    line.on_bytes("to_server", step, stop)
    return stopped


def kill(command: Command, line: Proxy, stopped: list[bytes], is_taken: Callable[[], object]) -> None:
    """Kill the command when it has come to the step, and the server has taken that if it is to."""
    eventually(lambda: stopped, SECONDS, "the step")
    eventually(is_taken, SECONDS, "the server to have taken it")
    command.walsync.sigkill()
    line.cut()
    line.resume()


def goes_on(apart: Replication, command: Command, first: int, copied: frozenset[str] | set[str] = frozenset()) -> None:
    """Change more, and wait until all have everything, and nothing is left; only those named were copied again."""
    insert(apart, first, first + 8)
    [(before,)] = apart.source.execute("SELECT pg_current_wal_lsn()")
    insert(apart, first + 9, first + 9)
    eventually(
        lambda: all(rows(apart, name) == first + 10 for name in apart.targets), SECONDS, "all targets to have all rows"
    )
    for name in apart.targets:
        found = command.until_state(TargetState.STREAMING, name).tables["public.t"].rows
        assert (found is not None) == (name in copied)
    # Not before: who was let go of on the way here may have a hold slot in the making.
    eventually(lambda: has_passed(apart, before), SECONDS, "the main slot to move")
    eventually(lambda: hold(apart) is None, SECONDS, "the hold slot to be dropped")
    command.walsync.terminate()
    assert command.walsync.wait(SECONDS) == 0
    apart.assert_equal(ROWS)
    slots = "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()"
    eventually(lambda: apart.source.execute(slots) == [(apart.slot,)], SECONDS, "no other slot to be left")


def is_done(apart: Replication, step: bytes) -> bool:
    """Tell whether the source has taken a step."""
    if b"replication_slot" in step:
        return (hold(apart) is None) == (b"drop" in step)
    return registered(apart).encode() in step


def is_replaced(apart: Replication, step: bytes, ahead: object) -> bool:
    """Tell whether the hold slot that stood too far ahead is gone, or there is another one."""
    return hold(apart) is None if b"drop" in step else hold(apart) not in {None, ahead}
