"""Everything that the demo lets run: two servers, a folder with the other targets, and the walsync between them."""

import tempfile
from collections.abc import Iterable
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
from walsync.demo.reading_d1 import D1Reader
from walsync.demo.reading_surrealdb import DATABASE, NAMESPACE, SurrealDBReader, require_engine
from walsync.lsn import LSN

SOURCE_VERSION: Final = 18
TARGET_VERSION: Final = 16
REPLICA: Final = "replica"
REGIONS: Final = ("weur", "enam", "apac")
GRAPH: Final = "graph"
CONFIG: Final = "walsync.yaml"
SCHEMAS: Final = ("app.*", "media.*", "public.*")
"""`public` is empty: what somebody creates there takes part."""


class Stage:
    """Opened by `with`, which ends and removes it all."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.source: PostgresServer
        self.target: PostgresServer
        self.child: Child
        self.folder: Path

    def __enter__(self) -> Self:
        require_engine()
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
            *({"name": name, "type": "d1", "url": f"sqlite://{self.folder / name}.sqlite"} for name in REGIONS),
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


@dataclass(frozen=True)
class Place:
    """A target as plain clients find it."""

    name: str
    address: str


def places(folder: Path) -> tuple[str, list[Place]]:
    """Read from the demo's configuration where the source is, and where each target."""
    config: dict[str, Any] = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    targets: Iterable[dict[str, str]] = config["targets"]
    return config["source"]["dsn"], [Place(one["name"], one.get("dsn") or one["url"]) for one in targets]


def reader(place: Place, source: PostgresReader, stack: ExitStack) -> Reader:
    """Return the plain client of a target; the stack closes it."""
    scheme, _, path = place.address.partition("://")
    match scheme:
        case "sqlite":
            return D1Reader(Path(path), source)
        case "surrealkv":
            return stack.enter_context(closing(SurrealDBReader(Path(path), source)))
        case _:
            return PostgresReader(place.address)
