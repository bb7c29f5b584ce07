"""Reads one slot and prints it: transaction after transaction, acknowledged when the output has taken them.

At least once: after a kill the transactions since the last acknowledgement are printed again. A transaction is
acknowledged when all of it was taken, so that a part of one may come again, too. It waits for nobody but the output,
and answers the server meanwhile.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from walsync.lsn import LSN
from walsync.pgoutput.decoder import Decoder
from walsync.rendering.base import Renderer
from walsync.source.stream import Frame, Stream, WalData
from walsync.tail.output import Output
from walsync.transaction.assembler import Assembler
from walsync.transaction.change import Transaction

_ACKNOWLEDGE_SECONDS: Final = 1.0
"""Status updates go out as often; more would only cost an fsync each where the output is a file."""


class Stopped(Exception):
    """The output does not take any more, or much is left to print, and `stop` was called."""


@dataclass(frozen=True, slots=True)
class End:
    """When to end: at a position, after a number of transactions that printed something, or never."""

    until: LSN | None = None
    transactions: int | None = None


class Tail:
    """One stream, printed until its end. `stop` may be called by a signal handler; the rest belongs to one thread."""

    def __init__(self, stream: Stream, assembler: Assembler, end: End) -> None:
        self._stream = stream
        self._decoder = Decoder()
        self._assembler = assembler
        self._end = end
        self._printed = LSN(0)  # handed to the output
        self._taken = LSN(0)  # taken by it
        self._transactions = 0
        self._acknowledged_at = time.monotonic()
        self._stopping = False

    def stop(self) -> None:
        """Let `run` end soon."""
        self._stopping = True
        self._stream.wake()

    def run(self, renderer: Renderer, descriptor: int) -> LSN:
        """Print until the end, or until `stop`; return the position below which all is printed and acknowledged.

        The server has been told of it, and may not have heard yet. When `stop` is called, a transaction that is being
        printed is left, between two records if the output takes what was begun.
        """
        output = Output(descriptor, self._answer)
        try:
            while not self._stopping and not self._take(self._stream.read(), renderer, output):
                pass
        except Stopped:
            output.discard()
        self._acknowledge(output)
        self._stream.send_status(ask=True)
        return self._taken

    def _take(self, frames: Sequence[Frame], renderer: Renderer, output: Output) -> bool:
        """Print what the frames complete; tell whether the end has come."""
        ended = any(self._print(transaction, renderer, output) for transaction in self._assemble(frames))
        output.flush()
        self._taken = self._printed
        if time.monotonic() - self._acknowledged_at >= _ACKNOWLEDGE_SECONDS:
            self._acknowledge(output)
        if frames and isinstance(frames[-1], WalData) and self._end.until is not None:
            self._stream.send_status(ask=True)  # the end may have been read by now: do not wait a second to hear it
        return ended

    def _assemble(self, frames: Sequence[Frame]) -> Iterator[Transaction]:
        decode, feed = self._decoder.decode, self._assembler.feed
        for frame in frames:
            if isinstance(frame, WalData):
                data_start, _, payload = frame
                transaction = feed(decode(payload), data_start, len(payload))
            else:
                transaction = self._assembler.keepalive(frame.wal_end, frame.server_time)
            if transaction is not None:
                yield transaction

    def _print(self, transaction: Transaction, renderer: Renderer, output: Output) -> bool:
        """Print one transaction, unless it committed behind the end; tell whether the end has come."""
        until = self._end.until
        if until is not None and transaction.commit_lsn >= until:
            self._printed = max(self._printed, until)
            return True
        records = 0
        for record in renderer.render(transaction):
            output.write(record)
            records += 1
        self._printed = max(self._printed, transaction.end_lsn)
        self._transactions += records > 0
        return (until is not None and self._printed >= until) or self._transactions == self._end.transactions

    def _acknowledge(self, output: Output) -> None:
        output.sync()
        self._acknowledged_at = time.monotonic()
        if self._taken:
            self._stream.confirm(self._taken)

    def _answer(self) -> float:
        if self._stopping:
            raise Stopped
        return self._stream.send_status_when_due()
