"""How far the copy of one table is, and how long it will still take."""

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class CopyProgress:
    """Rows, and bytes of COPY text, handed to one target, and what the source's catalogue leads one to expect.

    The totals are estimates, None where there is none: before the read begins, for a table that was never analyzed
    (rows), for a part of the rows (both).
    """

    rows: int = 0
    copied_bytes: int = 0
    total_rows: int | None = None
    total_bytes: int | None = None
    began: float = field(default_factory=time.monotonic)

    def expect(self, rows: int | None, size: int | None) -> None:
        """Take over the estimates."""
        self.total_rows, self.total_bytes = rows, size

    def count(self, rows: int, size: int) -> None:
        """Count what was handed over."""
        self.rows += rows
        self.copied_bytes += size

    def eta_seconds(self, now: float) -> float | None:
        """Estimate the seconds until the copy is complete, by time.monotonic(); None without a ground for it."""
        if self.total_rows:
            done = self.rows / self.total_rows
        elif self.total_bytes:
            done = self.copied_bytes / self.total_bytes
        else:
            return None
        if not done:
            return None
        return max(0.0, (now - self.began) * (1 - done) / done)
