"""What an error of D1's engine means: *unavailable* (the same again, later) or *refused* (somebody has to act).

One table decides, by SQLite's name of the error. SQLite's messages name tables, columns and constraints, never values;
those of a trigger are the user's own and stay out.
"""

import re
import sqlite3
from typing import Final

from walsync.errors import TargetRefused, TargetUnavailable

CANNOT_OPEN: Final = "WS4101"

_AGAIN: Final = "walsync tries again"

# The longest prefix that matches decides; the names are SQLite's result codes.
_UNAVAILABLE: Final = {
    "SQLITE_CANTOPEN": (CANNOT_OPEN, "see that the folder in `url` exists and that walsync may write there"),
    "SQLITE_PERM": (CANNOT_OPEN, "let walsync read and write the file and its folder"),
    "SQLITE_READONLY": ("WS4104", "let walsync write the file and its folder"),
    "SQLITE_FULL": ("WS4105", "make room on the disk of the file"),
    "SQLITE_NOMEM": ("WS4105", "give walsync more memory"),
    "SQLITE_IOERR": ("WS4105", "see the system's log about the disk of the file"),
    "SQLITE_BUSY": ("WS4106", f"another process writes to the file; {_AGAIN}"),
    "SQLITE_LOCKED": ("WS4106", f"another process writes to the file; {_AGAIN}"),
    "SQLITE_PROTOCOL": ("WS4106", f"another process is in the way; {_AGAIN}"),
    "SQLITE_SCHEMA": ("WS4106", f"the schema is being changed; {_AGAIN}"),
    "SQLITE_INTERRUPT": ("WS4102", _AGAIN),
    "SQLITE_ABORT": ("WS4102", _AGAIN),
}
_REFUSED: Final = {
    "SQLITE_CONSTRAINT": (
        "WS4311",
        "a constraint that only the target has refuses the row: drop it there, or mend the row",
    ),
    "SQLITE_CONSTRAINT_TRIGGER": ("WS4313", "a trigger of the target refuses the row: mend the trigger"),
    "SQLITE_CONSTRAINT_DATATYPE": (
        "WS4312",
        "a column's type has changed on the target: reload, and it compares again",
    ),
    "SQLITE_MISMATCH": ("WS4312", "a column's type has changed there: reload, and it compares again"),
    "SQLITE_TOOBIG": ("WS4403", "leave large columns out with `columns`, or keep large values elsewhere"),
    "SQLITE_CORRUPT": ("WS4506", "restore the file, or move it away and give `walsync drop --target NAME`"),
    "SQLITE_NOTADB": ("WS4506", "name another file in `url`"),
    "SQLITE_AUTH": ("WS4201", "D1 refuses this statement: report it"),
    "SQLITE_ERROR": ("WS4201", "the target's schema has changed under walsync: reload, and it compares again"),
}

_OF_WALSYNC: Final = "no such table: _walsync_"
_GUARD: Final = "walsync: "


_TOLD: Final = re.compile(
    r"(?:D1_ERROR: )?(?P<message>.*?): (?P<name>SQLITE_[A-Z]+)(?: \(extended: (?P<extended>SQLITE_[A-Z_0-9]+)\))?",
    re.DOTALL,
)
_OF_CONSTRAINT: Final = re.compile(r"(?:UNIQUE|NOT NULL|CHECK|FOREIGN KEY|PRIMARY KEY) constraint failed.*", re.DOTALL)


_NEWER_NAMES: Final = {3091: "SQLITE_CONSTRAINT_DATATYPE"}


class GuardRaised(Exception):
    """A statement of ours stopped the request: `reason` is what the guard was asked to watch."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


GONE: Final = "gone"
"""The reason where our own tables are not there."""


def judge(error: sqlite3.Error, about: str) -> TargetUnavailable | TargetRefused | GuardRaised:
    """Turn an error of the engine into one decision; `about` names the target, or the row and its key."""
    # Absent where the module itself refuses, without asking SQLite: a closed connection.
    name = getattr(error, "sqlite_errorname", None)
    if name is None and not isinstance(error, sqlite3.DataError):
        return TargetUnavailable("WS4102", f"{about}: {error}", hint=_AGAIN)
    if name == "unknown":  # to a module that is older than the library
        name = _NEWER_NAMES.get(error.sqlite_errorcode, "SQLITE_ERROR")
    return judge_named(name or "SQLITE_TOOBIG", str(error), about)  # SQL that the module finds too long by itself


def judge_text(text: str, about: str) -> TargetUnavailable | TargetRefused | GuardRaised | None:
    """Judge an error as D1 tells it, ``D1_ERROR: message: SQLITE_NAME (extended: SQLITE_NAME_MORE)``.

    None where it is no error of SQLite's.
    """
    found = _TOLD.fullmatch(text)
    if found is None:
        return None
    name = found["extended"] or found["name"]
    message = found["message"]
    if name == "SQLITE_CONSTRAINT" and _OF_CONSTRAINT.fullmatch(message) is None:
        name = "SQLITE_CONSTRAINT_TRIGGER"  # what is left has a text of the user's
    return judge_named(name, message, about)


def judge_named(name: str, text: str, about: str) -> TargetUnavailable | TargetRefused | GuardRaised:
    """Decide by SQLite's name of an error; `text` is its message."""
    if name == "SQLITE_CONSTRAINT_TRIGGER" and text.startswith(_GUARD):
        return GuardRaised(text.removeprefix(_GUARD))
    if name == "SQLITE_ERROR" and text.startswith(_OF_WALSYNC):
        return GuardRaised(GONE)
    sentence = about if name == "SQLITE_CONSTRAINT_TRIGGER" else f"{about}: {text}"
    sentence += f" ({name})"
    found = _longest(_UNAVAILABLE, name)
    if found is not None:
        return TargetUnavailable(found[0], sentence, hint=found[1])
    code, hint = _longest(_REFUSED, name) or ("WS4399", "look the name of the error up in SQLite's manual")
    return TargetRefused(code, sentence, hint=hint)


def _longest(table: dict[str, tuple[str, str]], name: str) -> tuple[str, str] | None:
    prefixes = sorted((prefix for prefix in table if name.startswith(prefix)), key=len)
    return table[prefixes[-1]] if prefixes else None
