"""The configuration is taken again while walsync runs: what is new begins, what is left out ends, mistakes wait."""

import json
import os
import signal
from collections.abc import Callable
from io import BufferedWriter
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml
from fix_postgres import Database, Server
from fix_replication import Content, Replication
from fix_walsync import Walsync, eventually, free_port

SECONDS = 30.0
TOKEN = "a-token-for-tests"


class Reloaded:
    """A running command whose configuration changes."""

    def __init__(self, replication: Replication, near: Database, make: Callable[..., Walsync]) -> None:
        self.replication = replication
        self.near = near
        self.port = free_port()
        self.content: Content = {
            **replication.content,
            "http": {"listen": f"127.0.0.1:{self.port}", "token": TOKEN},
        }
        self.walsync = make(yaml.safe_dump(self.content))
        self.walsync.start("run")

    def write(self, **changes: object) -> None:
        self.content |= changes
        self.walsync.config_path.write_text(yaml.safe_dump(self.content))

    def hang_up(self) -> None:
        assert self.walsync.process is not None
        self.walsync.process.send_signal(signal.SIGHUP)

    def post(self) -> tuple[int, dict[str, object]]:
        request = Request(f"http://127.0.0.1:{self.port}/reload", b"", {"Authorization": f"Bearer {TOKEN}"})
        try:
            with urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - http, written above
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.load(error)

    def has(self, database: Database, table: str, rows: int) -> None:
        def count() -> bool:
            assert self.walsync.is_running, self.walsync.output
            there = database.execute("SELECT to_regclass(%s) IS NOT NULL", table)[0][0]
            return bool(there) and database.execute(f"SELECT count(*) FROM {table}")[0][0] == rows

        eventually(count, SECONDS, f"{rows} rows in {table} of {database.name}")


@pytest.fixture
def reloaded(source: Database, target: Database, walsync_command: Callable[..., Walsync]) -> Reloaded:
    source.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    source.execute("CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1), (2)")
    made = Reloaded(Replication(source, {"near": target}, ["public.t"]), target, walsync_command)
    made.has(target, "t", 1)
    return made


def test_a_table_and_a_target_that_are_new_begin_and_the_others_go_on(
    reloaded: Reloaded, source: Database, new_database: Callable[[Server], Database], target_server: Server
) -> None:
    far = new_database(target_server)
    targets = [*reloaded.content["targets"], {"name": "far", "type": "postgres", "dsn": far.dsn}]
    reloaded.write(source={**reloaded.content["source"], "tables": ["public.t", "public.u"]}, targets=targets)
    reloaded.hang_up()
    for database in (reloaded.near, far):
        reloaded.has(database, "u", 2)
    source.execute("INSERT INTO t VALUES (2); INSERT INTO u VALUES (3)")
    for database in (reloaded.near, far):
        reloaded.has(database, "t", 2)
        reloaded.has(database, "u", 3)


def test_a_signal_that_comes_while_the_process_starts_is_taken_later(
    source: Database, target: Database, walsync_command: Callable[..., Walsync]
) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    content = yaml.safe_dump(Replication(source, {"near": target}, ["public.t"]).content)
    walsync = walsync_command("")
    walsync.config_path.unlink()
    os.mkfifo(walsync.config_path)  # whoever reads it waits for us
    walsync.start("run")
    begun = eventually(lambda: opened(walsync.config_path), SECONDS, "the configuration to be read")
    assert begun is not None
    with begun:
        walsync.config_path.unlink()
        walsync.config_path.write_text(content)
        assert walsync.process is not None
        walsync.process.send_signal(signal.SIGHUP)
        begun.write(content.encode())
    eventually(lambda: "configuration_taken" in walsync.stderr.read_text(), SECONDS, "the signal to be taken")
    walsync.terminate()
    assert walsync.wait(SECONDS) == 0


