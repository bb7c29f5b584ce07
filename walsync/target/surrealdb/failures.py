"""What an error of SurrealDB means: *unavailable* (the same again, later) or *refused* (somebody has to act).

The engine knows no codes, only sentences, and quotes rows in them: a message takes over what stands before the first
value, and the name of a field.
"""

import re
from collections.abc import Iterable
from typing import Final

from walsync.errors import TargetRefused, TargetUnavailable
from walsync.target.surrealdb.engine import Slot

THROWN: Final = "An error occurred: "

_NOT_EXECUTED: Final = "The query was not executed"

TOO_LARGE: Final = "The request is too large"
"""What a way to a database says of a request that it does not even send."""

_DENIED: Final = r"^IAM|[Nn]ot enough permissions|^You don't have permission"

_UNAVAILABLE: Final = {
    r"can be retried|read or write conflict|[Tt]ransaction conflict|Resource busy": (
        "WS4106",
        "another session of the database was in the way",
        "walsync tries again",
    ),
    r"problem with (the|a) (underlying )?(datastore|key-value|transaction)|IO error|No space left": (
        "WS4105",
        "the engine cannot write its files",
        "see that the disk has room and works",
    ),
}
_REFUSED: Final = {
    r"^Found .* for field `|^Couldn't coerce value for field `": (
        "WS4312",
        "a value does not fit a field that the database defines",
        "compare DEFINE FIELD there with the source's column",
    ),
    r"^Database index `|^Database record `": (
        "WS4311",
        "a unique index that only the target has refuses the row, or two rows are one to it",
        "remove the index there, or mend the row",
    ),
    rf"^{THROWN}": ("WS4313", "an event of the target refuses the row", "mend the event, see INFO FOR TABLE"),
    TOO_LARGE: (
        "WS4612",
        "the row is larger than a server takes in one request: 16 MB",
        "leave its large columns out with `columns`",
    ),
    r"^The table '.*' does not exist|^Found field '.*, but no such field": (
        "WS4201",
        "a table has changed or gone in the database",
        "restart: the tables are compared again",
    ),
    _DENIED: ("WS4202", "its user may not write", "give it the role EDITOR on the database"),
}

_EXPIRED: Final = re.compile(r"(session|token) has expired")
_VALUE: Final = re.compile(r"[`'\"\d{\[(]")
_FIELD: Final = re.compile(r"for field `([^`]+)`(?:, with record| of)")
_MOST_CHARACTERS: Final = 100


def error_of(slots: Iterable[Slot]) -> str | None:
    """Return the error that made a request fail; None where there is none in any statement's answer."""
    errors = [str(slot.get("result")) for slot in slots if slot.get("status") != "OK"]
    telling = (error for error in errors if not error.startswith(_NOT_EXECUTED))
    return next(telling, errors[0] if errors else None)


def is_undefined(text: str, table: str) -> bool:
    """Tell whether an error of 3.x says that a table is not defined; 2.x finds nothing in such a table."""
    return text == f"The table '{table}' does not exist"


def is_denial(text: str) -> bool:
    """Tell whether an error says that the user may not do this."""
    return re.search(_DENIED, text) is not None


def is_expiry(text: str) -> bool:
    """Tell whether a server wants a new sign-in; it has executed nothing of the request."""
    return _EXPIRED.search(text) is not None


def judge_sign_in(text: str, about: str) -> TargetUnavailable | TargetRefused:
    """Say why a server takes no sign-in, without its text: a SIGNIN clause may put into it what was sent."""
    error = judge(text, about)
    if isinstance(error, TargetUnavailable):
        return error
    return TargetRefused(
        "WS4609",
        f"{about}: the server refuses the sign-in",
        hint="correct username, password and level (where the user is defined), or access and credentials;"
        " then restart walsync",
    )


def judge(text: str, about: str) -> TargetUnavailable | TargetRefused:
    """Turn an error's text into one decision; `about` names the target, or the row and its key."""
    for pattern, (code, meaning, hint) in _UNAVAILABLE.items():
        if re.search(pattern, text):
            return TargetUnavailable(code, f"{about}: {meaning}", hint=hint)
    for pattern, (code, meaning, hint) in _REFUSED.items():
        if re.search(pattern, text, re.DOTALL):
            return TargetRefused(code, f"{about}: {meaning}{_field(text)}", hint=hint)
    beginning = _VALUE.split(text, maxsplit=1)[0].strip()[:_MOST_CHARACTERS]
    return TargetRefused(
        "WS4699", f"{about}: SurrealDB refuses: {beginning}…", hint="report this with the engine's version"
    )


def _field(text: str) -> str:
    found = _FIELD.findall(text)
    return f": {found[-1]}" if found else ""
