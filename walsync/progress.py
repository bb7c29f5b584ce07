"""How far a target is: what its delivery notes, and what /status and /metrics tell."""

import time
from dataclasses import dataclass, field
from typing import Final

from walsync.errors import WalsyncError
from walsync.life import Life
from walsync.lsn import LSN, ZERO
from walsync.snapshot.progress import CopyProgress
from walsync.status import TargetState

_BEGINNING: Final = frozenset({TargetState.STARTING, TargetState.SNAPSHOT, TargetState.NEEDS_SNAPSHOT})


@dataclass
class Progress:
    """One target's; `checkpoint` is durable, `position` includes what was empty.

    `progressed_at` is when it last moved or had nothing to do, `complete_at` when it last lacked nothing that was read;
    Unix seconds.
    """

    life: Life = field(default_factory=Life)
    checkpoint: LSN = ZERO
    position: LSN = ZERO
    error: WalsyncError | None = None
    joining_error: WalsyncError | None = None
    """What keeps tables from joining, while the others go on."""
    progressed_at: float = field(default_factory=time.time)
    complete_at: float = field(default_factory=time.time)
    synced: dict[str, LSN] = field(default_factory=dict)
    copied_rows: dict[str, int] = field(default_factory=dict)
    copying: dict[str, CopyProgress] = field(default_factory=dict)

    @property
    def is_beginning(self) -> bool:
        """Whether it is on its way through a snapshot: to begin that again would only take longer."""
        just_copied = bool(self.copied_rows) and self.state is TargetState.CATCHING_UP
        return just_copied or self.state in _BEGINNING

    @property
    def state(self) -> TargetState:
        """Where the target is in its life."""
        return self.life.state
