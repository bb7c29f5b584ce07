"""Timelines: whether a position of one is also a position of another, from the server's own history file."""

import re
from dataclasses import dataclass
from typing import Final

import psycopg2
from psycopg2 import errors as pg

from walsync.lsn import LSN
from walsync.postgres import Connection
from walsync.source.session import source_error

_LINE: Final = re.compile(r"^\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Switch:
    """`timeline` was left at `lsn`: what it holds from there on is not part of its successors."""

    timeline: int
    lsn: LSN


def history(replication: Connection, timeline: int) -> tuple[Switch, ...]:
    """Ask a replication session for the ancestors of its timeline, oldest first; the first timeline has none."""
    if timeline == 1:
        return ()
    try:
        with replication.cursor() as cursor:
            cursor.execute(f"TIMELINE_HISTORY {int(timeline)}")
            row = cursor.fetchone()
    except pg.UndefinedFile:
        return ()  # the file was removed: no ancestor can be proven
    except psycopg2.Error as error:
        raise source_error(error) from error
    content = row[1] if row else ""
    return parse(content if isinstance(content, str) else bytes(content).decode(errors="replace"))


def parse(content: str) -> tuple[Switch, ...]:
    """Read a history file: a line per ancestor, with the position where it was left."""
    return tuple(Switch(int(match[1]), LSN.parse(match[2])) for match in _LINE.finditer(content))


def contains(ancestors: tuple[Switch, ...], timeline: int, other: int, lsn: LSN) -> bool:
    """Tell whether everything below `lsn` on timeline `other` is also below it on `timeline`."""
    if other == timeline:
        return True
    return any(switch.timeline == other and lsn <= switch.lsn for switch in ancestors)
