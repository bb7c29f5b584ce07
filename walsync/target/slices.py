"""Cuts a batch into slices that one request of a target takes, and says what the checkpoint is after each. Pure.

A slice holds whole transactions. Only a transaction that is larger than a slice is cut itself, where the LSN of its
changes rises: some changes share one, and those stay together. While such a transaction is open the checkpoint names
it and the last change taken; when it comes again, which it does from its beginning, those changes are left out.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from walsync.lsn import LSN, ZERO
from walsync.transaction.change import Change, Delete, Insert, Transaction, Truncate, Update


class Reached(NamedTuple):
    """How far a target is: everything below `lsn`, and of the open transaction all up to `last_change_lsn`.

    `open_commit_lsn` is 0 where no transaction is open: none commits there.
    """

    lsn: LSN
    open_commit_lsn: int = 0
    last_change_lsn: int = 0

    @property
    def begun(self) -> LSN:
        """The position that the open transaction commits below; 0 where none is open."""
        return LSN(self.open_commit_lsn + 1) if self.open_commit_lsn else ZERO

    def at(self, lsn: LSN) -> "Reached":
        """Move on; the open transaction stays open as long as it lies ahead."""
        return self._replace(lsn=lsn) if self.open_commit_lsn >= lsn else Reached(lsn)

    def left_of(self, transaction: Transaction) -> Transaction:
        """Return a transaction with the changes that are not taken yet."""
        if transaction.commit_lsn != self.open_commit_lsn:
            return transaction
        changes = tuple(change for change in transaction.changes if change.lsn > self.last_change_lsn)
        return transaction._replace(changes=changes)


class Limits(NamedTuple):
    """The most that one slice holds; changes of one LSN exceed it together if they have to."""

    changes: int
    size_bytes: int

    def hold(self, size: "Limits") -> bool:
        """Tell whether changes of this size fit."""
        return size.changes <= self.changes and size.size_bytes <= self.size_bytes


class Slice(NamedTuple):
    """What one request takes: parts of transactions in commit order, the checkpoint before and the one after."""

    before: Reached
    after: Reached
    transactions: Sequence[Transaction]


def cut(transactions: Iterable[Transaction], position: LSN, reached: Reached, limits: Limits) -> Iterator[Slice]:
    """Cut what takes a target from `reached` to `position`, which the last slice stores."""
    before = reached
    taken: list[Transaction] = []
    room = limits
    for transaction in transactions:
        left = reached.left_of(transaction)
        size = _size(left.changes)
        if taken and not room.hold(size):
            after = before.at(taken[-1].end_lsn)
            yield Slice(before, after, taken)
            before, taken, room = after, [], limits
        if not limits.hold(size):
            *parts, last = _parts(left, limits)
            for part in parts:
                after = Reached(before.lsn, left.commit_lsn, part[-1].lsn)
                yield Slice(before, after, [left._replace(changes=part)])
                before = after
            left, size = left._replace(changes=last), _size(last)
        taken.append(left)
        room = Limits(room.changes - size.changes, room.size_bytes - size.size_bytes)
    yield Slice(before, before.at(position), taken)


def weigh(change: Change) -> int:
    """Tell the bytes of a change's rows."""
    match change:
        case Insert():
            return len(change.new)
        case Update():
            return len(change.new) + len(change.old or b"")
        case Delete():
            return len(change.old)
        case Truncate():
            return 0


def _size(changes: Sequence[Change]) -> Limits:
    return Limits(len(changes), sum(map(weigh, changes)))


def _parts(transaction: Transaction, limits: Limits) -> Iterator[tuple[Change, ...]]:
    part: list[Change] = []
    size = 0
    for group in _same_lsn(transaction.changes):
        weight = sum(map(weigh, group))
        if part and (len(part) + len(group) > limits.changes or size + weight > limits.size_bytes):
            yield tuple(part)
            part, size = [], 0
        part += group
        size += weight
    yield tuple(part)


def _same_lsn(changes: Iterable[Change]) -> Iterator[list[Change]]:
    group: list[Change] = []
    for change in changes:
        if group and change.lsn != group[0].lsn:
            yield group
            group = []
        group.append(change)
    if group:
        yield group
