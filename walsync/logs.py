"""Structured logs on stderr: one event name per line with its values, for people on a terminal, as JSON elsewhere.

A module logs through ``log: Logger = structlog.get_logger()`` and ``log.info("slot_created", slot=name, lsn=lsn)``:
the event's name and the keys are snake_case, units stand in the key. Secrets are masked here, whoever logs them.
"""

import logging
import re
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, TextIO, TypeAlias

import orjson
import structlog
from pydantic import SecretBytes, SecretStr
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from walsync.lsn import LSN

Logger: TypeAlias = FilteringBoundLogger

LEVELS: Final = ("debug", "info", "warning", "error")
DEFAULT_LEVEL: Final = "info"
ENVIRONMENT_VARIABLE: Final = "WALSYNC_LOG_LEVEL"

_MASK: Final = "****"
_SECRET_KEY: Final = re.compile(r"password|passwd|secret|token|authorization|api_key", re.IGNORECASE)
_SECRETS_IN_TEXT: Final = (
    # scheme://user:PASSWORD@host, up to the last @ of the word: a password may hold one. Bounded, so that no text of
    # somebody else's makes the search quadratic.
    re.compile(r"(://[^\s:/@]{0,256}:)\S{0,512}(?=@)"),
    # password=x, password='x y', "api_token": "x", Authorization: Bearer x
    re.compile(
        r"""(?i)((?:password|passwd|secret|token|authorization|api_key)["']?\s*[=:]\s*)"""
        r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?:Bearer\s+)?[^\s&,;'"}]+)"""
    ),
)


def configure(level: str = DEFAULT_LEVEL, *, stream: TextIO | None = None, json: bool | None = None) -> None:
    """Send the logs of this process to `stream` (stderr); as JSON unless it is a terminal, or as `json` says."""
    out = stream if stream is not None else sys.stderr
    as_json = json if json is not None else not out.isatty()
    lowest = getattr(logging, level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            make_plain,
            _renderer(as_json=as_json, colors=out.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=structlog.WriteLoggerFactory(out),
    )
    logging.captureWarnings(capture=True)
    logging.basicConfig(handlers=[_Forward()], level=max(lowest, logging.WARNING), force=True)


def make_plain(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Turn every value into text, numbers, lists and dicts, with secrets masked and LSNs as ``16/B374D848``."""
    return {key: _plain(value, key) for key, value in event.items()}


def mask_text(text: str) -> str:
    """Mask what looks like a secret inside a text."""
    for pattern in _SECRETS_IN_TEXT:
        text = pattern.sub(rf"\g<1>{_MASK}", text)
    return text


def _plain(value: Any, key: str) -> Any:  # noqa: ANN401, PLR0911 - one line per kind of value
    match value:
        case None | bool() | float():
            return value
        case SecretStr() | SecretBytes():
            return _MASK
        case LSN():
            return str(value)
        case Enum():
            return _plain(value.value, key)
        case int():
            # A number may be large: JSON's readers take 64 bits.
            return int(value) if -(2**63) <= value < 2**64 else str(value)
        case Mapping():
            return {str(inner): _plain(part, str(inner)) for inner, part in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(part, key) for part in value]
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case _:
            return _MASK if _SECRET_KEY.search(key) else mask_text(str(value))


def _renderer(*, as_json: bool, colors: bool) -> Processor:
    if as_json:
        return structlog.processors.JSONRenderer(serializer=_dumps)
    # Plain tracebacks: the pretty ones print local variables, and secrets with them.
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


def _dumps(event: EventDict, **_options: object) -> str:
    return orjson.dumps(event).decode()


class _Forward(logging.Handler):
    """Sends what libraries log, such as aiohttp, down the same road."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record of the standard library."""
        structlog.get_logger().log(
            record.levelno,
            "library_message",
            library=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )
