"""``walsync``: finds the command, and ends the process with an exit code that means something.

0 done · 1 the world · 2 configuration or usage · 3 not caught up in time · 4 differences · 5 fenced off · 130 SIGINT.

What ended a command stands last on stderr as plain text (``error WS2101: ...`` and a hint), also where the logs before
it are JSON: it is read by a person, or by a script that looks for the code.
"""

import sys
from collections.abc import Sequence
from typing import Final

import click
import structlog

import walsync
from walsync import logs
from walsync.cli.check import check
from walsync.cli.config import config
from walsync.cli.demo import demo
from walsync.cli.drop import drop
from walsync.cli.run import run
from walsync.cli.status import status
from walsync.config import InvalidConfiguration
from walsync.errors import WalsyncError
from walsync.logs import Logger

_WORLD: Final = 1
_INTERRUPTED: Final = 130

log: Logger = structlog.get_logger()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(walsync.__version__, prog_name="walsync", message="%(prog)s %(version)s")
def cli() -> None:
    """One Postgres replication slot into many databases, exactly once."""


for _command in (run, check, status, config, drop, demo):
    cli.add_command(_command)


def main() -> None:
    """Run the command that the process was started with, and end with its exit code."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        result = cli.main(args=list(arguments), prog_name="walsync", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except InvalidConfiguration as error:
        for problem in error.problems:
            _tell(problem.code, f"{problem.where}: {problem.message}", problem.hint)
        return error.exit_code
    except WalsyncError as error:
        _tell(error.code, error.message, error.hint)
        return error.exit_code
    except Exception:  # the last line of defence: the traceback belongs in the log, whatever it is
        if not structlog.is_configured():
            logs.configure()
        log.exception("unexpected_error")
        return _WORLD
    return result if isinstance(result, int) else 0


def _tell(code: str, message: str, hint: str) -> None:
    click.echo(f"{click.style('error', fg='red', bold=True)} {code}: {logs.mask_text(message)}", err=True)
    if hint:
        click.echo(f"  hint: {logs.mask_text(hint)}", err=True)
