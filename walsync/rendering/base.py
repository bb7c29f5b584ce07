"""What every output format promises: a transaction goes in, records come out; nothing is read, written or kept open."""

from collections.abc import Iterator
from typing import Protocol

from walsync.transaction.change import Transaction


class Renderer(Protocol):
    """Turns transactions into records; fed in commit order, by one caller at a time.

    Pure: it neither reads nor writes anything. What it needs to know beside the stream is handed to it as a function
    when it is made. The same transactions give the same records, so that one rendered again after a crash is equal.
    """

    def render(self, transaction: Transaction) -> Iterator[bytes]:
        """Yield the records of one transaction, in order: each UTF-8, without the newline that ends it in a file.

        Records come one by one while the iterator is drawn from, so that a large transaction is never held as text;
        the format decides how many there are, none too. An iterator that is not drawn to its end leaves nothing behind.
        A keepalive (`xid` 0, neither changes nor messages) yields nothing. A message that is not transactional comes
        as a transaction of its own (`xid` 0, one message). Raises ProtocolError when a row and its relation do not
        fit together.
        """
