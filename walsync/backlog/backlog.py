"""One ordered log of transactions in memory, a cursor per target, trimmed at the lowest cursor, bounded in bytes.

A target takes from its cursor what is there each time it is free: small batches when little happens, large ones under
load. The log does not wait for anybody: whoever reads the stream asks `is_full` before reading on.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from walsync.lsn import LSN
from walsync.transaction.change import Transaction

KEEPALIVE_BYTES: Final = 100
"""What an entry weighs in memory beside its changes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one batch may hold; a transaction is never divided here, so the first one always fits."""

    transactions: int
    changes: int
    size_bytes: int


@dataclass(slots=True)
class _Cursor:
    position: LSN  # that it was attached with
    next_entry: int  # counted from the log's beginning, trimmed entries included
    passed_bytes: int  # of all entries before it, likewise
    taken: int = 0  # entries from next_entry on that are in the target's hands
    taken_bytes: int = 0


class Backlog:
    """Entries in commit order; `start` is the position below which it holds nothing, `end` the last entry's end_lsn."""

    def __init__(self, max_bytes: int, start: LSN) -> None:
        self.max_bytes = max_bytes
        self._entries: deque[Transaction] = deque()
        self._trimmed = 0
        self._cursors: dict[str, _Cursor] = {}
        self.start = start
        self.end = start
        self.size_bytes = 0
        self._trimmed_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_full(self) -> bool:
        """Whether the reader has to wait."""
        return self.size_bytes >= self.max_bytes

    def append(self, transaction: Transaction) -> None:
        """Add what was read next; what the log already holds, after a reconnect, is passed over."""
        if transaction.commit_lsn < self.end:
            return
        if not transaction.changes and not transaction.messages:
            if transaction.end_lsn == self.end:
                return
            self._drop_last_keepalive()
        self._entries.append(transaction)
        self.size_bytes += _weight(transaction)
        self.end = transaction.end_lsn
        self._trim()

    def attach(self, name: str, position: LSN) -> bool:
        """Set the target's cursor to the first entry that `position` does not contain; False if that was trimmed."""
        if position < self.start:
            return False
        self._cursors[name] = _Cursor(position, *self._passed(position))
        self._trim()
        return True

    def is_near(self, position: LSN) -> bool:
        """Tell whether who joins there may stay: a quarter of the room behind the one furthest ahead, or less.

        `position` is not below `start`. Half of the room makes a laggard, who would be let go of as soon as it is full.
        """
        furthest = max((cursor.passed_bytes for cursor in self._cursors.values()), default=0)
        return 4 * (furthest - self._passed(position)[1]) <= self.max_bytes

    def skip_to(self, position: LSN) -> list[str]:
        """Go on at `position`, where it is above the end: the stream does not bring what lies between.

        Returns the targets that lack it, which have no cursor here any more.
        """
        if position <= self.end:
            return []
        lacking = [name for name, cursor in self._cursors.items() if cursor.position < position]
        for name in lacking:
            self.detach(name)
        self.start = self.end = position
        return lacking

    def detach(self, name: str) -> None:
        """Forget the target's cursor: the log is no longer kept for it."""
        self._cursors.pop(name, None)
        self._trim()

    def follows(self, name: str) -> bool:
        """Tell whether the target has a cursor here."""
        return name in self._cursors

    def laggards(self) -> list[str]:
        """Name the targets furthest behind, if the one furthest ahead is half of the log's room or more ahead of them.

        A full log waits for those who are nearly together: one of them is as slow as the other.
        """
        if not self._cursors:
            return []
        lowest = min(cursor.passed_bytes for cursor in self._cursors.values())
        highest = max(cursor.passed_bytes for cursor in self._cursors.values())
        if 2 * (highest - lowest) < self.max_bytes:
            return []
        return [name for name, cursor in self._cursors.items() if cursor.passed_bytes == lowest]

    def take(self, name: str, limits: Limits) -> Sequence[Transaction]:
        """Return what comes next for the target, within `limits`; empty when it has everything."""
        cursor = self._cursors[name]
        taken: list[Transaction] = []
        transactions = changes = size = 0
        for entry in self._from(cursor):
            if entry.changes:
                transactions += 1
                changes += len(entry.changes)
                size += entry.size_bytes
                if transactions > 1 and (
                    transactions > limits.transactions or changes > limits.changes or size > limits.size_bytes
                ):
                    break
            taken.append(entry)
        cursor.taken, cursor.taken_bytes = len(taken), sum(map(_weight, taken))
        return taken

    def advance(self, name: str) -> None:
        """Move the cursor past what the target took."""
        cursor = self._cursors[name]
        cursor.next_entry += cursor.taken
        cursor.passed_bytes += cursor.taken_bytes
        cursor.taken = cursor.taken_bytes = 0
        self._trim()

    def has_more(self, name: str) -> bool:
        """Whether `take` would return anything."""
        return self._cursors[name].next_entry < self._trimmed + len(self._entries)

    def next_commit_time(self, name: str) -> int | None:
        """Return the commit time, in microseconds since 2000, of the first change that the target still lacks."""
        cursor = self._cursors.get(name)
        if cursor is not None:
            for entry in self._from(cursor):
                if entry.changes:
                    return entry.commit_time
        return None

    def _passed(self, position: LSN) -> tuple[int, int]:
        """Count the entries that `position` contains, and their bytes, from the log's beginning."""
        passed, passed_bytes = self._trimmed, self._trimmed_bytes
        for entry in self._entries:
            if entry.commit_lsn >= position:
                break
            passed += 1
            passed_bytes += _weight(entry)
        return passed, passed_bytes

    def _from(self, cursor: _Cursor) -> Iterator[Transaction]:
        return islice(self._entries, cursor.next_entry - self._trimmed, None)

    def _drop_last_keepalive(self) -> None:
        # Two keepalives in a row say no more than the second; one in a target's hands must stay where it is.
        if not self._entries or self._entries[-1].changes or self._entries[-1].messages:
            return
        last = self._trimmed + len(self._entries) - 1
        if all(cursor.next_entry + cursor.taken <= last for cursor in self._cursors.values()):
            self.size_bytes -= _weight(self._entries.pop())

    def _trim(self) -> None:
        lowest = min(
            (cursor.next_entry for cursor in self._cursors.values()), default=self._trimmed + len(self._entries)
        )
        while self._trimmed < lowest:
            entry = self._entries.popleft()
            self._trimmed += 1
            self._trimmed_bytes += _weight(entry)
            self.size_bytes -= _weight(entry)
            self.start = max(self.start, entry.end_lsn)  # skip_to may have raised it above what is still in hand


def _weight(transaction: Transaction) -> int:
    return transaction.size_bytes + KEEPALIVE_BYTES
