"""On 2.x no program makes a savepoint, or a record written twice may keep the first write (docs/adr/0014)."""

import pytest

from walsync.target.surrealdb import statements

PARTS = [
    *("moves", "compared_moves", "edge_moves", "truncated", "emptied", "held", "deleted"),
    *("filled", "compared_filled", "rows", "compared", "edge_filled", "edges"),
]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("step", [0, 1])
def test_no_part_of_a_batch_has_an_upsert(part: str, step: int) -> None:
    steps: list[list[str]] = [*([[]] * step), [part]]
    assert statements.write(steps, 2).count("UPSERT") == 0
    assert len(statements.apply(steps, 2)) > step


@pytest.mark.parametrize(
    "program",
    [
        *(statements.REGISTER, statements.CLAIM, statements.FORGET, statements.STORE_STATE),
        *(statements.CLEAR_STAGE, statements.CLEAR_STAGES, statements.STAGE_ROWS, statements.prepare([])),
        *(statements.copy_rows(edges=edges) for edges in (False, True)),
        *(statements.switch(neighbours, edges=edges) for neighbours in (0, 2) for edges in (False, True)),
    ],
)
def test_no_other_program_that_commits_has_one(program: str) -> None:
    assert "COMMIT" in program
    assert "UPSERT" not in program
