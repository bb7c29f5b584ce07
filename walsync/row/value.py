"""One value of a row: Postgres text, NULL, or the mark of a value that was not sent."""

from enum import Enum
from typing import Final, Literal, TypeAlias


class Unchanged(Enum):
    """The type of the one marker below."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged.UNCHANGED
"""A TOAST value that the server did not send because the UPDATE left it alone; it is not NULL."""

Value: TypeAlias = bytes | Literal[Unchanged.UNCHANGED] | None
"""Text in the server's output form and UTF-8, or NULL, or UNCHANGED."""
