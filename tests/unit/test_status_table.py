from dataclasses import replace

import pytest
from rich.console import Console

from walsync.cli.status_table import human_seconds, render
from walsync.lsn import LSN
from walsync.status import (
    LastError,
    SlotRoom,
    SlotStatus,
    SourceState,
    SourceStatus,
    Status,
    TableProgress,
    TableStatus,
    TargetState,
    TargetStatus,
)


def drawn(source: SourceStatus, *targets: TargetStatus) -> list[str]:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(render(Status(source, targets)))
    return [line.rstrip() for line in capture.get().splitlines()]


def source(hold: SlotStatus | None = None) -> SourceStatus:
    return SourceStatus("walsync", SourceState.STREAMING, hold=hold)


def target(state: TargetState, error: LastError | None = None) -> TargetStatus:
    return TargetStatus("far", "postgres", state, reason="reads on its own [from] 0/5", last_error=error)


def test_the_hold_slot_has_a_line_while_there_is_one() -> None:
    held = drawn(source(SlotStatus("walsync_hold", LSN(5), 2048, "reserved")))
    assert held[1] == "hold slot walsync_hold: 2.0 kB of WAL kept for targets that are away"
    assert not [line for line in drawn(source()) if "hold" in line]


def test_a_hold_slot_that_loses_its_wal_says_so() -> None:
    held = drawn(source(SlotStatus("walsync_hold", LSN(5), None, "unreserved")))
    assert held[1] == "hold slot walsync_hold: - of WAL kept for targets that are away, wal_status unreserved"


def test_how_fast_a_slot_grows_and_when_the_server_takes_its_wal_stand_beside_it() -> None:
    room = SlotRoom(2**30, 2048.0, 9000.0)
    lines = drawn(SourceStatus("walsync", SourceState.STREAMING, retained_bytes=1024, room=room, hold=SlotStatus("h")))
    assert lines[0].endswith(", 1.0 kB of WAL kept (+2.0 kB/s), max_slot_wal_keep_size in 2 h")
    falling = drawn(source(SlotStatus("h", LSN(5), 1024, "reserved", SlotRoom(None, -5120.0))))
    assert falling[1] == "hold slot h: 1.0 kB of WAL kept for targets that are away (-5.0 kB/s)"


@pytest.mark.parametrize(
    ("seconds", "written"), [(0.0, "0 s"), (119.0, "119 s"), (120.0, "2 min"), (7200.0, "2 h"), (180000.0, "2 days")]
)
def test_a_time_to_come_is_written_in_one_unit(seconds: float, written: str) -> None:
    assert human_seconds(seconds) == written


def test_what_is_kept_for_a_target_and_a_warning_are_shown() -> None:
    warning = LastError("WS2501", "the source keeps much", "mend it")
    far = replace(target(TargetState.STREAMING), retained_bytes=2048, warning=warning)
    lines = drawn(source(), far)
    assert "2.0 kB" in lines[2]
    assert lines[-2:] == ["far: WS2501 the source keeps much", "  hint: mend it"]


@pytest.mark.parametrize(
    ("table", "written"),
    [
        (TableStatus(TableProgress.COPYING), ""),
        (TableStatus(TableProgress.COPYING, rows=1200, bytes=2048), ", 1,200 rows, 2.0 kB"),
        (
            TableStatus(TableProgress.COPYING, rows=1200, bytes=2048, total_rows=4800, eta_seconds=36.4),
            ", 1,200 of about 4,800 rows, 2.0 kB, about 36 s to go",
        ),
    ],
)
def test_a_copy_shows_how_far_it_is_as_far_as_that_is_known(table: TableStatus, written: str) -> None:
    lines = drawn(source(), replace(target(TargetState.SNAPSHOT), tables={"public.t": table}))
    assert lines[-1] == f"far: copying public.t{written}"


def test_a_target_that_does_not_stream_says_why_in_one_line() -> None:
    assert drawn(source(), target(TargetState.CATCHING_UP))[-1] == "far: reads on its own [from] 0/5"
    assert not [line for line in drawn(source(), target(TargetState.STREAMING)) if "on its own" in line]


def test_an_error_is_told_with_its_hint_and_not_twice() -> None:
    lines = drawn(source(), target(TargetState.PARKED, LastError("WS2404", "no slot is free", "drop one")))
    assert lines[-2:] == ["far: WS2404 no slot is free", "  hint: drop one"]
    assert not [line for line in lines if "on its own" in line]
