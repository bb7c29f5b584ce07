"""How the command line ends: codes and words, without a process."""

import subprocess
import sys
from typing import Final

import click
import pytest

from walsync.cli.main import COMMANDS, cli, execute
from walsync.cli.status_table import human_bytes, show
from walsync.errors import ConfigurationError, Fenced, SourceRefused, WalsyncError
from walsync.lsn import LSN
from walsync.setting_types import parse_duration, parse_size
from walsync.status import BlockedBy, LastError, SourceState, SourceStatus, Status, TargetState, TargetStatus

SECRET: Final = "hunter2-very-secret"


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Add a command that raises what the test puts into the list."""
    errors: list[BaseException] = []

    @click.command()
    def fail() -> None:
        raise errors[0]

    monkeypatch.setitem(cli.commands, "fail", fail)
    return errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SourceRefused("WS2101", "wal_level is replica", hint="ALTER SYSTEM"), 1),
        (ConfigurationError("WS5008", "not configured"), 2),
        (Fenced("WS4001", "another run holds it"), 5),
        (WalsyncError("WS7001", "in use"), 1),
    ],
)
def test_an_error_ends_with_its_code_and_says_what_mends_it(
    raising: list[BaseException], capsys: pytest.CaptureFixture[str], error: WalsyncError, code: int
) -> None:
    raising.append(error)
    assert execute(["fail"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error {error.code}: {error.message}\n")
    assert (f"  hint: {error.hint}\n" in captured.err) == bool(error.hint)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interruption_ends_with_130(raising: list[BaseException], error: BaseException) -> None:
    raising.append(error)
    assert execute(["fail"]) == 130


def test_what_nobody_expected_leaves_a_traceback_without_secrets(
    raising: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    raising.append(ZeroDivisionError(f"password={SECRET}"))
    assert execute(["fail"]) == 1
    captured = capsys.readouterr()
    assert "unexpected_error" in captured.err + captured.out
    assert SECRET not in captured.err + captured.out


def test_a_secret_in_an_error_is_masked(raising: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    raising.append(SourceRefused("WS2001", f"refused postgresql://u:{SECRET}@h/db", hint=f"password={SECRET}"))
    execute(["fail"])
    assert SECRET not in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_listed_by_how_its_help_begins(command: str) -> None:
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    assert " ".join((found.help or "").split()).startswith(COMMANDS[command].removesuffix("."))


def test_listing_the_commands_imports_none_of_them() -> None:
    script = """
import sys
from walsync.cli.main import execute
assert execute(["--help"]) == execute(["--version"]) == 0
print(sorted({"aiohttp", "psycopg2", "pydantic", "rich", "structlog"} & sys.modules.keys()))
"""
    answer = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert answer.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"demo"}))  # it writes a file of its own
def test_every_command_takes_a_file_and_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute([command, "--help"]) == 0
    assert "-c, --config FILE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "seconds"), [("25s", 25), ("2m", 120), ("90", 90), ("1.5h", 5400), ("250ms", 0.25), ("1d", 86400)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("64MB", 64 * 1024**2), ("1 kB", 1024), ("7", 7), ("7B", 7), ("2gb", 2 * 1024**3)]
)
def test_sizes_are_read_as_in_postgresql_conf(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 fortnight", "1e3", "1,5s", "inf", "nan"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse_duration(text)
    with pytest.raises(ValueError, match="is not a"):
        parse_size(text)


@pytest.mark.parametrize(
    ("count", "text"), [(None, "-"), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 kB"), (5 * 1024**4, "5.0 TB")]
)
def test_bytes_are_written_for_people(count: int | None, text: str) -> None:
    assert human_bytes(count) == text


def test_the_table_shows_errors_with_their_hints_and_what_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    error = LastError("WS4203", "column [bold]name[/bold] is missing", "ALTER TABLE t ADD COLUMN name text[]")
    show(
        Status(
            SourceStatus("walsync", SourceState.WAITING_FOR_SLOT, wal_end_lsn=LSN(9), blocked_by=BlockedBy(4711, 12.4)),
            (TargetStatus("replica", "postgres", TargetState.STOPPED, LSN(5), 4, 0.25, last_error=error),),
        )
    )
    text = capsys.readouterr().out
    assert "waits for pid 4711 since 12 s" in text
    assert "replica: WS4203 column [bold]name[/bold] is missing" in text
    assert "hint: ALTER TABLE t ADD COLUMN name text[]" in text
    assert "0/5" in text
