"""`walsync demo` shows what it says, and leaves nothing behind however it ends."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import tempfile
import termios
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fix_walsync import Walsync, eventually

from walsync.demo.stage import ALL_REGIONS

SECONDS = 120  # a bound for a busy machine: a whole run takes a quarter of it on an idle one
TARGETS = ("replica", "weur", "enam", "apac", "graph")
SHORT = ("demo", "--seconds", "1", "--rate", "100", "--seed", "7")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder for temporary files that other accounts may enter: as root, the servers run under another one."""
    path = Path(tempfile.mkdtemp(prefix="walsync-demo-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def new_demo(folder: Path, walsync_command: Callable[..., Walsync]) -> Callable[[], Walsync]:
    """Prepare commands that make their temporary files in `folder`."""
    return lambda: walsync_command("", TMPDIR=str(folder))


@pytest.fixture
def demo(new_demo: Callable[[], Walsync]) -> Walsync:
    """Prepare one command."""
    return new_demo()


def test_the_demo_survives_its_blows_and_proves_that_all_is_equal_twice_in_a_row(
    new_demo: Callable[[], Walsync], folder: Path
) -> None:
    for demo in (new_demo(), new_demo()):
        assert demo.run(*SHORT, timeout=SECONDS) == 0, demo.output

        _check_a_green_run(demo.stdout.read_text())
        assert _is_empty(folder)


def test_on_a_terminal_bars_and_table_change_in_place(demo: Walsync, folder: Path) -> None:
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = subprocess.Popen(
        [demo.command, "demo", "--seconds", "600"],
        env={**os.environ, "TMPDIR": str(folder), "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=its,
        start_new_session=True,
    )
    os.close(its)
    os.set_blocking(ours, False)
    seen = bytearray()

    def shows(pattern: bytes) -> bool:
        assert process.poll() is None, seen.decode(errors="replace")
        with contextlib.suppress(BlockingIOError):
            seen.extend(os.read(ours, 2**16))
        return re.search(pattern, seen) is not None

    try:
        eventually(lambda: shows(rb"graph .*\xe2\x94\x81.*/30500"), SECONDS, "a bar")
        eventually(lambda: shows(rb"graph +surrealdb +\x1b\[32mstreaming"), SECONDS, "the table, with colours")
        eventually(lambda: shows(rb"\x1b\[1A\x1b\[2K"), SECONDS, "a line to be written again")
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert _is_empty(folder)


@pytest.mark.parametrize(
    ("blow", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_a_demo_that_is_ended_leaves_neither_processes_nor_files(
    demo: Walsync, folder: Path, blow: signal.Signals, code: int
) -> None:
    demo.start("demo", "--seconds", "600")
    _await_line(demo, "writing for")
    assert len(_processes(folder)) > 3

    _send(demo, blow)

    assert demo.wait(SECONDS) == code
    eventually(lambda: _is_empty(folder), SECONDS, "everything to be gone")


def test_what_outlives_a_killed_demo_is_removed_by_the_next(new_demo: Callable[[], Walsync], folder: Path) -> None:
    killed, following = new_demo(), new_demo()
    killed.start("demo", "--seconds", "600")
    _await_line(killed, "walsync run, process")
    for pid in _processes(folder, "keeper.py"):
        _signal(pid, signal.SIGSTOP)  # they would clean up
    killed.sigkill()
    (left,) = folder.iterdir()
    servers = [pid for pid in _processes(folder, "postgres") if pid not in _processes(folder, "keeper.py")]
    assert len(servers) == 2

    following.start("demo", "--seconds", "600")
    _await_line(following, f"removed what a demo that was killed had left: {left}")

    assert not left.exists()
    assert not any(str(left) in _command_line(Path(f"/proc/{pid}/cmdline")) for pid in servers)
    _await_line(following, "walsync run, process")  # the next one works
    _send(following, signal.SIGINT)
    assert following.wait(SECONDS) == 130
    assert _is_empty(folder)


def test_a_kept_demo_takes_up_a_table_of_ones_own_by_the_commands_that_it_prints(demo: Walsync, folder: Path) -> None:
    demo.start("demo", "--keep", "--seconds", "0")
    _await_line(demo, "Everything stays until Ctrl-C.")
    create, reload, look = eventually(
        lambda: found if len(found := re.findall(r"^  \$ (.*)$", demo.stdout.read_text(), re.MULTILINE)) == 3 else None,
        SECONDS,
        "three commands",
    ) or ("", "", "")

    _shell(create)
    _shell(reload)
    _await_line(demo, "public.notes is in all five targets")

    seen = _shell(look)
    assert [line for line in seen.splitlines() if line.endswith(" rows")] == [
        f"{name}: 1 rows" for name in ("source", *TARGETS)
    ]
    assert seen.count("('1', 'hello')") == 6
    assert "walsync ended" not in demo.stdout.read_text()
    _send(demo, signal.SIGINT)
    assert demo.wait(SECONDS) == 0
    verdict = re.findall(r"^public\.notes +1 .*", demo.stdout.read_text(), re.MULTILINE)
    assert [line.split()[-5:] for line in verdict] == [["equal"] * 5]
    assert _is_empty(folder)


def test_a_row_that_differs_in_one_target_makes_the_demo_fail(demo: Walsync, folder: Path) -> None:
    demo.start(*SHORT)
    _await_line(demo, "writing for")
    (file,) = folder.glob("*/*/enam.sqlite")
    with closing(sqlite3.connect(file, timeout=SECONDS)) as connection, connection:
        connection.execute("UPDATE app__orgs SET management_email = 'x@example.com' WHERE id = 1")

    assert demo.wait(SECONDS) == 4

    output = demo.stdout.read_text()
    assert "enam: app.orgs: " in output
    assert "1 missing, 1 extra" in output
    assert re.search(r"^enam .* NO *$", output, re.MULTILINE)
    assert re.search(r"^weur .* equal *$", output, re.MULTILINE)
    assert output.endswith("NOT EQUAL\n")


def test_six_regions_on_workerd_are_equal_too(demo: Walsync, folder: Path) -> None:
    assert demo.run(*SHORT, "--workerd", timeout=2 * SECONDS) == 0, demo.output

    _check_a_green_run(demo.stdout.read_text(), ("replica", *ALL_REGIONS, "graph"))
    eventually(lambda: _is_empty(folder), SECONDS, "everything to be gone")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WALSYNC_WORKERD": "/nowhere"}, "export WALSYNC_WORKERD="),
        ({"PATH": "/nowhere"}, "apt-get install nodejs npm"),
    ],
)
def test_what_workerd_needs_and_is_not_there_is_named(
    walsync_command: Callable[..., Walsync], environment: dict[str, str], said: str
) -> None:
    demo = walsync_command("", **environment)
    assert demo.run("demo", "--workerd", timeout=SECONDS) == 2
    assert "WS1905" in demo.stderr.read_text()
    assert said in demo.stderr.read_text()


def test_a_node_that_is_too_old_for_workerd_is_named(walsync_command: Callable[..., Walsync], tmp_path: Path) -> None:
    for program in ("node", "npm"):  # what one that is older says of itself; no machine has it beside a newer one
        (tmp_path / program).write_text("#!/bin/sh\necho v18.20.8\n")
        (tmp_path / program).chmod(0o755)
    demo = walsync_command("", PATH=str(tmp_path))
    assert demo.run("demo", "--workerd", timeout=SECONDS) == 2
    said = demo.stderr.read_text()
    assert "WS1905" in said
    assert "v18.20.8" in said
    assert "Node 20 or later" in said
    assert "https://nodejs.org/en/download" in said


def _check_a_green_run(output: str, targets: tuple[str, ...] = TARGETS) -> None:
    assert "\x1b" not in output
    assert re.search(r"SIGKILL of walsync, process \d+", output)
    assert re.search(r"all (?:five|eight) follow again .* rows copied again: 0;", output)
    changes = {
        name: int(count.replace(",", "")) for name, count in re.findall(r"  (\w+) +\+([\d,]+) changes, from", output)
    }
    assert changes.pop("replica") == 0
    assert sorted(changes) == sorted({*targets} - {"replica"})
    assert all(count > 0 for count in changes.values()), output
    verdicts = re.findall(r"^(?:app|media)\.\w+ .*", output, re.MULTILINE)
    assert len(verdicts) == 11
    assert all(line.split()[-len(targets) :] == ["equal"] * len(targets) for line in verdicts)
    for name in targets:
        assert re.search(rf"^{name} .* ms +equal *$", output, re.MULTILINE), name
    assert output.splitlines()[-2].endswith(": all equal")


def _await_line(demo: Walsync, text: str) -> None:
    def said() -> bool:
        assert demo.is_running, demo.output
        return text in demo.stdout.read_text()

    eventually(said, SECONDS, f"the demo to say: {text}")


def _send(demo: Walsync, number: signal.Signals) -> None:
    assert demo.process is not None
    demo.process.send_signal(number)


def _signal(pid: int, number: signal.Signals) -> None:
    subprocess.run(["kill", f"-{number}", str(pid)], check=True)


def _shell(command: str) -> str:
    """Run a line as somebody would who has copied it."""
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _is_empty(folder: Path) -> bool:
    return not _processes(folder) and not list(folder.iterdir())


def _processes(folder: Path, word: str = "") -> list[int]:
    """List the processes that name the folder: the demo's servers, their keepers, and walsync."""
    return [
        int(file.parent.name)
        for file in Path("/proc").glob("[0-9]*/cmdline")
        if str(folder) in (line := _command_line(file)) and word in line
    ]


def _command_line(file: Path) -> str:
    try:
        return file.read_text(errors="replace").replace("\0", " ")
    except OSError:  # it ended meanwhile
        return ""
