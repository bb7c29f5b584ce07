"""The whole promise on real servers: whatever dies, and whenever, the target ends up equal to the source."""

import os
from pathlib import Path

import pytest
from acceptance.run import AcceptanceRun
from fix_engines import VERSIONS

SEED = int(os.environ.get("WALSYNC_TEST_SEED", "1"))
NEWEST = max(VERSIONS)
LONG = [
    *(pytest.param(NEWEST, seed, marks=pytest.mark.long) for seed in range(SEED + 1, SEED + 20)),
    *(
        pytest.param(version, seed, marks=pytest.mark.long)
        for version in VERSIONS[:-1]
        for seed in range(SEED, SEED + 3)
    ),
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("version", "seed"), [(NEWEST, SEED), *LONG])
def test_every_table_equals_the_source_whatever_was_killed_and_nothing_is_left_behind(
    version: int, seed: int, tmp_path: Path
) -> None:
    with AcceptanceRun(seed, tmp_path, version=version) as run:
        outcome = run.run()

    print(outcome, run.output, sep="\n")  # noqa: T201 - shown when the test fails
    assert outcome.differences == []
    assert outcome.leftovers == []
