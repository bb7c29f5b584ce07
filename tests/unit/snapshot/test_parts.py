"""The parts of a table: together they are every block once, whatever the size has become meanwhile."""

from hypothesis import given
from hypothesis import strategies as st

from walsync.snapshot.parts import Part, Relation, divide


@given(st.lists(st.integers(0, 200), max_size=4), st.integers(1, 50), st.integers(0, 10**6))
def test_every_block_is_in_one_part(sizes: list[int], part_blocks: int, block: int) -> None:
    parts = divide([Relation(str(number), size) for number, size in enumerate(sizes)], part_blocks)
    for number in range(len(sizes)):
        holding = [
            part
            for part in parts
            if part.relation == str(number)
            and (part.first is None or part.first <= block)
            and (part.end is None or block < part.end)
        ]
        assert len(holding) == 1


def test_a_small_table_is_read_as_a_whole() -> None:
    assert divide([Relation("small", 10)], 10) == [Part("small")]
    assert divide([Relation("empty", 0)], 10) == [Part("empty")]


def test_the_last_part_has_no_end() -> None:
    assert divide([Relation("t", 21)], 10) == [Part("t", None, 10), Part("t", 10, 20), Part("t", 20, None)]
