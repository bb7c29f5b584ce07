"""A cursor over the bytes of one message: every read is checked against the end, and the end has to be reached.

For messages that come once per transaction or less; the per-row ones are unpacked in place (see `decoder`).
"""

from struct import Struct
from typing import Final

from walsync.errors import ProtocolError

_U16: Final = Struct("!H")
_U32: Final = Struct("!I")
_I32: Final = Struct("!i")
_U64: Final = Struct("!Q")
_I64: Final = Struct("!q")


class Reader:
    """Reads big-endian numbers, strings and bytes in order; ProtocolError where they are cut short."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self._position = position

    def u8(self) -> int:
        """Read an unsigned byte."""
        return self._data[self._take(1)]

    def u16(self) -> int:
        """Read an unsigned 16-bit number."""
        value: int = _U16.unpack_from(self._data, self._take(2))[0]
        return value

    def u32(self) -> int:
        """Read an unsigned 32-bit number: an oid, an xid, a length."""
        value: int = _U32.unpack_from(self._data, self._take(4))[0]
        return value

    def i32(self) -> int:
        """Read a signed 32-bit number: a typmod."""
        value: int = _I32.unpack_from(self._data, self._take(4))[0]
        return value

    def u64(self) -> int:
        """Read an unsigned 64-bit number: an LSN."""
        value: int = _U64.unpack_from(self._data, self._take(8))[0]
        return value

    def i64(self) -> int:
        """Read a signed 64-bit number: a timestamp."""
        value: int = _I64.unpack_from(self._data, self._take(8))[0]
        return value

    def string(self) -> str:
        """Read UTF-8 up to a NUL, and pass over the NUL."""
        end = self._data.find(b"\0", self._position)
        if end < 0:
            raise ProtocolError(f"a string that starts at byte {self._position} of {len(self._data)} has no end")
        text = self._data[self._position : end]
        try:
            value = text.decode()
        except UnicodeDecodeError as error:
            raise ProtocolError(f"a string is not UTF-8: {text!r}") from error
        self._position = end + 1
        return value

    def bytes(self, size: int) -> bytes:
        """Read that many bytes."""
        start = self._take(size)
        return self._data[start : start + size]

    def end(self) -> None:
        """Refuse bytes that are left over."""
        left = len(self._data) - self._position
        if left:
            raise ProtocolError(f"{left} of {len(self._data)} bytes are left over")

    def _take(self, size: int) -> int:
        """Pass over `size` bytes and return where they start."""
        start = self._position
        if len(self._data) - start < size:
            raise ProtocolError(f"{size} bytes are wanted at byte {start}, but the message has {len(self._data)}")
        self._position = start + size
        return start
