"""`walsync status` as people and programs see it: on a terminal, in a pipe, while the instance comes and goes."""

import os
import pty
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from urllib.request import Request, urlopen

import orjson
import pytest
import yaml
from fix_postgres import Database
from fix_walsync import Walsync, eventually, free_port

from walsync.status import Status, TargetState

SECONDS = 30
TOKEN = "hunter2-very-secret"
WATCH = ("status", "--watch", "--interval", "50ms")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def file(source: Database, target: Database, port: int) -> str:
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY)")
    return yaml.safe_dump(
        {
            "source": {"dsn": source.dsn, "slot": source.name, "tables": ["public.users"]},
            "targets": [{"name": "replica", "type": "postgres", "dsn": target.dsn}],
            "http": {"listen": f"127.0.0.1:{port}", "token": "${WALSYNC_TOKEN:-}"},
        }
    )


@pytest.fixture
def instance(file: str, walsync_command: Callable[..., Walsync], port: int) -> Walsync:
    """Start `walsync run`, and return when its target streams."""
    running = walsync_command(file, WALSYNC_TOKEN=TOKEN)
    running.start("run")
    eventually(lambda: answer(running, port), SECONDS, "the target to stream")
    return running


def answer(instance: Walsync, port: int) -> bytes | None:
    """Return what /status answers once the target streams."""
    assert instance.is_running, instance.output
    request = Request(f"http://127.0.0.1:{port}/status", headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with urlopen(request, timeout=5) as response:  # noqa: S310 - http, and our own
            content: bytes = response.read()
    except OSError:
        return None
    streams = all(one.state is TargetState.STREAMING for one in Status.from_json(content).targets)
    return content if streams else None


@pytest.fixture
def watching(file: str, walsync_command: Callable[..., Walsync]) -> Walsync:
    return walsync_command(file, WALSYNC_TOKEN=TOKEN)


def printed(watching: Walsync) -> list[str]:
    """Return the complete lines so far."""
    assert watching.is_running, watching.output
    text = watching.stdout.read_text()
    return text[: text.rfind("\n") + 1].splitlines()


def interrupted(watching: Walsync, number: int = signal.SIGINT) -> int:
    assert watching.process is not None
    watching.process.send_signal(number)
    return watching.wait(SECONDS)


def test_json_is_what_the_instance_answers(instance: Walsync, watching: Walsync, port: int) -> None:
    before = orjson.loads(answer(instance, port) or b"")
    assert watching.run("status", "--json") == 0
    printed_content = orjson.loads(watching.stdout.read_bytes())
    after = orjson.loads(answer(instance, port) or b"")
    # The slot of the snapshot may still be there for the first, and gone for the second.
    assert shape(printed_content) in (shape(before), shape(after))
    assert printed_content["targets"][0]["state"] == after["targets"][0]["state"] == "streaming"


def shape(content: object) -> object:
    """Keep the keys and leave the values, which move."""
    if isinstance(content, dict):
        return {key: shape(value) for key, value in content.items()}
    return [shape(value) for value in content] if isinstance(content, list) else None


def test_in_a_pipe_each_look_is_a_line_and_goes_on_when_the_instance_ends_and_comes_back(
    instance: Walsync, watching: Walsync
) -> None:
    watching.start(*WATCH)
    eventually(lambda: any("replica streaming" in one for one in printed(watching)), SECONDS, "a line of the instance")
    instance.sigkill()
    eventually(lambda: any("no instance answers on" in one for one in printed(watching)), SECONDS, "to be told")
    eventually(lambda: "replica not_running" in printed(watching)[-1], SECONDS, "what the databases know")
    assert "checkpoint=" in printed(watching)[-1]
    assert "tables=1/1" in printed(watching)[-1]
    instance.start("run")
    eventually(lambda: "replica streaming" in printed(watching)[-1], SECONDS, "the instance to be back")
    assert any(one.endswith(" an instance answers") for one in printed(watching))
    assert interrupted(watching) == 0
    assert watching.stderr.read_text() == ""
    assert "\x1b" not in watching.stdout.read_text()


def test_json_comes_in_lines(instance: Walsync, watching: Walsync) -> None:
    watching.start(*WATCH, "--json")
    eventually(lambda: len(printed(watching)) > 2, SECONDS, "three lines")
    assert {Status.from_json(one.encode()).targets[0].name for one in printed(watching)} == {"replica"}
    assert interrupted(watching, signal.SIGTERM) == 0
    assert instance.is_running


def test_a_source_that_is_away_is_shown_and_asked_again(file: str, walsync_command: Callable[..., Walsync]) -> None:
    content = yaml.safe_load(file)
    content["source"]["dsn"] = f"postgresql://u:{TOKEN}@127.0.0.1:{free_port()}/app"
    watching = walsync_command(yaml.safe_dump(content))
    watching.start(*WATCH)
    eventually(lambda: sum("source: WS2002" in one for one in printed(watching)) > 1, SECONDS, "two looks")
    assert interrupted(watching) == 0
    assert TOKEN not in watching.output


def test_a_token_that_is_refused_ends_it(instance: Walsync, file: str, walsync_command: Callable[..., Walsync]) -> None:
    stranger = walsync_command(file, WALSYNC_TOKEN="wrong")
    assert stranger.run(*WATCH) == 1
    assert stranger.stderr.read_text().startswith("error WS7002: ")
    assert instance.is_running


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, command: Walsync, *args: str) -> None:
        self._control, child = pty.openpty()
        env = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "30", **command.env}
        self.process = subprocess.Popen(
            [str(command.command), *args, "-c", str(command.config_path)],
            stdin=child,
            stdout=child,
            stderr=child,
            env=env,
        )
        os.close(child)
        self._chunks: list[bytes] = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    @property
    def text(self) -> str:
        return b"".join(self._chunks).decode()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reading.join()
        os.close(self._control)

    def _read(self) -> None:
        try:
            while chunk := os.read(self._control, 65536):
                self._chunks.append(chunk)
        except OSError:
            return  # the other side is closed


@pytest.fixture
def terminal(watching: Walsync) -> Iterator[Terminal]:
    opened = Terminal(watching, *WATCH)
    yield opened
    opened.close()


def test_on_a_terminal_it_is_redrawn_in_place_until_interrupted(instance: Walsync, terminal: Terminal) -> None:
    eventually(lambda: "streaming" in terminal.text, SECONDS, "the instance's answer")
    instance.sigkill()
    eventually(lambda: "no instance answers on" in terminal.text, SECONDS, "to be told")
    eventually(lambda: "not_running" in terminal.text, SECONDS, "what the databases know")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.process.wait(SECONDS) == 0
    eventually(lambda: terminal.text.rstrip().endswith("\x1b[?25h"), SECONDS, "the cursor to be shown again")
    assert "Traceback" not in terminal.text
    assert "\x1b[1A" in terminal.text  # up one line: drawn over what stood there
