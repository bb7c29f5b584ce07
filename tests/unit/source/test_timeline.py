from walsync.lsn import LSN
from walsync.source.timeline import Switch, contains, parse

HISTORY = "1\t0/3000000\tno recovery target specified\n\n2\t1/A0000000\tbefore 2026-11-01 00:00:00+00\n"


def test_a_history_file_names_each_ancestor_and_where_it_was_left() -> None:
    assert parse(HISTORY) == (Switch(1, LSN(0x3000000)), Switch(2, LSN(0x1_A0000000)))
    assert parse("") == ()
    assert parse("# a comment\n") == ()


def test_a_position_of_an_ancestor_holds_up_to_its_switch_and_no_further() -> None:
    ancestors = parse(HISTORY)
    assert contains(ancestors, 3, 3, LSN(2**63))
    assert contains(ancestors, 3, 1, LSN(0x3000000))
    assert not contains(ancestors, 3, 1, LSN(0x3000001))
    assert not contains(ancestors, 3, 4, LSN(1))
