"""Stands before a column's encoder: decodes UTF-8, passes NULL, and turns what cannot be read into a refusal.

Pure, and shared by the targets that do not speak Postgres. A column is named as people see it: ``public.users.id``.
"""

from collections.abc import Callable
from typing import TypeVar

from walsync.errors import TargetRefused

T = TypeVar("T")


def guard(column: str, type_name: str, read: Callable[[str], T], null: T) -> Callable[[bytes | None], T]:
    """Make an encoder of raw values from `read`, which raises ValueError for a text that is not of its type."""

    def encode(value: bytes | None) -> T:
        if value is None:
            return null
        try:
            return read(value.decode())
        except UnicodeDecodeError:
            raise TargetRefused(
                "WS4401",
                f"{column}: a value is not UTF-8, so the target cannot store it as text",
                hint="the source's encoding is SQL_ASCII: mend the value there",
            ) from None
        except ValueError as error:
            raise TargetRefused(
                "WS4402",
                f"{column}: a value is not the text of a {type_name}: {error}",
                hint="if the column's type has changed, restart; else report this with the server's version",
            ) from None

    return encode
