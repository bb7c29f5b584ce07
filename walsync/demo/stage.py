"""Everything that the demo lets run: two servers, the other targets, and the walsync between them."""

import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import psycopg2
import yaml

from walsync.demo.child import Child
from walsync.demo.compare import PostgresReader, Reader
from walsync.demo.engines import PostgresServer, free_port, from_wheel
from walsync.demo.engines.installation import workspace
from walsync.demo.engines.workerd import Workerd, find
from walsync.demo.reading_d1 import FileReader, WorkerdReader
from walsync.demo.reading_surrealdb import DATABASE, NAMESPACE, SurrealDBReader, require_engine
from walsync.lsn import LSN

SOURCE_VERSION: Final = 18
TARGET_VERSION: Final = 16
REPLICA: Final = "replica"
REGIONS: Final = ("weur", "enam", "apac")
ALL_REGIONS: Final = ("wnam", "enam", "weur", "eeur", "apac", "oc")
"""Those that Cloudflare has, each a database on workerd."""

GRAPH: Final = "graph"
CONFIG: Final = "walsync.yaml"
_PLAIN: Final = "workerd.url"
SCHEMAS: Final = ("app.*", "media.*", "public.*")
"""`public` is empty: what somebody creates there takes part."""


class Stage:
    """Opened by `with`, which ends and removes it all."""

    def __init__(self, *, on_workerd: bool = False) -> None:
        self._on_workerd = on_workerd
        self.regions = ALL_REGIONS if on_workerd else REGIONS
        self._stack = ExitStack()
        self.source: PostgresServer
        self.target: PostgresServer
        self.child: Child
        self.folder: Path

    def __enter__(self) -> Self:
        require_engine()
        if self._on_workerd:
            find(os.environ)
        try:
            self.source = self._stack.enter_context(PostgresServer(from_wheel(SOURCE_VERSION)))
            self.target = self._stack.enter_context(PostgresServer(from_wheel(TARGET_VERSION)))
            # Inside the engines' folder, which the keepers remove if this process is killed.
            self.folder = Path(tempfile.mkdtemp(prefix="walsync-", dir=workspace().folder))
            url = self._configure(free_port())
            self.child = self._stack.enter_context(closing(Child(self.folder, self.folder / CONFIG, url)))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def number(self) -> str:
        """How many targets there are, in a word."""
        return "eight" if self._on_workerd else "five"

    def execute(self, *statements: str) -> None:
        """Run statements on the source, all in one transaction."""
        with closing(psycopg2.connect(self.source.dsn())) as session, session, session.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def wal_end(self) -> LSN:
        """Ask the source where its WAL ends."""
        with closing(psycopg2.connect(self.source.dsn())) as session, session.cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_insert_lsn()::text")
            ((lsn,),) = cursor.fetchall()
        return LSN.parse(lsn)

    def _configure(self, port: int) -> str:
        """Write the configuration, and return where walsync will listen."""
        targets: list[dict[str, str]] = [
            {"name": REPLICA, "type": "postgres", "dsn": self.target.dsn()},
            *({"name": name, "type": "d1", **database} for name, database in self._databases()),
            {
                "name": GRAPH,
                "type": "surrealdb",
                "url": f"surrealkv://{self.folder / GRAPH}",
                "namespace": NAMESPACE,
                "database": DATABASE,
            },
        ]
        config = {
            "source": {"dsn": self.source.dsn(), "tables": list(SCHEMAS)},
            "targets": targets,
            "http": {"listen": f"127.0.0.1:{port}"},
        }
        (self.folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        return f"http://127.0.0.1:{port}"

    def _databases(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Make the D1 databases; yields each region with the keys that lead there."""
        if not self._on_workerd:
            for name in self.regions:
                yield name, {"url": f"sqlite://{self.folder / name}.sqlite"}
            return
        secret = secrets.token_hex()
        bindings = {name: f"DB_{name.upper()}" for name in self.regions}
        running = Workerd(self.folder / "workerd", tuple(bindings.values()), {"WALSYNC_SECRET": secret})
        self._stack.enter_context(closing(running))
        (self.folder / _PLAIN).write_text(running.plain_url, encoding="utf-8")
        for name, binding in bindings.items():
            yield name, {"url": running.url, "database": binding, "secret": secret}


@dataclass(frozen=True)
class Place:
    """A target as plain clients find it."""

    name: str
    address: str


def places(folder: Path) -> tuple[str, list[Place]]:
    """Read from the demo's configuration where the source is, and where each target."""
    config: dict[str, Any] = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    targets: Iterable[dict[str, str]] = config["targets"]
    return config["source"]["dsn"], [Place(one["name"], _address(one, folder)) for one in targets]


def _address(target: dict[str, str], folder: Path) -> str:
    if "database" in target and target["type"] == "d1":
        return f"{(folder / _PLAIN).read_text(encoding='utf-8')}/{target['database']}"
    return target.get("dsn") or target["url"]


def reader(place: Place, source: PostgresReader, stack: ExitStack) -> Reader:
    """Return the plain client of a target; the stack closes it."""
    scheme, _, path = place.address.partition("://")
    match scheme:
        case "sqlite":
            return FileReader(Path(path), source)
        case "http":
            return WorkerdReader(place.address, source)
        case "surrealkv":
            return stack.enter_context(closing(SurrealDBReader(Path(path), source)))
        case _:
            return PostgresReader(place.address)
