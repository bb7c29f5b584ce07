"""SurrealDB's engines 2.3 and 3.0 behind the protocol of a server: WebSocket /rpc, CBOR.

The engine 2.3 comes with the package `surrealdb`, 3.0 with npm from tests/surrealdb, once, whoever asks first. The
bridges there say what is theirs and what is the engine's. The engine of a package ends with the process of its bridge,
which ends with the tests.
"""

import asyncio
import contextlib
import functools
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import cbor2
import pytest
from fix_engines import EngineMissing
from fix_walsync import free_port

from walsync.demo.engines import workerd

FOLDER = Path(__file__).parent / "surrealdb"
VERSIONS = ("2.3", "3.0")
PLATFORM = ("linux", "x86_64")
STOP_SECONDS = 10
USER = PASSWORD = "root"

Answers = list[dict[str, Any]]


@functools.cache
def install() -> None:
    """Unpack the engine 3.0 when it is missing or older than the lock file."""
    here = (sys.platform, platform.machine())
    if here != PLATFORM:
        raise EngineMissing(f"tests/surrealdb loads the engine for {PLATFORM} only; this is {here}")
    try:
        workerd.install(FOLDER)
    except FileNotFoundError:
        raise EngineMissing("npm is not installed; the tests need it for SurrealDB 3.0") from None


@dataclass
class SurrealServer:
    """An engine on a directory, served at ws://127.0.0.1:port/rpc; `with` starts it. `root` may do everything."""

    version: str
    folder: Path
    tls: tuple[Path, Path] | None = None
    """Certificate and key; with engine 2.3 only."""

    port: int = field(default_factory=free_port)
    host: str = "127.0.0.1"
    _process: "subprocess.Popen[str] | None" = None

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """Return the address by way of another port: a proxy's."""
        return f"{'wss' if self.tls else 'ws'}://{self.host}:{port}/rpc"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, on the same directory and port as before."""
        url = f"surrealkv://{self.folder}"
        if self.version == "2.3":
            command = [sys.executable, FOLDER / "bridge.py", str(self.port), url, *(self.tls or ())]
        else:
            install()
            command = ["node", FOLDER / "bridge.mjs", str(self.port), url]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", f"SurrealDB {self.version} did not start, see {log.name}"

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait(STOP_SECONDS)
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()

    def execute(self, sql: str, namespace: str = "app", database: str = "app", /, **variables: object) -> list[Any]:
        """Ask as root, from outside of any event loop; return each statement's result."""
        answers = self.try_out(sql, namespace=namespace, database=database, variables=variables)
        assert all(answer["status"] == "OK" for answer in answers), answers
        return [answer["result"] for answer in answers]

    def try_out(self, sql: str, *, namespace: str, database: str, variables: Mapping[str, object]) -> Answers:
        """Ask like `execute`; return whatever is answered."""
        calls: list[tuple[str, Sequence[object]]] = [
            ("signin", [{"user": USER, "pass": PASSWORD}]),
            ("use", [namespace, database]),
            ("query", [sql, variables]),
        ]
        with ThreadPoolExecutor(1) as thread:
            answers: Answers = thread.submit(asyncio.run, _ask(self.url, calls)).result()[-1]
        return answers


async def _ask(url: str, calls: Sequence[tuple[str, Sequence[object]]]) -> list[Any]:
    results = []
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, protocols=["cbor"], max_msg_size=0, ssl=False) as socket,
    ):
        for method, params in calls:
            await socket.send_bytes(cbor2.dumps({"id": "1", "method": method, "params": params}))
            answer = cbor2.loads(await socket.receive_bytes())
            assert "error" not in answer, answer
            results.append(answer["result"])
    return results


@pytest.fixture(scope="session")
def surrealdb_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], SurrealServer]]:
    """Share one server per version: `surrealdb_servers("3.0")`; each test takes a database of its own."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def start(version: str) -> SurrealServer:
            folder = tmp_path_factory.mktemp("surrealdb") / "data"
            return stack.enter_context(SurrealServer(version, folder))

        yield start


@pytest.fixture
def start_surrealdb(tmp_path: Path) -> Iterator[Callable[..., SurrealServer]]:
    """Make a server of the test's own: `start_surrealdb("2.3")`."""
    with contextlib.ExitStack() as stack:

        def start(version: str, **options: Any) -> SurrealServer:
            return stack.enter_context(SurrealServer(version, tmp_path / f"surrealdb{version}", **options))

        yield start
