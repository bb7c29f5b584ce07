"""An acceptance run over targets behind servers, whose lines are cut, held and slow as long as blows fall.

The first blows meet their first copies; then these may end, so that what follows meets every target in the stream.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple, Protocol, Self
from urllib.request import urlopen

from acceptance.pace import Pace
from acceptance.reading import Place
from acceptance.run import AcceptanceRun, Outcome
from acceptance.three_kinds import BLOWS
from fix_proxy import Proxy
from fix_walsync import eventually

COPY_SECONDS = 120
STEP_SECONDS = 60
ANSWER_SECONDS = 10


class ServedPlace(Place, Protocol):
    """A target behind a server, which can be asked while walsync runs."""

    def position(self) -> object:
        """Return how far it is; there is something of it since its first copy."""
        ...


class Line(NamedTuple):
    """A target, and the proxy by which walsync reaches it."""

    place: ServedPlace
    proxy: Proxy
    calm_seconds: float = 2.5
    """The longest time between two troubles."""


Serve = Callable[[ExitStack, Path], Sequence[Line]]
"""Starts servers in a folder, which the stack ends, and puts proxies in front of them."""


@dataclass
class TroubledOutcome(Outcome):
    """What a run came to; `troubles` say what its lines went through."""

    troubles: Sequence["Trouble"] = ()

    def __str__(self) -> str:
        return f"{super().__str__()}; {'; '.join(map(str, self.troubles))}"


class TroubledRun(AcceptanceRun):
    """Has the targets behind the lines that `serve` makes, besides the Postgres replica."""

    rate = 30.0
    """Fewer transactions than elsewhere: what a line is cut off from has to catch up between two blows."""

    def __init__(self, seed: int, folder: Path, serve: Serve, *, version: int = 18) -> None:
        super().__init__(seed, folder, version=version, blows=BLOWS)
        self._serve = serve
        self._troubles: list[Trouble] = []

    def __enter__(self) -> Self:
        super().__enter__()
        lines = self._serve(self._stack, self._folder)
        self._others = [line.place for line in lines]
        self._troubles = [Trouble(line, Random(f"{self.seed} {line.place.name}")) for line in lines]
        return self

    def run(self) -> TroubledOutcome:
        """Make the tables, let everything happen, and compare."""
        found = super().run()
        return TroubledOutcome(**vars(found), troubles=self._troubles)

    def _strike(self, pace: Pace) -> None:
        with ExitStack() as self._trouble:
            self._begin(is_copied=False)
            super()._strike(pace)
            eventually(self._has_every_target_got_on, STEP_SECONDS, "every target to get on between two troubles")

    def _let_copies_end(self) -> None:
        self._trouble.close()
        eventually(self._is_ready, COPY_SECONDS, "all targets to stream")
        self._begin(is_copied=True)

    def _is_ready(self) -> bool:
        """Tell whether all targets stream."""
        try:
            with urlopen(f"http://{self._address}/ready", timeout=ANSWER_SECONDS):
                return True
        except OSError:  # an answer of 503 too
            return False

    def _has_every_target_got_on(self) -> bool:
        return all(trouble.steps for trouble in self._troubles)

    def _begin(self, *, is_copied: bool) -> None:
        for trouble in self._troubles:
            self._trouble.callback(trouble.begin(is_copied=is_copied))

    def _progress(self) -> object:
        super()._progress()
        # One after the other is waited for: not only the fastest is to get something done between two blows.
        return self._troubles[self._happened.total() % len(self._troubles)].line.place.position()


class Trouble:
    """Cuts, holds and delays a line at random moments, and counts what it did and how often the target got on."""

    def __init__(self, line: Line, random: Random) -> None:
        self.line = line
        self.cuts = 0
        self.steps = 0
        """How often the target was found further than before, between two troubles after its first copy."""
        self._random = random

    def __str__(self) -> str:
        return f"{self.line.place.name}: {self.cuts} cuts, {self.steps} steps"

    def begin(self, *, is_copied: bool) -> Callable[[], None]:
        """Make trouble until what is returned is called."""
        ended = threading.Event()
        thread = threading.Thread(target=self._run, args=(ended,), kwargs={"is_copied": is_copied}, daemon=True)
        thread.start()

        def end() -> None:
            ended.set()
            thread.join()

        return end

    def _run(self, ended: threading.Event, *, is_copied: bool) -> None:
        before = self.line.place.position() if is_copied else None
        while not ended.wait(self._random.uniform(0.1, self.line.calm_seconds)):
            self._make(ended)
            if is_copied:
                position = self.line.place.position()
                self.steps += position != before
                before = position

    def _make(self, ended: threading.Event) -> None:
        proxy = self.line.proxy
        kind = self._random.randrange(4)
        self.cuts += kind > 0
        match kind:
            case 0:  # a line that is slow
                proxy.hold(self._random.choice(("to_server", "to_client")))
                ended.wait(self._random.uniform(0, 0.5))
                proxy.resume()
            case 1:
                proxy.cut()
            case 2:  # a request that arrives, and whose answer does not
                proxy.hold("to_client")
                ended.wait(self._random.uniform(0, 0.3))
                proxy.cut()
                proxy.resume()
            case _:  # the end in the middle of a request or an answer
                proxy.cut_after(self._random.randrange(1, 20_000), self._random.choice(("to_server", "to_client")))
