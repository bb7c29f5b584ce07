"""What an error of the server means: *unavailable* (the same again, later) or *refused* (somebody has to act).

One table decides, by SQLSTATE. Messages carry the server's own sentence without the values it may quote.
"""

import re
from typing import Final

import psycopg2
from psycopg2.errorcodes import UNIQUE_VIOLATION

from walsync.errors import TargetRefused, TargetUnavailable
from walsync.postgres import describe

CONNECTION_LOST: Final = "WS4102"

_CONNECT_HINT: Final = "see that the server is up and that `dsn` names it; walsync keeps trying"

# The longest prefix that matches decides; classes and names from the manual's "PostgreSQL Error Codes".
_UNAVAILABLE: Final = {
    "08": ("WS4102", _CONNECT_HINT),
    "25006": ("WS4104", "the server is read-only: name the primary in `dsn`, or add target_session_attrs=read-write"),
    "25P": ("WS4102", "the session waited too long inside its transaction; walsync starts the batch again"),
    "40": ("WS4106", "another session of the target was in the way; walsync tries again"),
    "53": ("WS4105", "the target is out of disk, memory or connections"),
    "55P03": ("WS4106", "another session of the target holds a lock; walsync tries again"),
    "57": ("WS4102", "the target ended the session or the statement; walsync tries again"),
    "58": ("WS4105", "the target's operating system refuses it a file or a device: see its log"),
}
_REFUSED: Final = {
    "0A": ("WS4314", "the target's table has a feature that this write does not work with"),
    "21": ("WS4311", "two rows of the source are one row to the target: compare the types of the key columns"),
    "22": (
        "WS4312",
        "a value does not fit the column: compare its type with the source's, or mend the row there",
    ),
    "23": ("WS4311", "a constraint that only the target has refuses the row: drop it there, or mend the row"),
    "42501": ("WS4202", "grant the target's role what it lacks: CREATE on the database, or ownership of the table"),
    "42P10": ("WS4206", "the unique index of the key is gone: create it again, then restart"),
    "42": ("WS4201", "the target's schema has changed under walsync: reload, and it compares again"),
    "44": ("WS4311", "a constraint that only the target has refuses the row: drop it there, or mend the row"),
    "P0": ("WS4313", "a trigger of the target refuses the row: mend the trigger"),
}

# A whole batch that fails with one of these may pass change by change, and if not, the change at fault gets named.
_WORTH_A_SERIAL_TRY: Final = ("21", "22", "23", "44", "P0")

_QUOTED: Final = re.compile(r'".*"')


def judge(error: psycopg2.Error, about: str) -> TargetUnavailable | TargetRefused:
    """Turn an error of an open session into one decision; `about` names the target, or the row and its key."""
    state = error.pgcode
    if state is None:
        return TargetUnavailable("WS4102", f"{about}: the connection is lost: {describe(error)}", hint=_CONNECT_HINT)
    sentence = f"{about}: {_without_values(error)} (SQLSTATE {state})"
    found = _longest(_UNAVAILABLE, state)
    if found is not None:
        return TargetUnavailable(found[0], sentence, hint=found[1])
    code, hint = _longest(_REFUSED, state) or ("WS4399", "the server's log has more")
    return TargetRefused(code, sentence, hint=hint)


def judge_connecting(error: psycopg2.Error, about: str) -> TargetUnavailable:
    """Turn a failed attempt to connect into one decision; a `dsn` that libpq cannot read was refused at load."""
    return TargetUnavailable("WS4101", f"{about}: cannot connect: {describe(error)}", hint=_CONNECT_HINT)


def worth_a_serial_try(error: psycopg2.Error) -> bool:
    """Tell whether the rows, and not the session or the schema, are at fault."""
    return error.pgcode is not None and error.pgcode.startswith(_WORTH_A_SERIAL_TRY)


def _longest(table: dict[str, tuple[str, str]], state: str) -> tuple[str, str] | None:
    prefixes = (state[:length] for length in range(5, 1, -1))
    return next((table[prefix] for prefix in prefixes if prefix in table), None)


def _without_values(error: psycopg2.Error) -> str:
    """Drop what class 22 quotes: there it is the value; elsewhere a table, column or constraint."""
    if error.pgcode == UNIQUE_VIOLATION and error.diag.constraint_name:
        # The server has other words where it meets the two rows while it builds the index.
        return f'duplicate key value violates unique constraint "{error.diag.constraint_name}"'
    sentence = describe(error)
    return _QUOTED.sub('"…"', sentence) if (error.pgcode or "").startswith("22") else sentence
