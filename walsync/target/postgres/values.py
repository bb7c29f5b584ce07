"""Values as parameters: the server's own text, which the target parses again."""

from walsync.errors import TargetRefused
from walsync.row import UNCHANGED, Value


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
