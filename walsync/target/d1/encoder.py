"""Encodes what several D1 targets of a process take alike once: the regions of one application differ by address only.

Targets call it from threads of their own. An encoding is kept until every target has had it, or until newer ones need
the room: a target that is far behind encodes for itself.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from walsync.target.collapse import relations_in
from walsync.target.d1.changes import statements_of
from walsync.target.d1.plan import Plans, TablePlan
from walsync.target.d1.request import Encoding
from walsync.transaction.change import Change, Transaction

_KEPT_BYTES: Final = 64 * 1024**2
"""Of parameters; as much as the default backlog."""

Write: TypeAlias = Callable[[Sequence[Transaction], Plans], Encoding]
"""How changes become statements. The same function means the same statements."""

_Key: TypeAlias = tuple[tuple[int, ...], frozenset[TablePlan], Write]


@dataclass(slots=True)
class _Entry:
    """`changes` are held so that nobody else gets their identities."""

    changes: Sequence[Change]
    encoding: "Future[Encoding]" = field(default_factory=Future)
    taken: int = 1
    size_bytes: int = 0


class Encoder:
    """The encodings that are on their way to several targets; safe to use from many threads."""

    def __init__(self) -> None:
        self.encoded = 0
        self._users = 0
        self._size_bytes = 0
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def join(self) -> None:
        """Count a target in."""
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        """Count a target out; what only it lacked goes."""
        with self._lock:
            self._users -= 1
            for key in [key for key, entry in self._entries.items() if entry.taken >= self._users]:
                self._remove(key)

    def encode(self, transactions: Sequence[Transaction], plans: Plans, write: Write) -> Encoding:
        """Return the statements that `write` makes of these changes; TargetRefused for what D1 cannot take."""
        if self._users <= 1:
            return self._encode(transactions, plans, write)
        changes = [change for transaction in transactions for change in transaction.changes]
        # By identity: hashing a relation costs as much as encoding a row.
        relations = {id(relation): relation for relation in relations_in(changes)}
        key = (tuple(map(id, changes)), frozenset(map(plans.of, relations.values())), write)
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._take(key, entry)
            else:
                mine = self._entries[key] = _Entry(changes)
        if entry is not None:
            return entry.encoding.result()
        try:
            encoding = self._encode(transactions, plans, write)
        except BaseException as error:
            mine.encoding.set_exception(error)
            with self._lock:
                self._remove(key)
            raise
        mine.encoding.set_result(encoding)
        self._keep(key, mine, encoding)
        return encoding

    def _encode(self, transactions: Sequence[Transaction], plans: Plans, write: Write) -> Encoding:
        self.encoded += 1
        return write(transactions, plans)

    def _take(self, key: _Key, entry: _Entry) -> None:
        entry.taken += 1
        if entry.taken >= self._users:
            self._remove(key)

    def _keep(self, key: _Key, entry: _Entry, encoding: Encoding) -> None:
        size = sum(len(one.sql) + sum(len(str(value)) for value in one.parameters) for one in encoding)
        with self._lock:
            if self._entries.get(key) is not entry:
                return  # everybody has had it already
            entry.size_bytes = size
            self._size_bytes += size
            while self._size_bytes > _KEPT_BYTES:
                self._remove(next(iter(self._entries)))

    def _remove(self, key: _Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size_bytes -= entry.size_bytes


def collapsed(transactions: Sequence[Transaction], plans: Plans) -> Encoding:
    """Write the last state of each row."""
    return Encoding(statements_of(transactions, plans, in_order=False))


def in_order(transactions: Sequence[Transaction], plans: Plans) -> Encoding:
    """Write each change by itself."""
    return Encoding(statements_of(transactions, plans, in_order=True))


def collapsed_for_wire(transactions: Sequence[Transaction], plans: Plans) -> Encoding:
    """Write the last state of each row, down to the bytes that a gateway gets: where it is encoded, and once."""
    return _wired(collapsed(transactions, plans))


def in_order_for_wire(transactions: Sequence[Transaction], plans: Plans) -> Encoding:
    """Write each change by itself, down to the bytes that a gateway gets."""
    return _wired(in_order(transactions, plans))


def _wired(encoding: Encoding) -> Encoding:
    _ = encoding.wire
    return encoding


SHARED: Final = Encoder()
"""The one of this process."""
