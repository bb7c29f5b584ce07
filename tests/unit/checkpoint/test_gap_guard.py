from dataclasses import replace
from uuid import UUID

import pytest

from walsync.checkpoint.gap_guard import Register, Resume, SourcePosition, decide
from walsync.checkpoint.registry import Registration, RegistrationState
from walsync.errors import TargetRefused
from walsync.lsn import LSN
from walsync.source.timeline import Switch
from walsync.target.base import Checkpoint

ID, OTHER_ID = UUID(int=1), UUID(int=2)
SOURCE = SourcePosition("777", 2, (Switch(1, LSN(1000)),), confirmed_flush=LSN(500), wal_end=LSN(2000))


def registered(state: RegistrationState = RegistrationState.REGISTERED) -> Registration:
    return Registration(ID, "replica", "postgres", LSN(100), state)


def at(lsn: int, *, id_: UUID = ID, system: str = "777", timeline: int = 2) -> Checkpoint:
    return Checkpoint(id_, system, timeline, 9, LSN(lsn))


def refusal(registration: Registration | None, checkpoint: Checkpoint | None) -> TargetRefused:
    with pytest.raises(TargetRefused) as caught:
        decide("replica", registration, checkpoint, SOURCE)
    assert "walsync drop --target replica" in caught.value.hint
    return caught.value


def test_a_target_that_nobody_knows_is_new() -> None:
    assert decide("replica", None, None, SOURCE) == Register()


def test_a_registration_that_a_crash_cut_short_is_taken_up_again() -> None:
    assert decide("replica", registered(RegistrationState.REGISTERING), None, SOURCE) == Register()
    assert decide("replica", registered(RegistrationState.REGISTERING), at(500), SOURCE) == Resume()


@pytest.mark.parametrize("lsn", [500, 501, 2000])
def test_a_checkpoint_that_the_slot_still_covers_is_resumed(lsn: int) -> None:
    assert decide("replica", registered(), at(lsn), SOURCE) == Resume()


def test_a_slot_that_moved_past_the_checkpoint_is_a_gap() -> None:
    assert refusal(registered(), at(499)).code == "WS5001"


def test_another_id_under_a_known_name_is_refused() -> None:
    assert refusal(registered(), at(600, id_=OTHER_ID)).code == "WS5002"


def test_a_registered_target_without_a_checkpoint_was_wiped() -> None:
    assert refusal(registered(), None).code == "WS5003"


def test_a_checkpoint_that_the_registry_does_not_know_is_refused() -> None:
    assert refusal(None, at(600)).code == "WS5004"


@pytest.mark.parametrize("registration", [None, registered()])
def test_a_checkpoint_of_another_cluster_is_refused_whatever_the_registry_says(
    registration: Registration | None,
) -> None:
    assert refusal(registration, at(600, system="778")).code == "WS5005"


def test_an_older_timeline_is_fine_up_to_the_point_where_it_was_left() -> None:
    assert decide("replica", registered(), at(1000, timeline=1), SOURCE) == Resume()
    assert refusal(registered(), at(1001, timeline=1)).code == "WS5006"
    assert refusal(registered(), at(600, timeline=3)).code == "WS5006"


def test_a_part_of_a_transaction_that_a_failover_lost_is_a_gap() -> None:
    below = at(900, timeline=1)
    assert decide("replica", registered(), replace(below, begun=LSN(1000)), SOURCE) == Resume()
    assert refusal(registered(), replace(below, begun=LSN(1001))).code == "WS5006"


def test_a_checkpoint_ahead_of_the_source_means_that_the_source_went_back() -> None:
    assert refusal(registered(), at(2001)).code == "WS5007"


def test_a_table_that_was_copied_ahead_of_the_checkpoint_is_looked_at_too() -> None:
    here = at(900, timeline=1)
    assert decide("replica", registered(), here, SOURCE, [LSN(1000)]) == Resume()
    for position in (1001, 2001):
        with pytest.raises(TargetRefused, match="left at 0/3E8") as caught:
            decide("replica", registered(), here, SOURCE, [LSN(800), LSN(position)])
        assert caught.value.code == "WS5006"
    with pytest.raises(TargetRefused) as ahead:
        decide("replica", registered(), at(900), SOURCE, [LSN(2001)])
    assert ahead.value.code == "WS5007"


def test_a_timeline_that_the_history_does_not_name_is_said_to_be_unknown() -> None:
    assert "no ancestor of it" in refusal(registered(), at(600, timeline=3)).message
