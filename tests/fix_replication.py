"""The whole path between real databases: a configuration, run inside the test or as the command, and compared after.

Inside the test it is faster and can be looked at; as the command it is what a user has, with signals and exit codes.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.error import URLError
from urllib.request import Request, urlopen

import psycopg2
import pytest
import yaml
from fix_postgres import Database, Rows
from fix_walsync import Walsync, eventually, eventually_async, free_port
from psycopg2.extensions import make_dsn

from walsync import service
from walsync.config import Config
from walsync.metrics import Metrics
from walsync.observer import Observer
from walsync.pipeline import Pipeline
from walsync.progress import Progress
from walsync.status import Status, TargetState, TargetStatus

SECONDS = 30.0
"""How long a test waits for what takes a moment; much more than it needs, for a busy machine."""

Content: TypeAlias = dict[str, Any]


@dataclass
class Replication:
    """One source, its targets by name, and the tables between them."""

    source: Database
    targets: Mapping[str, Database]
    tables: Sequence[Any]
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """More keys of the configuration, by section, such as ``{"source": {"publication": "other"}}``."""
    proxied: Mapping[str, str] = field(default_factory=dict)
    """Where targets are reached another way: their DSN, by name."""
    of_targets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """More keys of single targets, by name."""

    @property
    def slot(self) -> str:
        """The slot's name: slots belong to the whole server, so it carries the database's."""
        return self.source.name

    @property
    def content(self) -> Content:
        """The configuration as the file holds it; no HTTP, unless `changes` say so."""
        source = {"dsn": self.source.dsn, "slot": self.slot, "tables": list(self.tables)}
        targets = [
            {
                "name": name,
                "type": "postgres",
                "dsn": self.proxied.get(name, target.dsn),
                **self.of_targets.get(name, {}),
            }
            for name, target in self.targets.items()
        ]
        content: Content = {"source": source, "targets": targets, "http": {"listen": ""}}
        for section, keys in self.changes.items():
            content[section] = {**content.get(section, {}), **keys}
        return content

    @property
    def config(self) -> Config:
        """The configuration as the process understands it."""
        return Config.model_validate(self.content)

    async def catch_up(self) -> None:
        """Bring every target to the end of the source, and end; raises what made that impossible."""
        try:
            assert await service.run(self.config, until_caught_up=True, timeout=SECONDS) == service.DONE
        finally:
            await eventually_async(lambda: not slot_row(self, "active"), SECONDS, "the slot to be free")

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Running"]:
        """Run inside the test; at the end of the block it drains, and raises what it died from."""
        pipeline = Pipeline(self.config, Metrics())
        running = Running(pipeline, asyncio.create_task(pipeline.run()))
        try:
            yield running
        finally:
            pipeline.stop()
            await running.task
            await eventually_async(lambda: not slot_row(self, "active"), SECONDS, "the slot to be free")

    def rows(self, statement: str) -> dict[str, Rows]:
        """Ask the source and every target the same."""
        asked = {"source": self.source, **self.targets}
        return {name: database.execute(statement) for name, database in asked.items()}

    def assert_equal(self, *statements: str) -> None:
        """Hold what the targets answer to what the source answers."""
        for statement in statements:
            answers = self.rows(statement)
            for name, rows in answers.items():
                assert rows == answers["source"], f"{statement} on {name}"


@dataclass
class Running:
    """A pipeline at work inside the test."""

    pipeline: Pipeline
    task: "asyncio.Task[None]"

    async def until(self, predicate: Callable[[], Any], what: str) -> Any:  # noqa: ANN401
        """Wait for something to come true while the pipeline works; fail with its own error when it has died."""

        def check() -> Any:  # noqa: ANN401
            if self.task.done() and not self.task.cancelled() and self.task.exception() is not None:
                self.task.result()
            return predicate()

        return await eventually_async(check, SECONDS, what)

    async def until_streaming(self) -> None:
        """Wait until every target follows the stream."""
        await self.until(self._is_streaming, "every target to stream")

    async def until_stopped(self, name: str) -> str:
        """Wait until a target has stopped; return its code."""
        await self.until(lambda: self.state(name) is TargetState.STOPPED, f"target {name} to stop")
        assert self.pipeline.session is not None
        error = self.pipeline.session.deliveries[name].progress.error
        assert error is not None
        assert error.hint
        return error.code

    async def caught_up(self) -> None:
        """Wait until every target has what is committed now."""
        await asyncio.wait_for(self.pipeline.wait_until_caught_up(), SECONDS)

    def state(self, name: str) -> TargetState:
        """Tell what a target is doing."""
        session = self.pipeline.session
        return TargetState.STARTING if session is None else session.deliveries[name].progress.state

    def progress(self, name: str) -> Progress:
        """Return what the target's delivery tells."""
        assert self.pipeline.session is not None
        return self.pipeline.session.deliveries[name].progress

    async def status(self) -> Status:
        """Return what /status would say."""
        return await Observer(self.pipeline).status()

    def _is_streaming(self) -> bool:
        session = self.pipeline.session
        return session is not None and all(self.state(name) is TargetState.STREAMING for name in session.deliveries)


