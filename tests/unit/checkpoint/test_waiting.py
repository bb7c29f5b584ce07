from walsync.checkpoint.waiting import ROOM_BYTES, Waiting
from walsync.lsn import LSN

FAR = LSN(1000)
AHEAD = LSN(FAR + ROOM_BYTES + 1)


def test_who_stands_still_far_behind_at_two_looks_in_a_row_is_waited_for_no_longer() -> None:
    waiting = Waiting()
    assert waiting.look({"far": FAR, "near": AHEAD}, 0) == []
    assert waiting.look({"far": FAR, "near": AHEAD}, 0) == ["far"]


def test_who_moves_is_left_to_the_backlog_however_far_behind() -> None:
    waiting = Waiting()
    for step in range(5):
        assert waiting.look({"slow": LSN(FAR + step), "near": LSN(10 * AHEAD)}, 0) == []


def test_a_look_at_which_it_was_near_begins_anew() -> None:
    waiting = Waiting()
    waiting.look({"far": FAR, "near": AHEAD}, 0)
    assert waiting.look({"far": FAR, "near": LSN(AHEAD - 1)}, 0) == []
    assert waiting.look({"far": FAR, "near": AHEAD}, 0) == []


def test_the_one_furthest_ahead_is_waited_for_and_so_is_who_is_near_it() -> None:
    waiting = Waiting()
    for _ in range(2):
        assert waiting.look({"one": FAR}, 0) == []
        assert waiting.look({"one": AHEAD, "other": LSN(FAR + 1), "third": AHEAD}, 0) == []
        assert waiting.look({}, 0) == []


def test_a_larger_backlog_waits_for_longer() -> None:
    waiting = Waiting()
    for _ in range(3):
        assert waiting.look({"far": FAR, "near": AHEAD}, ROOM_BYTES + 1) == []
    assert waiting.look({"far": FAR, "near": LSN(AHEAD + 1)}, ROOM_BYTES + 1) == []
    assert waiting.look({"far": FAR, "near": LSN(AHEAD + 1)}, ROOM_BYTES + 1) == ["far"]
