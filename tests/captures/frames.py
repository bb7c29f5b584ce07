"""What real servers sent: one file per version and way of streaming, made by `record.py` from `scenario.sql`.

A file is gzip; inside, frames follow each other: a 64-bit dataStart and a 32-bit length (both big-endian, as on the
wire), then the payload, which is one pgoutput message. They are in the order of one replication session, with messages
and the scenario's marks (non-transactional messages with prefix ``read``) among them.
"""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

from walsync.pgoutput.decoder import Decoder, Streaming

FOLDER: Final = Path(__file__).parent
_HEADER: Final = Struct("!QI")


@dataclass(frozen=True, slots=True)
class Way:
    """How a stream was asked for."""

    name: str
    protocol_version: int
    streaming: Streaming
    since: int
    two_phase: bool = False

    def decoder(self) -> Decoder:
        """Return a new decoder for such a stream."""
        return Decoder(self.protocol_version, self.streaming)


WAYS: Final = (
    Way("plain", 1, "off", since=14),
    Way("streamed", 2, "on", since=14),
    Way("prepared", 3, "on", since=15, two_phase=True),
    Way("parallel", 4, "parallel", since=16),
)
VERSIONS: Final = (14, 15, 16, 17, 18)


@dataclass(frozen=True, slots=True)
class Frame:
    """The content of one XLogData."""

    data_start: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Capture:
    """One file."""

    version: int
    way: Way

    def __str__(self) -> str:
        return f"pg{self.version}-{self.way.name}"

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return FOLDER / f"{self}.frames.gz"

    def frames(self) -> Iterator[Frame]:
        """Read it."""
        content = gzip.decompress(self.path.read_bytes())
        position = 0
        while position < len(content):
            data_start, size = _HEADER.unpack_from(content, position)
            position += _HEADER.size
            yield Frame(data_start, content[position : position + size])
            position += size

    def write(self, frames: Iterable[Frame]) -> None:
        """Replace it."""
        content = b"".join(_HEADER.pack(frame.data_start, len(frame.payload)) + frame.payload for frame in frames)
        self.path.write_bytes(gzip.compress(content, mtime=0))


def of_version(version: int) -> list[Capture]:
    """Return the captures of one server."""
    return [Capture(version, way) for way in WAYS if way.since <= version]


CAPTURES: Final = tuple(capture for version in VERSIONS for capture in of_version(version))
