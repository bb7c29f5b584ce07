"""What a check finds, and the list that collects it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from walsync.check.reasons import REASONS, REMEDIES
from walsync.config import Problem
from walsync.errors import WalsyncError


class Severity(StrEnum):
    """An error keeps `run` from working; a warning will hurt one day."""

    ERROR = "error"
    WARNING = "warning"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """One entry of the report: what, where, why it matters, and the command that mends it.

    `where` is the part that was looked at, `place` the line of the file that speaks of it, as far as known.
    """

    severity: Severity
    code: str
    where: str
    message: str
    why: str = ""
    hint: str = ""
    place: str = ""


@dataclass
class Report:
    """Everything found so far, in the order of the data's path."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def has_errors(self) -> bool:
        """Whether `run` would not work."""
        return any(finding.severity is Severity.ERROR for finding in self.findings)

    def ok(self, where: str, message: str) -> None:
        """Note that something is as it should be."""
        self.findings.append(Finding(Severity.OK, "", where, message))

    def error(self, code: str, where: str, message: str, hint: str) -> None:
        """Note what keeps `run` from working."""
        self._add(Severity.ERROR, code, where, message, hint)

    def warning(self, code: str, where: str, message: str, hint: str) -> None:
        """Note what will hurt one day."""
        self._add(Severity.WARNING, code, where, message, hint)

    def refused(self, where: str, *errors: WalsyncError) -> None:
        """Note errors that `run` would raise."""
        for error in errors:
            hint = REMEDIES.get(error.code, error.hint)
            self.error(error.code, where, error.message.removeprefix(f"{where}: "), hint)

    def invalid(self, problems: Iterable[Problem]) -> None:
        """Note everything that is wrong with the file."""
        for problem in problems:
            self.error(problem.code, problem.where, problem.message, problem.hint)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Take over another list."""
        self.findings.extend(findings)

    def _add(self, severity: Severity, code: str, where: str, message: str, hint: str) -> None:
        self.findings.append(Finding(severity, code, where, message, REASONS.get(code, ""), hint))