@dataclass
class Command:
    """The `walsync` command at work for a replication."""

    walsync: Walsync
    url: str
    token: str = ""

    def status(self) -> Status | None:
        """Ask /status; None while nobody answers."""
        try:
            return Status.from_json(self.ask("/status"))
        except (URLError, ConnectionError):
            return None

    def ask(self, path: str, content: bytes | None = None) -> bytes:
        """Ask for a path, with POST where there is content; raises URLError while nobody answers, or for a refusal."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with urlopen(Request(self.url + path, content, headers), timeout=SECONDS) as answer:  # noqa: S310 - our own address
            found: bytes = answer.read()
        return found

    def target(self, name: str) -> TargetStatus | None:
        """Return what /status says of one target."""
        status = self.status()
        return None if status is None else next(target for target in status.targets if target.name == name)

    def until_state(self, state: TargetState, name: str = "replica") -> TargetStatus:
        """Wait for a state of a target."""

        def reached() -> TargetStatus | None:
            assert self.walsync.is_running, self.walsync.output
            target = self.target(name)
            return target if target is not None and target.state is state else None

        return eventually(reached, SECONDS, f"target {name} to be {state.value}")  # type: ignore[return-value]

    def until_streaming(self, targets: Iterable[str]) -> None:
        """Wait until these follow the stream."""
        for name in targets:
            self.until_state(TargetState.STREAMING, name)

    def log(self, event: str) -> list[Content]:
        """Return the lines of the log with this event."""
        lines = self.walsync.stderr.read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line["event"] == event]


@pytest.fixture
def start_command(walsync_command: Callable[..., Walsync]) -> Callable[[Replication], Command]:
    """Run `walsync run` for a replication, with /status on a free port."""

    def start(replication: Replication) -> Command:
        port = free_port()
        content = {**replication.content, "http": {"listen": f"127.0.0.1:{port}"}}
        walsync = walsync_command(yaml.safe_dump(content))
        walsync.start("run")
        return Command(walsync, f"http://127.0.0.1:{port}")

    return start


def slot_row(replication: Replication, column: str, suffix: str = "") -> Any:  # noqa: ANN401
    """Read one column of the replication's slot, or of the one named like it with a suffix; None without a slot."""
    rows = replication.source.execute(
        f"SELECT {column} FROM pg_replication_slots WHERE slot_name = %s", replication.slot + suffix
    )
    return rows[0][0] if rows else None


@contextmanager
def locked(database: Database, table: str) -> Iterator[None]:
    """Keep everybody from a table: whoever writes to it waits until the end of the block."""
    connection = database.connect()
    connection.autocommit = False
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        connection.rollback()


@contextmanager
def uncommitted(database: Database, statement: str) -> Iterator[None]:
    """Begin a transaction, and take it back at the end of the block."""
    connection = database.connect()
    connection.autocommit = False
    with connection.cursor() as cursor:
        cursor.execute(statement)
    try:
        yield
    finally:
        connection.rollback()


def checkpoint(target: Database) -> str:
    """Read the position that a target has stored."""
    return str(target.execute("SELECT lsn::text FROM walsync.checkpoint")[0][0])


def is_down(database: Database) -> bool:
    """Tell whether a database refuses connections."""
    try:
        psycopg2.connect(database.dsn).close()
    except psycopg2.OperationalError:
        return True
    return False


@pytest.fixture
def role_on_source(source: Database) -> Iterator[Callable[[str], str]]:
    """Make roles on the source: `role_on_source("REPLICATION")` returns the DSN of a new one."""
    made: list[str] = []

    def make(options: str) -> str:
        name = f"role_{uuid.uuid4().hex[:12]}"
        source.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'throw-away' {options}")
        made.append(name)
        return make_dsn(source.dsn, user=name, password="throw-away")

    yield make
    for name in made:
        source.execute(f"DROP OWNED BY {name} CASCADE")
        source.execute(f"DROP ROLE {name}")