def opened(fifo: Path) -> BufferedWriter | None:
    """Open a FIFO for writing; None while nobody reads it."""
    try:
        return os.fdopen(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK), "wb")
    except OSError:
        return None


def test_a_table_that_is_left_out_ends(reloaded: Reloaded, source: Database) -> None:
    reloaded.write(source={**reloaded.content["source"], "tables": ["public.u"]})
    assert reloaded.post() == (200, {"reloaded": True})
    reloaded.has(reloaded.near, "u", 2)
    source.execute("INSERT INTO t VALUES (2); INSERT INTO u VALUES (3)")
    reloaded.has(reloaded.near, "u", 3)
    reloaded.has(reloaded.near, "t", 1)


def test_what_is_wrong_is_refused_and_the_present_one_goes_on(reloaded: Reloaded, source: Database) -> None:
    present = dict(reloaded.content)
    source.execute("CREATE TABLE keyless (n int); ALTER TABLE keyless REPLICA IDENTITY NOTHING")
    for changes, code in (
        ({"sauce": {}}, "WS1008"),
        ({"targets": [{**present["targets"][0], "name": "other"}]}, "WS5008"),
        ({"source": {**present["source"], "slot": "another"}}, "WS1033"),
        ({"source": {**present["source"], "tables": ["public.absent"]}}, "WS2201"),
        ({"source": {**present["source"], "tables": ["public.t", "public.keyless"]}}, "WS2203"),
    ):
        reloaded.content = dict(present)
        reloaded.write(**changes)
        status, answer = reloaded.post()
        assert (status, answer["code"]) == (422, code)
        assert answer["hint"]
        source.execute("INSERT INTO t SELECT max(id) + 1 FROM t")
        reloaded.has(reloaded.near, "t", source.execute("SELECT count(*) FROM t")[0][0])


def test_a_target_that_was_dropped_may_be_left_out(
    reloaded: Reloaded, source: Database, new_database: Callable[[Server], Database], target_server: Server
) -> None:
    far = new_database(target_server)
    targets = list(reloaded.content["targets"])
    reloaded.write(targets=[*targets, {"name": "far", "type": "postgres", "dsn": far.dsn}])
    assert reloaded.post()[0] == 200
    reloaded.has(far, "t", 1)
    reloaded.write(targets=targets)
    assert reloaded.post()[0] == 422
    drop = Walsync(reloaded.walsync.config_path, reloaded.walsync.cwd)
    assert drop.run("drop", "--target", "far") == 0
    assert reloaded.post()[0] == 200
    source.execute("INSERT INTO t VALUES (2)")
    reloaded.has(reloaded.near, "t", 2)
    reloaded.has(far, "t", 1)


def test_a_target_that_comes_back_with_its_old_checkpoint_stops_until_it_is_dropped_again(
    reloaded: Reloaded, source: Database, new_database: Callable[[Server], Database], target_server: Server
) -> None:
    far = new_database(target_server)
    targets = list(reloaded.content["targets"])
    both = [*targets, {"name": "far", "type": "postgres", "dsn": far.dsn}]
    drop = Walsync(reloaded.walsync.config_path, reloaded.walsync.cwd)
    reloaded.write(targets=both)
    assert reloaded.post()[0] == 200
    reloaded.has(far, "t", 1)
    assert drop.run("drop", "--target", "far") == 1, "as long as it is in the file"
    reloaded.write(targets=targets)
    assert drop.run("drop", "--target", "far") == 0
    assert reloaded.post()[0] == 200
    source.execute("INSERT INTO t VALUES (2)")
    reloaded.write(targets=both)
    assert reloaded.post()[0] == 200
    eventually(lambda: "WS5004" in reloaded.walsync.stderr.read_text(), SECONDS, "the target to stop")
    reloaded.walsync.terminate()
    assert reloaded.walsync.wait(SECONDS) == 0
    assert drop.run("drop", "--target", "far") == 0
    reloaded.walsync.start("run")
    reloaded.has(far, "t", 2)
