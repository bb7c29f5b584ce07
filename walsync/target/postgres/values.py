"""Values as COPY text and as parameters; both take the server's own text and let the server parse it again."""

import re
from collections.abc import Iterable
from typing import Final

from walsync.errors import TargetRefused
from walsync.row import UNCHANGED, Value

_SPECIAL: Final = re.compile(rb"[\\\t\n\r]")
_ESCAPES: Final = {b"\\": b"\\\\", b"\t": b"\\t", b"\n": b"\\n", b"\r": b"\\r"}


def copy_field(value: Value) -> bytes:
    """Write one field of COPY's text format; an UNCHANGED value is NULL there, its row's group says which ones are."""
    if value is None or value is UNCHANGED:
        return b"\\N"
    if _SPECIAL.search(value) is None:
        return value
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], value)


def copy_line(fields: Iterable[Value]) -> bytes:
    """Write one row of COPY's text format."""
    return b"\t".join(map(copy_field, fields)) + b"\n"


def parameter(value: Value) -> str | None:
    """Give a value to a statement as text; UNCHANGED values never come here."""
    if value is None:
        return None
    if value is UNCHANGED:
        raise AssertionError("an unsent value has no text")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise TargetRefused(
            "WS4305",
            "a value is not UTF-8, so the target cannot store it as text",
            hint="the source's encoding is SQL_ASCII: mend the value there",
        ) from None
