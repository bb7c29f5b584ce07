"""The whole promise for SurrealDB servers behind a line that is cut, held and slow, while walsync is killed."""

import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
from acceptance.pace import Pace
from acceptance.reading_surrealdb import SurrealDBServed
from acceptance.run import AcceptanceRun
from acceptance.three_kinds import BLOWS, EVERYTHING
from fix_proxy import Proxy
from fix_surrealdb import VERSIONS, SurrealServer

SEED = int(os.environ.get("WALSYNC_TEST_SEED", "1"))
LONG = [pytest.param(seed, marks=pytest.mark.long) for seed in range(SEED + 1, SEED + 6)]


class Trouble:
    """Cuts, holds and delays a line at random moments."""

    def __init__(self, proxy: Proxy, random: Random) -> None:
        self._proxy = proxy
        self._random = random
        self._ended = threading.Event()
        self.cuts = 0

    def run(self) -> None:
        while not self._ended.wait(self._random.uniform(0.05, 1.5)):
            match self._random.randrange(4):
                case 0:
                    self._proxy.cut()
                    self.cuts += 1
                case 1:  # a request that arrives, and whose answer does not
                    self._proxy.hold("to_client")
                    self._ended.wait(self._random.uniform(0, 0.3))
                    self._proxy.cut()
                    self._proxy.resume()
                    self.cuts += 1
                case 2:  # a line that is slow
                    self._proxy.hold(self._random.choice(("to_server", "to_client")))
                    self._ended.wait(self._random.uniform(0, 0.5))
                    self._proxy.resume()
                case _:  # the end in the middle of a request or an answer
                    self._proxy.cut_after(
                        self._random.randrange(1, 20_000), self._random.choice(("to_server", "to_client"))
                    )
                    self.cuts += 1

    def end(self) -> None:
        self._ended.set()


class TroubledRun(AcceptanceRun):
    """Troubles the lines of its other targets as long as blows fall."""

    troubles: Sequence[Trouble] = ()

    def _strike(self, pace: Pace) -> None:
        threads = [threading.Thread(target=trouble.run, daemon=True) for trouble in self.troubles]
        for thread in threads:
            thread.start()
        try:
            super()._strike(pace)
        finally:
            for trouble, thread in zip(self.troubles, threads, strict=True):
                trouble.end()
                thread.join()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [SEED, *LONG])
def test_servers_equal_the_source_whatever_was_killed_cut_and_held(seed: int, tmp_path: Path) -> None:
    with ExitStack() as stack:
        places, troubles = [], []
        for number, version in enumerate(VERSIONS):
            server = stack.enter_context(SurrealServer(version, tmp_path / f"surrealdb{number}"))
            proxy = stack.enter_context(Proxy(server.host, server.port))
            name = f"graph{number}"
            places.append(SurrealDBServed(name, tmp_path / name, EVERYTHING, server=server, port=proxy.port))
            troubles.append(Trouble(proxy, Random(f"{seed} {version}")))
        run = stack.enter_context(TroubledRun(seed, tmp_path, blows=BLOWS, others=places))
        run.troubles = troubles
        outcome = run.run()
    print(outcome, [trouble.cuts for trouble in troubles], run.output, sep="\n")  # noqa: T201 - shown when it fails
    assert all(trouble.cuts for trouble in troubles)
    assert outcome.differences == []
    assert outcome.leftovers == []
