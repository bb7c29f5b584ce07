"""What a transaction did, in the order in which it did it, and its parts as both formats need them."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from walsync.pgoutput.message import LogicalMessage
from walsync.row import UNCHANGED, Value, read_tuple
from walsync.transaction.change import Change, Transaction, Update

Step: TypeAlias = Change | LogicalMessage


def steps(transaction: Transaction, shows_message: Callable[[str], bool]) -> Iterable[Step]:
    """Return the changes of a transaction with its messages between them, without those that are not to be shown."""
    if not transaction.messages:
        return transaction.changes
    return _with_messages(transaction, shows_message)


def new_values(change: Update) -> list[Value]:
    """Split an UPDATE's new row as the server sent it, where a value that was not sent is UNCHANGED."""
    values = read_tuple(change.new)
    for index in change.unsent:
        values[index] = UNCHANGED
    return values


def content(message: LogicalMessage) -> str:
    """Return a message's content: up to its first NUL, as the plugin cuts it; what is no UTF-8 is replaced."""
    return message.content.partition(b"\0")[0].decode(errors="replace")


def _with_messages(transaction: Transaction, shows_message: Callable[[str], bool]) -> Iterator[Step]:
    changes, after = transaction.changes, 0
    for message, place in zip(transaction.messages, transaction.message_places, strict=True):
        yield from changes[after:place]
        after = place
        if shows_message(message.prefix):
            yield message
    yield from changes[after:]
