"""The types of values that the settings of several steps share, and how a setting refuses a value with a code.

Every scalar of the configuration file arrives here as text: the types say what it means.
"""

import re
from typing import Annotated, Final, TypeAlias

import psycopg2
from psycopg2.extensions import parse_dsn
from pydantic import AfterValidator, BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

from walsync.postgres import mask
from walsync.settings import Secret

_SIZE: Final = re.compile(r"(\d+)\s*(B|kB|MB|GB|TB)?", re.IGNORECASE)
_SIZE_UNITS: Final = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4}
"""As in postgresql.conf, so that a limit here and `max_slot_wal_keep_size` there mean the same number."""

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)?", re.IGNORECASE)
_DURATION_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}

_PORTS: Final = re.compile(r"[0-9,]*")  # libpq looks at it only when it connects


def refusal(code: str, message: str, hint: str, *, at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """Make the error that a validator raises; `at` is the path from the validated value to the part that is wrong.

    The message must not contain the value of a secret: it is shown and logged.
    """
    return PydanticCustomError("refused", "{message}", {"code": code, "message": message, "hint": hint, "at": at})


def parse_size(text: str) -> int:
    """Read ``64MB`` or ``1048576``; units are powers of 1024, as in postgresql.conf. ValueError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size")
    return int(match[1]) * _SIZE_UNITS[(match[2] or "B").lower()]


def parse_duration(text: str) -> float:
    """Read ``25s``, ``2m``, ``1.5h`` or plain seconds. ValueError for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration")
    return float(match[1]) * _DURATION_UNITS[(match[2] or "s").lower()]


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value)
    except ValueError:
        raise refusal("WS1018", "not a size", "write a number with B, kB, MB, GB or TB, such as 64MB") from None


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except ValueError:
        raise refusal("WS1018", "not a duration", "write a number with ms, s, m, h or d, such as 25s") from None


def check_dsn(dsn: Secret, *, at: tuple[str | int, ...] = ()) -> Secret:
    """Refuse what libpq cannot read; libpq's own message is kept back because it quotes the DSN."""
    try:
        parts = parse_dsn(dsn.get_secret_value())
    except psycopg2.Error:
        parts = {}
    if not parts or _PORTS.fullmatch(parts.get("port", "")) is None:
        raise refusal(
            "WS1012",
            "not a connection string that libpq can read",
            "write postgresql://user:password@host:5432/database; characters such as @ : / % in a password are "
            "percent-encoded (@ is %40)",
            at=at,
        )
    if "replication" in parts:
        raise refusal(
            "WS1012", "sets replication=, which walsync does itself", "remove it from the connection string", at=at
        )
    return dsn


Size: TypeAlias = Annotated[int, BeforeValidator(_size, json_schema_input_type=int | str)]
"""Bytes; written ``64MB``, in powers of 1024."""

Seconds: TypeAlias = Annotated[float, BeforeValidator(_duration, json_schema_input_type=float | str)]
"""Seconds; written ``60``, ``60s`` or ``1m``."""

Dsn: TypeAlias = Annotated[
    Secret,
    AfterValidator(check_dsn),
    PlainSerializer(lambda dsn: mask(dsn.get_secret_value()), return_type=str, when_used="json"),
]
"""A libpq connection string or URL; written out with its password masked."""
