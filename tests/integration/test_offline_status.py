"""What `walsync status` says while no instance runs: of the hold slot, and of targets that are parked or released."""

from fix_isolation import insert, park, until_passed
from fix_proxy import Proxy
from fix_replication import Replication

from walsync.cli.offline_status import look
from walsync.status import Status, TargetState


def far(status: Status) -> tuple[str, int | None, bool]:
    """Return why one target is not in step, how much is kept for it, and whether it could be asked."""
    target = next(one for one in status.targets if one.name == "far")
    assert target.state is TargetState.NOT_RUNNING
    return target.reason.partition(":")[0], target.retained_bytes, target.last_error is None


async def test_the_hold_slot_is_shown_and_a_target_that_is_parked_or_released(apart: Replication, away: Proxy) -> None:
    async with apart.running() as running:
        await running.until_streaming()
        await park(apart, running, away, last=300)
        await until_passed(apart, running)
    status = await look(apart.config)
    assert far(status) == ("parked", None, False)
    hold = status.source.hold
    assert hold is not None
    assert hold.slot == f"{apart.slot}_hold"
    assert hold.confirmed_flush_lsn is not None
    assert status.source.confirmed_flush_lsn is not None
    assert hold.confirmed_flush_lsn < status.source.confirmed_flush_lsn
    assert (hold.retained_bytes or 0) > 300_000
    away.accept()
    status = await look(apart.config)
    near = next(one for one in status.targets if one.name == "near")
    reason, retained, is_reached = far(status)
    assert (reason, is_reached) == ("parked", True)
    assert (retained or 0) > 300_000 > (near.retained_bytes or 0)
    assert near.reason == ""
    apart.source.execute("UPDATE walsync.target SET state = 'released' WHERE name = 'far'")
    assert far(await look(apart.config)) == ("released", 0, True)
    await apart.catch_up()
    insert(apart, 301, 301)
    status = await look(apart.config)
    assert status.source.hold is None
    reason, retained, _ = far(status)
    assert reason == ""
    assert (retained or 0) > 0
