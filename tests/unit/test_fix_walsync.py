"""The fixture that runs the command line: its processes say what they said, end when told, and never outlive a test."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_walsync import Walsync, eventually

from walsync.demo.engines import keeper

SECONDS = 20


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Walsync]:
    with contextlib.closing(
        Walsync(tmp_path / "walsync.yaml", tmp_path, {"GREETING": "hello"}, command=Path("/bin/sh"))
    ) as shell:
        yield shell


def test_a_command_gets_its_environment_and_its_output_is_kept(shell: Walsync) -> None:
    assert shell.run("-c", 'echo "$GREETING $WALSYNC_CONFIG"; echo oops >&2; exit 3') == 3
    assert shell.stdout.read_text() == f"hello {shell.config_path}\n"
    assert "oops" in shell.output


def test_a_running_command_is_told_to_end_or_killed(shell: Walsync) -> None:
    shell.start("-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done")
    eventually(lambda: shell.stdout.read_text() == "ready\n", SECONDS, "the command to be ready")
    shell.terminate()
    assert shell.wait(SECONDS) == 7
    shell.start("-c", "exec sleep 60")
    shell.sigkill()
    assert shell.returncode == -signal.SIGKILL


def test_a_command_that_does_not_end_in_time_fails_with_its_output(shell: Walsync) -> None:
    shell.start("-c", "echo stuck; exec sleep 60")
    eventually(lambda: "stuck" in shell.output, SECONDS, "the command to say something")
    with pytest.raises(pytest.fail.Exception, match=r"did not end within(.|\n)*stuck"):
        shell.wait(0.01)
    shell.close()
    assert not shell.is_running


PARENT = """
import sys
from collections.abc import Iterator
from pathlib import Path
sys.path[:0] = sys.argv[2].split(":")
from fix_walsync import Walsync
shell = Walsync(Path("none"), Path(sys.argv[1]), command=Path("/bin/sh"))
shell.start("-c", "echo ready; exec sleep 60")
print(shell.process.pid, flush=True)
sys.stdin.read()
"""


def test_a_command_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path), ":".join(filter(None, sys.path))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        eventually(lambda: (tmp_path / "stdout").read_text() == "ready\n", SECONDS, "the command to run")
        parent.send_signal(signal.SIGKILL)
    eventually(lambda: not keeper.is_running(pid), SECONDS, "the command to end")
