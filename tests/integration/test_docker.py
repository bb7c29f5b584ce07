"""What docker/ promises, as far as it can be run without an engine.

The Dockerfile's own RUN steps build the environment in a folder, and compose's configuration runs in it between real
servers. Not run: the base images, apt-get and useradd inside them, compose itself.
"""

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psycopg2
import pytest
import yaml
from fix_dockerfile import COMPOSE, REPOSITORY, instructions
from fix_postgres import Database
from fix_surrealdb import PASSWORD, SurrealServer
from fix_walsync import Walsync, eventually, free_port

from walsync.demo.engines import PostgresServer

BUILD_SECONDS = 280
SECONDS = 60
PORT = "8787"


@dataclass(frozen=True, slots=True)
class Image:
    """What the Dockerfile built, below `root` instead of `/`."""

    root: Path
    environment: Mapping[str, str]

    def path(self, text: str) -> str:
        """Put the paths that the Dockerfile names below the root."""
        return text.replace("/opt/", f"{self.root}/opt/")


def build(root: Path) -> Image:
    """Run the first stage but for apt-get: its files, its variables, its commands, in their order."""
    image = Image(root, {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"})
    variables = dict(image.environment)
    variables.pop("VIRTUAL_ENV", None)  # the image has none
    folder = root
    for one in instructions():
        match one.keyword:
            case "WORKDIR" if one.stage == 0:
                folder = root / one.text.removeprefix("/")
                folder.mkdir(parents=True)
            case "ENV" if one.stage == 0:
                pairs = (pair.partition("=") for pair in shlex.split(image.path(one.text)))
                variables.update({name: value for name, _, value in pairs})
            case "COPY" if one.stage == 0:
                _copy(one.text.split(), folder)
            case "RUN" if one.stage == 0 and not one.text.startswith("apt-get "):
                _run(image.path(one.text), folder, variables)
            case _:
                pass
    return image


def _copy(words: list[str], folder: Path) -> None:
    *sources, destination = words
    for name in sources:
        source, there = REPOSITORY / name, folder / destination
        if source.is_dir():  # its content is copied, as Docker does
            shutil.copytree(source, there, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(source, there)


def _run(command: str, folder: Path, variables: Mapping[str, str]) -> None:
    answer = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=variables,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_SECONDS,
    )
    assert answer.returncode == 0, f"{command}\n{answer.stdout}"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Build once for these tests."""
    return build(tmp_path_factory.mktemp("image"))


@pytest.fixture
def source(start_server: Callable[..., PostgresServer]) -> PostgresServer:
    """Return a server as compose makes it: user and database `app`, then its files in their order."""
    server = start_server(18)
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    mounts = (mount.split(":") for mount in services["source"]["volumes"])
    scripts = sorted((mount[1], COMPOSE.parent / mount[0]) for mount in mounts if "initdb.d" in mount[1])
    assert len(scripts) == 2
    _execute(server.dsn(), "CREATE ROLE app LOGIN SUPERUSER", "CREATE DATABASE app OWNER app")
    _execute(server.dsn("app", user="app"), *(path.read_text() for _, path in scripts))
    return server


def _execute(dsn: str, *statements: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def test_the_environment_holds_walsync_and_nothing_for_development(image: Image) -> None:
    program = image.root / "opt" / "walsync" / "bin"
    assert subprocess.check_output([program / "walsync", "--version"], text=True).startswith("walsync ")
    script = "import walsync, importlib.util as u; print(walsync.__file__, u.find_spec('surrealdb') is not None)"
    found = subprocess.check_output([program / "python", "-I", "-c", script], text=True).split()
    assert Path(found[0]).is_relative_to(image.root / "opt")  # the sources in the first stage are not needed
    assert found[1] == "True"
    assert not (program / "pytest").exists()


def test_the_configuration_of_compose_replicates_and_the_health_check_says_so(
    image: Image,
    source: PostgresServer,
    target: Database,
    start_surrealdb: Callable[..., SurrealServer],
    tmp_path: Path,
) -> None:
    port = free_port()
    text = (REPOSITORY / "conf" / "walsync.docker.yaml").read_text()
    assert f"0.0.0.0:{PORT}" in text
    path = tmp_path / "walsync.yaml"
    path.write_text(text.replace(f"0.0.0.0:{PORT}", f"127.0.0.1:{port}"))
    given = yaml.safe_load(COMPOSE.read_text())["services"]["walsync"]["environment"]
    local = tmp_path / "local.sqlite"
    graph = start_surrealdb("2.3")  # compose's version
    environment = {
        "SURREAL_PASSWORD": PASSWORD,
        "WALSYNC_SURREALDB_URL": graph.url,
        "WALSYNC_SOURCE_DSN": given["WALSYNC_SOURCE_DSN"].replace("host=source", f"host=127.0.0.1 port={source.port}"),
        "WALSYNC_TARGET_DSN": target.dsn,
        "WALSYNC_D1_URL": f"sqlite://{local}",
    }
    assert environment.keys() == given.keys()
    walsync = Walsync(path, tmp_path, environment, image.root / "opt" / "walsync" / "bin" / "walsync")
    assert health(image, port) != 0
    try:
        walsync.start("run")
        eventually(lambda: is_ready(port), SECONDS, f"walsync to be ready\n{walsync.output}")
        assert health(image, port) == 0
        _execute(source.dsn("app"), "INSERT INTO users (name, region) VALUES ('Dan', 'eu')")
        expected = [(1, "Ann"), (2, "Bob"), (3, "Cleo"), (4, "Dan")]
        query = "SELECT id, name FROM users ORDER BY id"
        eventually(lambda: target.execute(query) == expected, SECONDS, "the rows in Postgres")
        eventually(lambda: rows_of(local, query) == expected, SECONDS, "the rows in the D1 file")
        names = [name for _, name in expected]
        eventually(lambda: sorted(graph.execute("SELECT VALUE name FROM users")[0]) == names, SECONDS, "the records")
        assert target.execute("SELECT count(*) FROM posts") == rows_of(local, "SELECT count(*) FROM posts") == [(300,)]
        walsync.terminate()
        assert walsync.wait(SECONDS) == 0
    finally:
        walsync.close()


def health(image: Image, port: int) -> int:
    """Run the image's health check, asking the port of the test."""
    [check] = [one.text for one in instructions() if one.keyword == "HEALTHCHECK"]
    program, *arguments = json.loads(check[check.index("CMD ") + len("CMD ") :].replace(PORT, str(port)))
    command = [image.root / "opt" / "walsync" / "bin" / program, *arguments]
    return subprocess.run(command, check=False, capture_output=True, timeout=SECONDS).returncode


def is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/ready", timeout=SECONDS) as answer:
            return bool(answer.status == 200)
    except URLError:
        return False


def rows_of(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()
