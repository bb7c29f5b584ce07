"""``walsync check``: the doctor's findings, printed like those of a good compiler."""

import asyncio
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
import orjson

from walsync.check.doctor import examine
from walsync.check.finding import Finding, Report, Severity
from walsync.check.incomplete import complete
from walsync.check.place import locate
from walsync.cli.options import load, with_config, with_logs
from walsync.config import Config, InvalidConfiguration, find
from walsync.config_file import outline
from walsync.logs import mask_text

_FOUND_ERRORS: Final = 1
_COLOURS: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.OK: "green"}


@click.command()
@with_config
@with_logs("error")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check(path: Path | None, *, as_json: bool) -> int:
    """Look for what would keep `run` from working; change nothing.

    Ends with 0 when there is no error, 1 when there is one, and 2 when the configuration itself is wrong.
    """
    report = Report()
    code = 0
    config: Config | None
    try:
        config = load(path)
    except InvalidConfiguration as error:
        config, further = complete(error, path, os.environ)
        report.invalid([*error.problems, *further])
        code = error.exit_code
    if config is not None:
        document = outline(find(path, os.environ))
        report.extend(locate(finding, config, document) for finding in asyncio.run(examine(config)).findings)
    _print_json(report) if as_json else _print(report)
    return code or (_FOUND_ERRORS if report.has_errors else 0)


def _print_json(report: Report) -> None:
    findings = [{key: mask_text(text) for key, text in asdict(finding).items()} for finding in report.findings]
    content = {"ok": not report.has_errors, "findings": findings}
    click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())


def _print(report: Report) -> None:
    for finding in report.findings:
        _print_finding(finding)
    counts = Counter(finding.severity for finding in report.findings)
    errors, warnings = counts[Severity.ERROR], counts[Severity.WARNING]
    gravest = next((one for one in _COLOURS if counts[one]), Severity.OK)
    summary = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}, {counts[Severity.OK]} ok"
    click.secho(summary, fg=_COLOURS[gravest], bold=True)


def _print_finding(finding: Finding) -> None:
    label = click.style(finding.severity.value, fg=_COLOURS[finding.severity], bold=True)
    head = f"{label} {finding.code}" if finding.code else label
    click.echo(f"{head} {finding.where}: {mask_text(finding.message)}")
    if finding.place:
        click.echo(f"  at: {finding.place}")
    if finding.why:
        click.echo(f"  why: {finding.why}")
    if finding.hint:
        click.echo(f"  fix: {mask_text(finding.hint)}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
