"""``walsync init``: looks at a database and writes a configuration for it; the server is never changed."""

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn
from pydantic_core import PydanticCustomError

from walsync.cli.options import with_logs
from walsync.config import InvalidConfiguration, find, load
from walsync.errors import ConfigurationError, SourceRefused
from walsync.postgres import Connection
from walsync.proposal import document
from walsync.proposal.statements import script
from walsync.proposal.survey import NAME, Found, Survey, look
from walsync.setting_types import check_dsn
from walsync.settings import Secret
from walsync.source import requirements
from walsync.source.session import open_session, source_error

_READ_ONLY: Final = "SET default_transaction_read_only = on"
_TOO_OLD: Final = "WS2102"
_ANYTHING: Final = "to_be_set"


@click.command()
@click.option(
    "-c",
    "--config",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=Path("walsync.yaml"),
    show_default=True,
    help="The file to write.",
)
@with_logs("error")
@click.option("--dsn", metavar="DSN", help="The source, as whoever may look at its catalogue; asked for when left out.")
@click.option("--role", default=NAME, show_default=True, help="The role that walsync will use on the source.")
@click.option("--table", "names", metavar="NAME", multiple=True, help="Replicate this table only; may be repeated.")
@click.option(
    "--target",
    "urls",
    metavar="URL",
    multiple=True,
    help="A target: postgresql://..., sqlite:///path, surrealkv:///path; may be repeated. "
    "Asked for without --dsn; else a file beside FILE.",
)
@click.option("--force", is_flag=True, help="Replace FILE.")
def init(path: Path, *, dsn: str | None, role: str, names: Sequence[str], urls: Sequence[str], force: bool) -> None:
    """Look at a source and write a configuration for it; change nothing there.

    On stdout: the SQL for an administrator, with a role that may do no more than needed. What was found, and what
    comes next, goes to stderr.
    """
    if path.exists() and not force:
        raise ConfigurationError("WS1040", f"{path} exists", hint="-c FILE writes another one, --force replaces it")
    asking = dsn is None
    dsn = _checked(dsn if dsn is not None else _ask_source())
    survey = _look(dsn, role)
    _tell_tables(survey)
    chosen = _choose(survey, names, asking=asking)
    targets = _targets(urls or [_ask_target(path, asking=asking)])
    text = document.write(survey, chosen, dsn=document.source_dsn(dsn, role), targets=targets)
    variables = [document.SOURCE_PASSWORD, *(name for target in targets for name in target.variables)]
    _write(path, text, variables)
    click.echo(script(survey, chosen, role=role, targets=len(targets)), nl=False)
    _tell_next(path, variables)


def _ask_source() -> str:
    dsn: str = _checked(click.prompt("Source (postgresql://...)", err=True))
    if "password" in parse_dsn(dsn):
        return dsn
    password = click.prompt("Password, if it asks for one", default="", hide_input=True, show_default=False, err=True)
    return make_dsn(dsn, password=password) if password else dsn


def _checked(dsn: str) -> str:
    try:
        check_dsn(Secret(dsn))
    except PydanticCustomError as error:
        context = error.context or {}
        raise ConfigurationError(context["code"], context["message"], hint=context["hint"]) from None
    return dsn


def _look(dsn: str, role: str) -> Survey:
    with closing(open_session(dsn, "walsync init")) as session:
        try:
            return _survey(session, role)
        except psycopg2.Error as error:
            raise source_error(error) from error


def _survey(session: Connection, role: str) -> Survey:
    with session.cursor() as cursor:
        cursor.execute(_READ_ONLY)
    unfit = [problem for problem in requirements.of_server(session) if problem.code == _TOO_OLD]
    if unfit:
        raise unfit[0]
    return look(session, role)


def _tell_tables(survey: Survey) -> None:
    _say(f"{survey.database}: {len(survey.usable)} of {len(survey.tables)} tables can be replicated as they are")
    for found in survey.usable:
        _say(f"  {click.style('ok', fg='green')} {found.name}, about {found.rows:,} rows")
    for found in survey.tables:
        for problem in found.problems:
            _say(f"  {click.style(problem.code, fg='yellow')} {problem.message}\n    fix: {problem.hint}")
    for name, kind in survey.others:
        _say(f"  {click.style('left out', fg='yellow')} {name}: {kind}, its changes are not in the WAL")


def _choose(survey: Survey, names: Sequence[str], *, asking: bool) -> Sequence[Found]:
    usable = {found.name: found for found in survey.usable}
    if not usable:
        raise SourceRefused(
            "WS2207", f"no table of {survey.database} can be replicated as it is", hint="see the list above, or --dsn"
        )
    if not names and asking:
        answer = click.prompt("Tables, separated by spaces", default="all", err=True)
        names = [] if answer == "all" else answer.split()
    for name in names:
        if name not in usable:
            raise SourceRefused(
                "WS2201", f"{name} is no table that can be replicated as it is", hint=f"choose of {', '.join(usable)}"
            )
    return [found for name, found in usable.items() if not names or name in names]


def _ask_target(path: Path, *, asking: bool) -> str:
    beside = f"sqlite://{(path.parent / 'replica.sqlite').absolute()}"
    if not asking:
        return beside
    answer: str = click.prompt("Target (postgresql://..., sqlite:///path, surrealkv:///path)", default=beside, err=True)
    return answer


def _targets(urls: Sequence[str]) -> list[document.ProposedTarget]:
    try:
        return document.propose_targets(urls)
    except ValueError as error:
        raise click.UsageError(f"--target: {error}") from None
    except psycopg2.Error:
        raise click.UsageError("--target: not an address that libpq can read") from None


def _write(path: Path, text: str, variables: Sequence[str]) -> None:
    """Put the file in its place when it loads; a file that is there until then is never half a file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        load(draft, dict.fromkeys(variables, _ANYTHING))
        draft.replace(path)
    except InvalidConfiguration as error:
        problems = [replace(one, where=one.where.replace(str(draft), str(path))) for one in error.problems]
        raise InvalidConfiguration(problems) from None
    except OSError as error:
        raise ConfigurationError("WS1002", f"{path} cannot be written: {error.strerror}", hint="-c FILE") from None
    finally:
        draft.unlink(missing_ok=True)


def _tell_next(path: Path, variables: Sequence[str]) -> None:
    _say(f"\nwrote {path}; the SQL for an administrator of the source stands on stdout. Then:")
    for name in dict.fromkeys(variables):
        _say(f"  export {name}=...")
    option = "" if _is_found(path) else f" -c {path}"
    _say(f"  walsync check{option}\n  walsync run{option}")


def _is_found(path: Path) -> bool:
    """Tell whether commands take this file without -c: a clone has a conf/walsync.yaml, which comes first."""
    try:
        return find(None, os.environ).resolve() == path.resolve()
    except InvalidConfiguration:
        return False


def _say(text: str) -> None:
    click.echo(text, file=sys.stderr)
