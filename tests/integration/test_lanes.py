"""The streams on which targets catch up: shared by those that stand alike, and no more of them than are allowed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count

import pytest
from fix_isolation import ROWS, hold, insert, park, rows, until_dropped
from fix_postgres import Database, Server
from fix_proxy import NewLine, Proxy
from fix_replication import SECONDS, Command, Replication, checkpoint, locked
from fix_walsync import eventually

from walsync import catch_up
from walsync.status import TargetState

BOTH = ("far", "other")
LANES = """
    SELECT count(*) FROM pg_replication_slots
    WHERE temporary AND database = current_database() AND slot_name LIKE '%\\_catch\\_%'
"""
KEPT = "SELECT count(*) FROM walsync.target WHERE state = 'parked' AND name = ANY (%s)"


@pytest.fixture
def away_too(other: Database, line_to: NewLine) -> Proxy:
    """Return the way to another target that can be closed."""
    return line_to(other)


@pytest.fixture
def other(target_server: Server, new_database: Callable[[Server], Database]) -> Database:
    return new_database(target_server)


@pytest.fixture
def three(apart: Replication, other: Database, away_too: Proxy) -> Replication:
    """Three targets, two of them behind proxies, and one stream to catch up on."""
    return replace(
        apart,
        targets={**apart.targets, "other": other},
        proxied={**apart.proxied, "other": away_too.dsn(other.name)},
        changes={"backlog": {"max_bytes": "64kB", "catch_up_streams": 1}},
    )


def test_targets_that_come_back_together_share_the_only_stream(
    three: Replication, away: Proxy, away_too: Proxy, start_command: Callable[[Replication], Command]
) -> None:
    command = start_command(three)
    command.until_streaming(three.targets)
    numbers = count(1)
    eventually(lambda: are_level(three, next(numbers)), SECONDS, "both to stand at the same position")
    last = next(numbers)
    for way in (away, away_too):
        way.go_away()
    insert(three, last, last + 300)
    until_kept(three, *BOTH)
    before = len(readers(command))
    with both_locked(three):
        for way in (away, away_too):
            way.accept()
        # The second may find the stream while the first still opens it.
        shared = lambda: command.log("catching_up_together") and readers(command)[before:]  # noqa: E731
        eventually(shared, SECONDS, "the second to find the stream of the first")
        [alone], [together] = command.log("catching_up")[before:], command.log("catching_up_together")
        assert {alone["target"], together["target"]} == set(BOTH)
        assert alone["lsn"] == together["lsn"]
        assert lanes(three) == 1
    end(command, three)


def test_targets_that_stand_apart_take_turns_on_the_only_stream(
    three: Replication, away: Proxy, away_too: Proxy, start_command: Callable[[Replication], Command]
) -> None:
    command = start_command(three)
    command.until_streaming(three.targets)
    away.go_away()
    insert(three, 1, 300)
    until_kept(three, "far")
    eventually(lambda: rows(three, "other") == 301, SECONDS, "the one that goes away later to have all rows")
    away_too.go_away()
    insert(three, 301, 600)
    eventually(lambda: rows(three, "near") == 601, SECONDS, "the one that stays to have all rows")
    until_kept(three, "other")
    before = len(readers(command))
    with both_locked(three):
        away_too.accept()
        eventually(lambda: readers(command)[before:] == ["other"], SECONDS, "the one ahead to read on its own")
        away.accept()
        eventually(lambda: waits_for_its_turn(command, "far"), SECONDS, "the one behind, whom that passed, to wait")
        for row in range(601, 621):
            insert(three, row, row)
            eventually(lambda row=row: rows(three, "near") == row + 1, SECONDS, "the one that streams to have it")  # type: ignore[misc]
            assert lanes(three) == 1
        assert readers(command)[before:] == ["other"]
    end(command, three)
    assert "far" in readers(command)[before:]


async def test_who_hangs_on_the_only_stream_makes_room_for_who_waits(
    three: Replication, away: Proxy, away_too: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up, "_LOOK_SECONDS", 0.2)
    monkeypatch.setattr(catch_up, "_STILL_SECONDS", 1.0)
    async with three.running() as running:
        await running.until_streaming()
        away_too.go_away()
        insert(three, 1, 300)
        await running.until(lambda: running.state("other") is TargetState.PARKED, "the first to be parked")
        await running.until(lambda: rows(three, "far") == 301, "the second to have all so far")
        await park(three, running, away, first=301, last=600)
        with locked(three.targets["far"], "t"):
            away.accept()
            await running.until(lambda: running.state("far") is TargetState.CATCHING_UP, "one to read on its own")
            away_too.accept()
            await running.until(lambda: running.state("other") is TargetState.STREAMING, "who waited for it to stream")
            assert running.state("far") is TargetState.PARKED
            assert "hangs" in running.progress("far").life.reason
        await running.until_streaming()
        await running.caught_up()
        await until_dropped(three, running)
    three.assert_equal(ROWS)


def until_kept(three: Replication, *names: str) -> None:
    """Wait until the hold slot keeps what these lack."""
    eventually(
        lambda: three.source.execute(KEPT, list(names)) == [(len(names),)],
        SECONDS,
        "what they lack to be kept",
    )


def readers(command: Command) -> list[str]:
    """Tell for whom streams were opened, in order."""
    return [str(line["target"]) for line in command.log("catching_up")]


def waits_for_its_turn(command: Command, name: str) -> bool:
    """Tell whether a target is there, and parked all the same."""
    target = command.target(name)
    return target is not None and target.state is TargetState.PARKED and target.last_error is None


def lanes(three: Replication) -> int:
    return int(three.source.execute(LANES)[0][0])


@contextmanager
def both_locked(three: Replication) -> Iterator[None]:
    """Let neither of the two take a row until the end of the block."""
    with ExitStack() as stack:
        for name in BOTH:
            stack.enter_context(locked(three.targets[name], "t"))
        yield


def end(command: Command, three: Replication) -> None:
    """Wait until all stream, and compare them."""
    command.until_streaming(three.targets)
    eventually(lambda: hold(three) is None, SECONDS, "the hold slot to be dropped")
    command.walsync.terminate()
    assert command.walsync.wait(SECONDS) == 0
    three.assert_equal(ROWS)
    eventually(lambda: lanes(three) == 0, SECONDS, "the server to have dropped the streams' slots")


def are_level(three: Replication, row: int) -> bool:
    """Change one more row, and tell whether two targets have it in a batch of the same end."""
    insert(three, row, row)
    eventually(lambda: {rows(three, name) for name in three.targets} == {row + 1}, SECONDS, "all to have the row")
    return checkpoint(three.targets["far"]) == checkpoint(three.targets["other"])
