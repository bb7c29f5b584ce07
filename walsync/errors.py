"""Every error walsync raises on purpose: one class is one decision, and each carries a code, a cause and what mends it.

    WalsyncError
    ├── ConfigurationError    the file is wrong: the process ends with 2
    ├── ProtocolError         bytes from the server that no version of pgoutput sends: the process ends with 1
    ├── SourceUnavailable     the source is away: tried again for ever       (transient)
    ├── SourceRefused         the source will not work like this: the process ends with 1
    ├── TargetUnavailable     a target is away: the same batch again, for ever (transient)
    ├── TargetRefused         a target will never take this: that target stops
    └── Fenced                another instance took over: the process ends with 5

Codes are stable and listed in docs/operations.md: WS1 configuration, WS2 source, WS3 decoding, WS4 targets,
WS5 positions and registry, WS6 snapshot.
"""

from typing import ClassVar


class WalsyncError(Exception):
    """The root; catch it only at the command line and in the retry loops of the pipeline."""

    transient: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" + (f" (hint: {self.hint})" if self.hint else "")


class ConfigurationError(WalsyncError):
    """The configuration cannot mean anything, or contradicts what is registered on the source."""

    exit_code = 2


class ProtocolError(WalsyncError):
    """Bytes that do not follow the protocol: truncated, unknown, or left over."""

    def __init__(self, message: str) -> None:
        super().__init__("WS3001", message, hint="report this with the server's version; nothing was acknowledged")


class SourceUnavailable(WalsyncError):
    """The source cannot be reached, or ended the session; trying again is right."""

    transient = True


class SourceRefused(WalsyncError):
    """The source answers, but a person has to change something there."""


class TargetUnavailable(WalsyncError):
    """A target cannot be reached, or did not say whether it took a batch; trying again is right."""

    transient = True


class TargetRefused(WalsyncError):
    """A row, a schema or a position that this target will never take as it stands."""


def stopped(target: str) -> TargetRefused:
    """Say that a target can be given nothing to do: it has stopped."""
    hint = "walsync status tells why; mend it, and reload (SIGHUP) or start walsync again"
    return TargetRefused("WS4009", f"target {target} has stopped", hint=hint)


class Fenced(WalsyncError):
    """Another instance of walsync holds this target: this one has to end."""

    exit_code = 5
