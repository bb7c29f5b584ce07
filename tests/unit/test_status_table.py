from rich.console import Console

from walsync.cli.status_table import render
from walsync.lsn import LSN
from walsync.status import HoldStatus, LastError, SourceState, SourceStatus, Status, TargetState, TargetStatus


def drawn(source: SourceStatus, *targets: TargetStatus) -> list[str]:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(render(Status(source, targets)))
    return [line.rstrip() for line in capture.get().splitlines()]


def source(hold: HoldStatus | None = None) -> SourceStatus:
    return SourceStatus("walsync", SourceState.STREAMING, hold=hold)


def target(state: TargetState, error: LastError | None = None) -> TargetStatus:
    return TargetStatus("far", "postgres", state, reason="reads on its own [from] 0/5", last_error=error)


def test_the_hold_slot_has_a_line_while_there_is_one() -> None:
    held = drawn(source(HoldStatus("walsync_hold", LSN(5), 2048, "reserved")))
    assert held[1] == "hold slot walsync_hold: 2.0 kB of WAL kept for targets that are away"
    assert not [line for line in drawn(source()) if "hold" in line]


def test_a_hold_slot_that_loses_its_wal_says_so() -> None:
    held = drawn(source(HoldStatus("walsync_hold", LSN(5), None, "unreserved")))
    assert held[1] == "hold slot walsync_hold: - of WAL kept for targets that are away, wal_status unreserved"


def test_a_target_that_does_not_stream_says_why_in_one_line() -> None:
    assert drawn(source(), target(TargetState.CATCHING_UP))[-1] == "far: reads on its own [from] 0/5"
    assert not [line for line in drawn(source(), target(TargetState.STREAMING)) if "on its own" in line]


def test_an_error_is_told_with_its_hint_and_not_twice() -> None:
    lines = drawn(source(), target(TargetState.PARKED, LastError("WS2404", "no slot is free", "drop one")))
    assert lines[-2:] == ["far: WS2404 no slot is free", "  hint: drop one"]
    assert not [line for line in lines if "on its own" in line]
