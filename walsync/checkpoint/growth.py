"""How fast a number of bytes grows: the slope over a sliding window of observations. Pure.

What a slot keeps grows with the WAL and falls by leaps, whenever the slot moves on: a straight line through all that
was seen (least squares) tells more of the next hour than the last two observations would.
"""

from collections import deque
from typing import Final

_LEAST_OBSERVATIONS: Final = 3
"""Two are a leap, or none; three show a direction."""


class Growth:
    """Bytes observed at times, by a clock that never goes back; what is older than the window is forgotten."""

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._seen: deque[tuple[float, int]] = deque()

    def observe(self, now: float, byte_count: int) -> None:
        """Take an observation."""
        self._seen.append((now, byte_count))
        while self._seen[0][0] < now - self._window_seconds:
            self._seen.popleft()

    @property
    def bytes_per_second(self) -> float | None:
        """Return the slope, negative while the number falls; None while too little was seen."""
        if len(self._seen) < _LEAST_OBSERVATIONS:
            return None
        # From the first observation on: the square of a server's uptime would leave no digits for the window.
        begun, count = self._seen[0][0], len(self._seen)
        mean_seconds = sum(now - begun for now, _ in self._seen) / count
        mean_bytes = sum(byte_count for _, byte_count in self._seen) / count
        spread = sum((now - begun - mean_seconds) ** 2 for now, _ in self._seen)
        if not spread:
            return None
        return sum((now - begun - mean_seconds) * (byte_count - mean_bytes) for now, byte_count in self._seen) / spread

    def seconds_until(self, left_bytes: int) -> float | None:
        """Return when `left_bytes` more will have come, 0 where none are left; None while nothing grows."""
        if left_bytes <= 0:
            return 0.0
        speed = self.bytes_per_second
        return left_bytes / speed if speed is not None and speed > 0 else None
