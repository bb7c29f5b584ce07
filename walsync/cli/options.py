"""What several commands take: the file, the level of the logs, durations."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from walsync import config, logs
from walsync.setting_types import parse_duration

_F = TypeVar("_F", bound=Callable[..., Any])

_CONFIG: Final = click.option(
    "-c",
    "--config",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The configuration; else $WALSYNC_CONFIG, /config/walsync.yaml, ./conf/walsync.yaml, ./walsync.yaml.",
)


class Duration(click.ParamType[float]):
    """A duration on the command line: ``25s``, ``2m``, or plain seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401
        """Read it; a usage error when it is something else."""
        try:
            return parse_duration(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a duration such as 25s, 2m or 90", param, ctx)


def with_config(command: _F) -> _F:
    """Give a command ``-c FILE``, as `path`."""
    return _CONFIG(command)


def with_logs(default: str) -> Callable[[_F], _F]:
    """Give a command ``--log-level``, and set the logs up before it begins."""
    return click.option(
        "--log-level",
        type=click.Choice(logs.LEVELS),
        envvar=logs.ENVIRONMENT_VARIABLE,
        default=default,
        show_default=True,
        expose_value=False,
        callback=_configure_logs,
        help=f"The least that is logged on stderr; also ${logs.ENVIRONMENT_VARIABLE}.",
    )


def load(path: Path | None) -> config.Config:
    """Load the configuration that a command is about."""
    return config.load(path, os.environ)


def _configure_logs(_context: click.Context, _parameter: click.Parameter, level: str) -> None:
    logs.configure(level)
