"""Connections to Postgres, of the source and of targets alike: pinned session settings, secrets masked in errors.

It does not decide what an error means: each side turns psycopg2's errors into its own.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import psycopg2
import psycopg2.extensions
from psycopg2.extensions import make_dsn, parse_dsn

Connection: TypeAlias = psycopg2.extensions.connection

OUTPUT_SETTINGS: Final[Mapping[str, str]] = {
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "xmloption": "content",
    "search_path": "",
}
"""They change the text of values, and ALTER ROLE or ALTER DATABASE may have set them: pinned in every session.

An empty search_path shows every type that is not built in with its schema."""

TIMEOUTS_OFF: Final[Mapping[str, str]] = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
"""A replication or snapshot session lives for hours; the server's defaults are made for the application."""

_NAME_BYTES: Final = 63
"""NAMEDATALEN - 1: the server cuts longer names. Slots' are ASCII."""

_CONNECT_TIMEOUT_SECONDS: Final = 10
_KEEPALIVES: Final[Mapping[str, int]] = {
    # A peer that vanished without a word is noticed after about 10 + 3 * 5 seconds instead of two hours.
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}

# Settings that only newer servers know: set where pg_settings lists them.
_TRANSACTION_TIMEOUT: Final = "transaction_timeout"
_TRANSACTION_TIMEOUT_SINCE: Final = 170000


def connect(
    dsn: str, *, application_name: str, settings: Mapping[str, str] | None = None, autocommit: bool = True
) -> Connection:
    """Open a session with the output settings pinned and `settings` on top; raises psycopg2.Error."""
    opened = psycopg2.connect(complete_dsn(dsn, application_name))
    try:
        opened.autocommit = True
        pin_settings(opened, settings or {})
        opened.autocommit = autocommit
    except BaseException:
        opened.close()
        raise
    return opened


def complete_dsn(dsn: str, application_name: str) -> str:
    """Add what the operator left open: timeouts, TCP keepalives, the name shown in pg_stat_activity, UTF-8."""
    given = parse_dsn(dsn)
    defaults = {"connect_timeout": _CONNECT_TIMEOUT_SECONDS, **_KEEPALIVES, "application_name": application_name}
    return make_dsn(dsn, client_encoding="UTF8", **{key: value for key, value in defaults.items() if key not in given})


def run_name(slot: str, epoch: int) -> str:
    """Name the sessions of one run in pg_stat_activity; where the name has to be cut, the epoch stays whole."""
    suffix = f" epoch {epoch}"
    return f"walsync {slot}"[: _NAME_BYTES - len(suffix)] + suffix


def pin_settings(opened: Connection, settings: Mapping[str, str]) -> None:
    """Set the output settings and `settings` for the whole session, in one round trip.

    SET instead of startup options: a pooler in front of a target refuses the latter. The session is in autocommit mode,
    as every replication session is: set inside a transaction, they would end with its rollback.
    """
    wanted = {**OUTPUT_SETTINGS, **TIMEOUTS_OFF, **settings}
    if opened.server_version >= _TRANSACTION_TIMEOUT_SINCE:
        wanted.setdefault(_TRANSACTION_TIMEOUT, "0")
    calls = ", ".join(["pg_catalog.set_config(%s, %s, false)"] * len(wanted))
    with opened.cursor() as cursor:
        cursor.execute(f"SELECT {calls}", [part for pair in wanted.items() for part in pair])


def mask(dsn: str) -> str:
    """Write a DSN for people, without its secrets."""
    try:
        parts = parse_dsn(dsn)
    except psycopg2.Error:
        return "<invalid DSN>"
    return make_dsn(**{key: "****" if "password" in key else value for key, value in parts.items()})


def describe(error: psycopg2.Error) -> str:
    """Take the server's own sentence out of an error: its first line, which names no secret."""
    text = error.diag.message_primary or str(error)
    return text.strip().split("\n")[0] or type(error).__name__
