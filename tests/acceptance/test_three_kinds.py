"""The whole promise for targets of all kinds at once, each read back through a plain client."""

import os
from pathlib import Path

import pytest
from acceptance.run import AcceptanceRun
from acceptance.three_kinds import BLOWS, others

SEED = int(os.environ.get("WALSYNC_TEST_SEED", "1"))
LONG = [pytest.param(seed, marks=pytest.mark.long) for seed in range(SEED + 1, SEED + 10)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [SEED, *LONG])
def test_targets_of_all_kinds_equal_the_source_whatever_was_killed_and_nothing_is_left_behind(
    seed: int, tmp_path: Path
) -> None:
    with AcceptanceRun(seed, tmp_path, blows=BLOWS, others=others(tmp_path)) as run:
        outcome = run.run()

    print(outcome, run.output, sep="\n")  # noqa: T201 - shown when the test fails
    assert outcome.differences == []
    assert outcome.leftovers == []
