"""What the demo knows of the running walsync: what its /status and /metrics say, and nothing else.

The counters of a process begin at 0; those of the processes that were killed are added.
"""

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from walsync.lsn import LSN
from walsync.status import Status, TableProgress, TargetState, TargetStatus

_ANSWER_SECONDS: Final = 5.0
_RATE_SECONDS: Final = 1.0
"""Changes per second are those of the last second."""

AWAY: Final = "no answer"


@dataclass
class Sight:
    """A target as it was when last seen; `position` is how far it has everything, in the source's WAL."""

    name: str
    type: str = ""
    state: str = str(TargetState.STARTING)
    position: LSN | None = None
    lag_bytes: int | None = None
    lag_seconds: float | None = None
    longest_lag_seconds: float = 0.0
    tables: int = 0
    copied: frozenset[str] = frozenset()
    """The tables that are complete."""

    copied_rows: int = 0
    copied_by_this_process: int = 0
    """Rows."""

    copy_seconds: float = 0.0
    counters: Counter[str] = field(default_factory=Counter)
    """Of all processes so far: `changes` and `batches`."""

    delays: Counter[float] = field(default_factory=Counter)
    """Batches by the upper bound, in seconds, of how long after its commit their oldest transaction was durable."""

    _changes: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def is_streaming(self) -> bool:
        """Whether it follows the stream."""
        return self.state == TargetState.STREAMING

    @property
    def changes_per_second(self) -> float:
        """Return the changes made durable in the last second."""
        if len(self._changes) < 2:  # noqa: PLR2004 - a rate has two ends
            return 0.0
        (began, before), (ended, after) = self._changes[0], self._changes[-1]
        return (after - before) / (ended - began)

    def count_moment(self, now: float) -> None:
        """Note how many changes there are by now."""
        self._changes.append((now, self.counters["changes"]))
        while len(self._changes) > 2 and self._changes[1][0] <= now - _RATE_SECONDS:  # noqa: PLR2004 - as above
            self._changes.popleft()

    def delay(self, share: float) -> float | None:
        """Return the delay in seconds that a share of the batches kept, as PromQL's histogram_quantile has it.

        Within a bucket that ends above the longest lag that was seen, it lies below that.
        """
        rank, below, lower = share * self.delays.total(), 0, 0.0
        for bound in sorted(self.delays):
            within = self.delays[bound]
            if below + within >= rank and within:
                upper = min(bound, max(lower, self.longest_lag_seconds))
                return lower + (upper - lower) * (rank - below) / within
            below, lower = below + within, bound
        return None


class Watch:
    """Looks at one walsync after the other at one address."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.targets: dict[str, Sight] = {}
        self._earlier: dict[str, tuple[Counter[str], Counter[float]]] = {}
        self._copying_since: dict[str, float] = {}

    def look(self) -> bool:
        """See how everything is now; False when nobody answers."""
        try:
            status = Status.from_json(self._get("/status"))
            metrics = self._get("/metrics").decode()
        except (URLError, OSError, HTTPException):
            for sight in self.targets.values():
                sight.state, sight.lag_bytes, sight.lag_seconds = AWAY, None, None
                sight.count_moment(time.monotonic())
            return False
        for target in status.targets:
            self._see(self.targets.setdefault(target.name, Sight(target.name)), target, status.source.wal_end_lsn)
        self._count(metrics)
        return True

    def begin_process(self) -> None:
        """Say that the counters seen from now on are another process's."""
        self._earlier = {name: (sight.counters.copy(), sight.delays.copy()) for name, sight in self.targets.items()}

    def hindmost(self) -> tuple[int, int]:
        """Return how far every target is at least, in WAL and in copied rows: it stands still when one does."""
        sights = self.targets.values()
        return (
            min((sight.position or 0 for sight in sights), default=0),
            min((sight.copied_rows for sight in sights), default=0),
        )

    def all_stream(self) -> bool:
        """Whether every target follows the stream."""
        return bool(self.targets) and all(sight.is_streaming for sight in self.targets.values())

    def all_have(self, goal: LSN) -> bool:
        """Whether every target follows the stream and has what was committed below `goal`."""
        return self.all_stream() and all((sight.position or 0) >= goal for sight in self.targets.values())

    def _get(self, path: str) -> bytes:
        with urlopen(self.url + path, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 - our own address
            content: bytes = answer.read()
        return content

    def _see(self, sight: Sight, target: TargetStatus, wal_end: LSN | None) -> None:
        now = time.monotonic()
        sight.type, sight.state = target.type, str(target.state)
        sight.lag_bytes, sight.lag_seconds = target.lag_bytes, target.lag_seconds
        sight.longest_lag_seconds = max(sight.longest_lag_seconds, target.lag_seconds or 0.0)
        if wal_end is not None and target.lag_bytes is not None:
            sight.position = LSN(wal_end - target.lag_bytes)
        sight.tables = len(target.tables)
        sight.copied = frozenset(name for name, one in target.tables.items() if one.state is TableProgress.SYNCED)
        sight.copied_by_this_process = sum(table.rows or 0 for table in target.tables.values())
        sight.copied_rows = max(sight.copied_rows, sight.copied_by_this_process)
        if target.state is TargetState.SNAPSHOT:
            self._copying_since.setdefault(sight.name, now)
            sight.copy_seconds = now - self._copying_since[sight.name]

    def _count(self, metrics: str) -> None:
        counted: dict[str, Counter[str]] = {name: Counter() for name in self.targets}
        cumulative: dict[str, dict[float, int]] = {name: {} for name in self.targets}
        for family in text_string_to_metric_families(metrics):
            for sample in family.samples:
                target = sample.labels.get("target", "")
                match sample.name:
                    case "walsync_target_changes_total":
                        counted[target]["changes"] += int(sample.value)
                    case "walsync_target_batches_total":
                        counted[target]["batches"] += int(sample.value)
                    case "walsync_target_delay_seconds_bucket":
                        cumulative[target][float(sample.labels["le"])] = int(sample.value)
                    case _:
                        pass  # not of interest here
        for name, sight in self.targets.items():
            counters, delays = self._earlier.get(name, (Counter(), Counter()))
            sight.counters = counters + counted[name]
            sight.delays = delays + _each(cumulative[name])
            sight.count_moment(time.monotonic())


def _each(cumulative: dict[float, int]) -> Counter[float]:
    """Return how many stand between a bound and the one below."""
    each: Counter[float] = Counter()
    below = 0
    for bound in sorted(cumulative):
        each[bound] = cumulative[bound] - below
        below = cumulative[bound]
    return each
