"""The whole promise for targets behind servers: lines are cut, held and slow, while walsync is killed."""

import os
from pathlib import Path

import pytest
from acceptance.served import SERVED
from acceptance.troubled import TroubledRun
from fix_rest_api import TOKEN
from fix_workerd import SECRET

SEED = int(os.environ.get("WALSYNC_TEST_SEED", "1"))
LONG = [pytest.param(seed, marks=pytest.mark.long) for seed in range(SEED + 1, SEED + 6)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", SERVED)
@pytest.mark.parametrize("seed", [SEED, *LONG])
def test_servers_equal_the_source_whatever_was_killed_cut_and_held(kind: str, seed: int, tmp_path: Path) -> None:
    with TroubledRun(seed, tmp_path, SERVED[kind]) as run:
        outcome = run.run()
    print(outcome, run.output, sep="\n")  # noqa: T201 - shown when it fails
    assert all(trouble.cuts for trouble in outcome.troubles)
    assert outcome.differences == []
    assert outcome.leftovers == []
    said = "".join((tmp_path / name).read_text() for name in ("stdout", "stderr"))
    assert SECRET not in said
    assert TOKEN not in said
