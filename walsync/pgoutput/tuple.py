"""Walks over TupleData, a row's values on the wire, checking its bounds; builds nothing per column.

The layout is in `walsync.row`. The binary form, ``b``, is refused: the stream is always asked for text, which is what
every target can take. `compiled` has a faster twin, which the decoder uses where it could be built.
"""

import struct
from typing import Final

from walsync.errors import ProtocolError

_LENGTH: Final = struct.Struct("!I")
_NULL, _UNCHANGED, _TEXT = b"nut"
_AFTER_TEXT: Final = 5  # the kind and the length before a text


def tuple_end(data: bytes, start: int) -> int:
    """Return where the TupleData at `start` ends; ProtocolError when it does not fit in `data`."""
    position = start + 2
    try:
        # No check per column: positions only grow, so one that leaves `data` fails at the next read or below.
        for _ in range(data[start] << 8 | data[start + 1]):
            kind = data[position]
            if kind == _TEXT:
                position += _AFTER_TEXT + _LENGTH.unpack_from(data, position + 1)[0]
            elif kind in (_NULL, _UNCHANGED):
                position += 1
            else:
                raise ProtocolError(f"a column's kind is {bytes((kind,))!r}, not n, u or t")
    except (IndexError, struct.error) as error:
        raise _cut_short(data, start) from error
    if position > len(data):
        raise _cut_short(data, start)
    return position


def _cut_short(data: bytes, start: int) -> ProtocolError:
    return ProtocolError(f"a row that starts at byte {start} is cut short: the message has {len(data)} bytes")
