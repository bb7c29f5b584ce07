"""Writes arrays, as D1 and SurrealDB keep them, in the form that Postgres reads."""

from collections.abc import Callable
from typing import Any


class Unreadable(Exception):
    """A value of a type that none of the demo's own tables has: its readers know no more types than these need."""


def array(found: object, write: Callable[[Any], str]) -> str:
    """Write nested lists; a string is the literal already, of an array whose lower bounds are not 1."""
    if not isinstance(found, list):
        return str(found)
    return "{" + ",".join(_item(item, write) for item in found) + "}"


def _item(item: object, write: Callable[[Any], str]) -> str:
    if item is None:
        return "NULL"
    if isinstance(item, list):
        return array(item, write)
    return '"' + write(item).replace("\\", "\\\\").replace('"', '\\"') + '"'
