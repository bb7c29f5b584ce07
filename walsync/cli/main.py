"""``walsync``: finds the command, and ends the process with an exit code that means something.

0 done · 1 the world · 2 configuration or usage · 3 not caught up in time · 4 differences · 5 fenced off · 130 SIGINT.

What ended a command stands last on stderr as plain text (``error WS2101: ...`` and a hint), also where the logs before
it are JSON: it is read by a person, or by a script that looks for the code.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click

import walsync
from walsync.errors import WalsyncError

COMMANDS: Final = {
    "init": "Look at a source and write a configuration for it; change nothing there.",
    "run": "Keep the targets in step with the source.",
    "check": "Look for what would keep `run` from working; change nothing.",
    "status": "Show where source and targets are.",
    "snapshot": "Copy tables once more while the others go on.",
    "tail": "Print the changes of a publication as they are committed.",
    "config": "Print the configuration as understood, secrets masked.",
    "drop": "Forget targets; their rows stay.",
    "demo": "Replicate into five targets, through a crash and an outage, and compare every value.",
}
"""The first line of each command's help. A command stands in the module of its name, and is imported when it is used:
with all of them every start costs most of a second."""

_WORLD: Final = 1
_INTERRUPTED: Final = 130


class Commands(click.Group):
    """Imports a command when it is used, and none to list them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands, in the order in which a newcomer meets them."""
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None when there is none of this name."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(import_module(f"walsync.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """List them by what stands here."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(walsync.__version__, prog_name="walsync", message="%(prog)s %(version)s")
def cli() -> None:
    """One Postgres replication slot into many databases, exactly once."""


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
    except WalsyncError as error:
        _tell(error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last line of defence: whatever it is belongs in the log
        _log_unexpected(error)
        return _WORLD
    return result if isinstance(result, int) else 0


# The imports below are for what seldom happens, and would cost every `--help` half a second.


def _tell(error: WalsyncError) -> None:
    from walsync.config_file import InvalidConfiguration  # noqa: PLC0415
    from walsync.logs import mask_text  # noqa: PLC0415

    told = [(error.code, error.message, error.hint)]
    if isinstance(error, InvalidConfiguration):
        told = [(one.code, f"{one.where}: {one.message}", one.hint) for one in error.problems]
    for code, message, hint in told:
        click.echo(f"{click.style('error', fg='red', bold=True)} {code}: {mask_text(message)}", err=True)
        if hint:
            click.echo(f"  hint: {mask_text(hint)}", err=True)


def _log_unexpected(error: Exception) -> None:
    import structlog  # noqa: PLC0415

    from walsync import logs  # noqa: PLC0415

    if not structlog.is_configured():
        logs.configure()
    log: logs.Logger = structlog.get_logger()
    log.error("unexpected_error", exc_info=error)
