"""`walsync demo` shows what it says, and leaves nothing behind however it ends."""

import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fix_walsync import Walsync, eventually

SECONDS = 60


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder for temporary files that other accounts may enter: as root, the servers run under another one."""
    path = Path(tempfile.mkdtemp(prefix="walsync-demo-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def demo(folder: Path, walsync_command: Callable[..., Walsync]) -> Walsync:
    """Prepare the command, which makes its temporary files in `folder`."""
    return walsync_command("", TMPDIR=str(folder))


def test_the_demo_kills_walsync_and_proves_that_every_table_is_equal(demo: Walsync, folder: Path) -> None:
    assert demo.run("demo", "--seconds", "3", "--rate", "50", "--seed", "7", timeout=SECONDS * 3) == 0

    output = demo.stdout.read_text()
    assert "SIGKILL of walsync" in output
    assert "all equal" in output
    assert "NO" not in output.split()
    assert list(folder.iterdir()) == []
    assert _processes(folder) == []


@pytest.mark.parametrize(
    ("blow", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_a_demo_that_is_ended_leaves_neither_processes_nor_files(
    demo: Walsync, folder: Path, blow: signal.Signals, code: int
) -> None:
    demo.start("demo", "--seconds", "600")
    eventually(lambda: "writing for" in demo.stdout.read_text(), SECONDS, "the demo to write")
    assert len(_processes(folder)) > 3

    assert demo.process is not None
    demo.process.send_signal(blow)

    assert demo.wait(SECONDS) == code
    eventually(lambda: not _processes(folder) and not list(folder.iterdir()), SECONDS, "everything to be gone")


def _processes(folder: Path) -> list[str]:
    """List the processes that name the folder: the demo's servers, their keepers, and walsync."""
    return [line for line in map(_command_line, Path("/proc").glob("[0-9]*/cmdline")) if str(folder) in line]


def _command_line(file: Path) -> str:
    try:
        return file.read_text(errors="replace").replace("\0", " ")
    except OSError:  # it ended meanwhile
        return ""
