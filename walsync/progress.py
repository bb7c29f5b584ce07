"""How far a target is: what its delivery notes, and what /status and /metrics tell."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from walsync.errors import WalsyncError
from walsync.life import Life
from walsync.lsn import LSN, ZERO
from walsync.snapshot.progress import CopyProgress
from walsync.status import TargetState
from walsync.tables import Tables
from walsync.transaction.change import Transaction

_BEGINNING: Final = frozenset({TargetState.STARTING, TargetState.SNAPSHOT, TargetState.NEEDS_SNAPSHOT})

_EPOCH_2000: Final = 946_684_800
_MICROSECONDS: Final = 1_000_000


@dataclass
class Progress:
    """One target's; `checkpoint` is durable, `position` includes what was empty.

    `progressed_at` is when it last moved or had nothing to do. `complete_at` is since when it may lack something: since
    it last had everything, or since the commit of the last change that it took. Unix seconds. While `is_writing` the
    target has been given something, and has not answered yet.
    """

    tables: Tables
    life: Life = field(default_factory=Life)
    checkpoint: LSN = ZERO
    position: LSN = ZERO
    error: WalsyncError | None = None
    joining_error: WalsyncError | None = None
    """What keeps tables from joining, while the others go on."""
    progressed_at: float = field(default_factory=time.time)
    complete_at: float = field(default_factory=time.time)
    is_writing: bool = False
    copied_rows: dict[str, int] = field(default_factory=dict)
    copying: dict[str, CopyProgress] = field(default_factory=dict)

    @property
    def is_beginning(self) -> bool:
        """Whether it is on its way through a snapshot: to begin that again would only take longer."""
        just_copied = bool(self.copied_rows) and self.state is TargetState.CATCHING_UP
        return just_copied or self.state in _BEGINNING

    @property
    def synced(self) -> dict[str, LSN]:
        """As of what each table is complete that the target has, by qualified name."""
        return self.tables.synced_by_name

    @property
    def state(self) -> TargetState:
        """Where the target is in its life."""
        return self.life.state

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Surround what the target is given."""
        self.is_writing = True
        try:
            yield
        finally:
            self.is_writing = False

    def take(self, taken: Sequence[Transaction]) -> None:
        """Take note that the target has these, in commit order."""
        commit_time = next((transaction.commit_time for transaction in reversed(taken) if transaction.changes), 0)
        self.complete_at = max(self.complete_at, unix_seconds(commit_time))

    def rest(self, *, is_complete: bool) -> None:
        """Take note that there was nothing to do until now; `is_complete` where the target has all that was read."""
        self.progressed_at = time.time()
        if is_complete:
            self.complete_at = self.progressed_at


def unix_seconds(commit_time: int) -> float:
    """Convert microseconds since 2000, which is how Postgres tells the moment of a commit."""
    return commit_time / _MICROSECONDS + _EPOCH_2000
