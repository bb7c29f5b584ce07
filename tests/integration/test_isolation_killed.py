"""The command, killed at each step of the making and the removal of the hold slot: nothing is lost, nothing is left."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from fix_isolation import ROWS, hold, insert, rows
from fix_proxy import NewLine, Proxy
from fix_replication import SECONDS, Command, Replication, slot_row
from fix_walsync import eventually

from walsync.status import TargetState

MAKING = [b"pg_copy_logical_replication_slot", b"state = 'parked', durable"]
REMOVAL = [b"state = 'registered', durable", b"pg_drop_replication_slot"]
SIDES = ["to_server", "to_client"]
"""Where the line stops: the step was never asked for, or it was taken and the answer is lost."""


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("step", [*MAKING, *REMOVAL], ids=bytes.decode)
def test_a_kill_at_any_step_of_the_hold_slot_loses_nothing(
    apart: Replication,
    away: Proxy,
    line_to: NewLine,
    start_command: Callable[[Replication], Command],
    step: bytes,
    side: str,
) -> None:
    line = line_to(apart.source)
    command = start_command(replace(apart, changes={**apart.changes, "source": {"dsn": line.dsn(apart.source.name)}}))
    for name in apart.targets:
        command.until_state(TargetState.STREAMING, name)
    stopped: list[bytes] = []

    def stop() -> None:
        line.hold(side)  # type: ignore[arg-type]
        stopped.append(step)

    line.on_bytes("to_server", step, stop)
    away.refuse()
    away.cut()
    insert(apart, 1, 300)
    if step in REMOVAL:
        eventually(lambda: rows(apart, "near") == 301 and hold(apart) is not None, SECONDS, "one target to be parked")
        away.accept()
    eventually(lambda: stopped, SECONDS, f"the step {step!r}")
    eventually(lambda: side == "to_server" or is_done(apart, step), SECONDS, "the server to have taken it")
    command.walsync.sigkill()
    line.cut()
    line.resume()
    away.accept()
    command.walsync.start("run")
    insert(apart, 301, 310)
    eventually(lambda: rows(apart, "near") == rows(apart, "far") == 311, SECONDS, "both targets to have all rows")
    eventually(lambda: hold(apart) is None, SECONDS, "the hold slot to be dropped")
    for name in apart.targets:
        assert command.until_state(TargetState.STREAMING, name).tables["public.t"].rows is None
    command.walsync.terminate()
    assert command.walsync.wait(SECONDS) == 0
    apart.assert_equal(ROWS)
    assert apart.source.execute("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()") == [
        (slot_row(apart, "slot_name"),)
    ]


def is_done(apart: Replication, step: bytes) -> bool:
    """Tell whether the source has taken a step."""
    if b"replication_slot" in step:
        return (hold(apart) is None) == (b"drop" in step)
    [(state,)] = apart.source.execute("SELECT state FROM walsync.target WHERE name = 'far'")
    return str(state).encode() in step
