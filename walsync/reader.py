"""The thread that joins the first three steps: frames from the stream -> messages -> transactions, handed to the loop.

It answers the server on time whatever the targets do: while the backlog is full it stops reading, never answering.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from walsync.lsn import LSN
from walsync.pgoutput.decoder import Decoder
from walsync.source.stream import Frame, Keepalive, Stream
from walsync.transaction.assembler import Assembler
from walsync.transaction.change import Transaction

_FRAMES_PER_STEP: Final = 128
"""Some two milliseconds of decoding."""


class Reader:
    """One stream, read until it breaks or `stop` is called. `deliver` is called in the reader's thread.

    `assembler` is a new one, for whoever wants to look into it. With `pause` it reads in small steps, and
    calls that after each with the seconds that it took.
    """

    def __init__(
        self,
        stream: Stream,
        deliver: Callable[[Sequence[Transaction], int], None],
        assembler: Assembler | None = None,
        pause: Callable[[float], None] | None = None,
    ) -> None:
        self._stream = stream
        self._deliver = deliver
        self._pause = pause
        self._room = threading.Event()
        self._room.set()
        self._stopping = False
        self._decoder = Decoder()
        self._assembler = assembler or Assembler()

    def run(self) -> None:
        """Read until `stop`, then send a last status update; raises SourceUnavailable when the stream breaks."""
        try:
            while not self._stopping:
                if self._room.wait(self._stream.send_status_when_due()):
                    self._step()
            self._stream.send_status()
        finally:
            self._stream.close()

    @property
    def is_held(self) -> bool:
        """Whether the reader waits for room."""
        return not self._room.is_set()

    def hold(self) -> None:
        """Stop reading, because the backlog is full; the server is still answered."""
        self._room.clear()

    def go_on(self) -> None:
        """Read on."""
        self._room.set()

    def confirm(self, lsn: LSN) -> None:
        """Let the next status update confirm everything below `lsn`."""
        self._stream.confirm(lsn)

    def stop(self) -> None:
        """Let `run` return soon."""
        self._stopping = True
        self._room.set()
        self._stream.wake()

    def _step(self) -> None:
        if self._pause is None:
            self._take(self._stream.read())
            return
        frames = self._stream.read(_FRAMES_PER_STEP)
        started = time.monotonic()
        self._take(frames)
        self._pause(time.monotonic() - started)

    def _take(self, frames: Sequence[Frame]) -> None:
        transactions: list[Transaction] = []
        received = 0
        decode, feed = self._decoder.decode, self._assembler.feed
        for frame in frames:
            if isinstance(frame, Keepalive):
                transaction = self._assembler.keepalive(frame.wal_end, frame.server_time)
            else:
                size = len(frame.payload)
                received += size
                transaction = feed(decode(frame.payload), frame.data_start, size)
            if transaction is not None:
                transactions.append(transaction)
        if frames:
            self._deliver(transactions, received)
