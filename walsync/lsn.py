"""A position in the write-ahead log, compared as a number and written as the server writes it: ``16/B374D848``.

What a position P means everywhere in walsync: every commit record that *starts* below P is contained. A transaction is
therefore applied if and only if ``commit_lsn >= P``. Positions of changes are never compared with P.
"""

import re
from typing import Final, Self

_TEXT: Final = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_MAX: Final = 2**64 - 1


class LSN(int):
    """A log sequence number: a byte position, 0 to 2**64 - 1; 0 is the server's "invalid"."""

    __slots__ = ()

    def __new__(cls, value: int) -> Self:
        """Take a number; ValueError outside 64 bits."""
        if not 0 <= value <= _MAX:
            raise ValueError(f"an LSN is a number from 0 to 2**64 - 1, not {value}")
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the server's form, two hexadecimal halves with a slash between; ValueError for anything else."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not an LSN: two hexadecimal numbers with a slash between, such as 16/B374D848"
            )
        return cls(int(match[1], 16) << 32 | int(match[2], 16))

    def __str__(self) -> str:
        return f"{self >> 32:X}/{self & 0xFFFFFFFF:X}"

    def __repr__(self) -> str:
        return f"LSN({self!s})"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


ZERO: Final = LSN(0)
"""No position yet: the server's own "invalid"."""
