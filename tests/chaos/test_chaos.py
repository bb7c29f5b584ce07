"""The promise of isolation: whatever comes upon the five targets together, those who can go on, and all end equal."""

import os
from pathlib import Path

import pytest
from chaos.run import ChaosRun

# The short form meets SIGKILL, SIGSTOP and SIGTERM, a source cut in mid-message, a table and a target that go and
# come, a table that is copied again, and targets refused and cut before their commit.
SEED = int(os.environ.get("WALSYNC_TEST_SEED", "12360"))
SHORT, LENGTH = 9, 40
LONG = [pytest.param(seed, LENGTH, 18, marks=pytest.mark.long) for seed in range(1, 21)]
FOUND = [pytest.param(seed, 12, version, marks=pytest.mark.long) for seed, version in ((105, 14), (107, 16))]
"""What has failed once; seeds 2 and 7 are among the long ones. Each find has a test of its own (docs/evidence.md)."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("seed", "length", "version"), [(SEED, SHORT, 18), *LONG, *FOUND])
def test_those_who_can_go_on_do_and_all_five_targets_end_equal(
    seed: int, length: int, version: int, tmp_path: Path
) -> None:
    with ChaosRun(seed, tmp_path, length=length, version=version) as run:
        outcome = run.run()

    print(outcome, run.output, sep="\n")  # noqa: T201 - shown when the test fails
    assert outcome.bound > 0
    assert outcome.differences == []
    assert outcome.leftovers == []
