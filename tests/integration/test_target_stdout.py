"""The stdout target before pipes that are slow, full, closed, or shared."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance.stream import SLOT, TARGET_ID, Source, batch, make_table, transaction, writer

from walsync.errors import TargetRefused
from walsync.lsn import LSN
from walsync.relation import ReplicaIdentity
from walsync.target.base import Batch
from walsync.target.stdout.settings import StdoutSettings
from walsync.target.stdout.target import StdoutTarget
from walsync.transaction.change import Change

START = 100
USERS = make_table("users", [("id", "integer"), ("name", "text")])
DOMAIN = make_table("d", [("v", "public.mood"), ("id", "integer")], relid=5, identity=ReplicaIdentity.FULL)
SOURCE = Source([USERS, DOMAIN])
MORE_THAN_A_PIPE_HOLDS = 300


class Pipe:
    """A pipe between a target and its reader."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._has_reader = True

    def read(self, size: int = 1024**2) -> bytes:
        return os.read(self.reader, size)

    def leave(self) -> None:
        """Close the reader's end, once: its number may be somebody else's by then."""
        os.close(self.reader)
        self._has_reader = False

    def close(self) -> None:
        if self._has_reader:
            self.leave()
        os.close(self.writer)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


async def opened(folder: Path, descriptor: int, name: str = "out", **keys: Any) -> StdoutTarget:
    settings = StdoutSettings(name=name, type="stdout", checkpoint=str(folder / f"{name}.checkpoint"), **keys)
    target = StdoutTarget(settings, SLOT, descriptor=descriptor)
    await target.register(TARGET_ID, writer(), LSN(START))
    await target.prepare([USERS, DOMAIN])
    return target


def users(count: int, name: str = "x" * 1000) -> list[Change]:
    return [SOURCE.insert(USERS, str(number), name) for number in range(count)]


async def test_lines_come_through_a_pipe_and_the_position_is_kept(tmp_path: Path, pipe: Pipe) -> None:
    target = await opened(tmp_path, pipe.writer)
    await target.write(batch(START, 200, *users(1, "ann")))
    assert json.loads(pipe.read())["changes"][0]["new"] == {"id": 0, "name": "ann"}
    await target.close()
    settings = StdoutSettings(name="out", type="stdout", checkpoint=str(tmp_path / "out.checkpoint"))
    again = StdoutTarget(settings, SLOT, descriptor=pipe.writer)
    assert (await again.claim(writer(epoch=11))).lsn == 200
    await again.close()


async def test_a_reader_that_does_not_read_is_waited_for_and_can_be_given_up(tmp_path: Path, pipe: Pipe) -> None:
    target = await opened(tmp_path, pipe.writer)
    large = batch(START, 200, *users(MORE_THAN_A_PIPE_HOLDS))
    writing = asyncio.create_task(target.write(large))
    first = await asyncio.to_thread(pipe.read, 1)
    assert not writing.done()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert (await target.claim(writer())).lsn == START
    # What the pipe took cannot be taken back: the transaction comes again, whole.
    reading = asyncio.create_task(asyncio.to_thread(_read_until, pipe, b"\n", first))
    await target.write(large)
    broken_off, _, rest = (await reading).partition(b'{"xid"')[2].partition(b'{"xid"')
    assert not broken_off.endswith(b"\n")
    assert len(json.loads(b'{"xid"' + rest)["changes"]) == MORE_THAN_A_PIPE_HOLDS
    await target.close()


async def test_a_reader_that_has_gone_stops_the_target(tmp_path: Path, pipe: Pipe) -> None:
    target = await opened(tmp_path, pipe.writer)
    pipe.leave()
    with pytest.raises(TargetRefused) as refused:
        await target.write(batch(START, 200, *users(1)))
    assert refused.value.code == "WS4704"
    checkpoint = await target.read_checkpoint()
    assert checkpoint is not None
    assert checkpoint.lsn == START
    await target.close()


async def test_a_reader_that_goes_while_it_is_waited_for_stops_the_target(tmp_path: Path, pipe: Pipe) -> None:
    target = await opened(tmp_path, pipe.writer)
    writing = asyncio.create_task(target.write(batch(START, 200, *users(MORE_THAN_A_PIPE_HOLDS))))
    await asyncio.to_thread(pipe.read, 1)
    pipe.leave()
    with pytest.raises(TargetRefused):
        await writing
    await target.close()


async def test_two_targets_of_one_process_do_not_mix_their_transactions(tmp_path: Path, pipe: Pipe) -> None:
    targets = [await opened(tmp_path, pipe.writer, name) for name in ("a", "b")]
    transactions = [transaction(110 + number, *users(20)) for number in range(10)]
    reading = asyncio.create_task(asyncio.to_thread(_read_lines, pipe, 20))
    await asyncio.gather(*(target.write(Batch(LSN(START), LSN(200), transactions)) for target in targets))
    assert [len(json.loads(line)["changes"]) for line in await reading] == [20] * 20
    for target in targets:
        await target.close()


async def test_wal2json_shows_types_and_keys_as_the_catalogue_has_them(tmp_path: Path, pipe: Pipe) -> None:
    options = {"include-pk": "true", "include-column-positions": "1", "include-not-null": "on"}
    target = await opened(tmp_path, pipe.writer, format="wal2json", format_version=2, options=options)
    await target.write(batch(START, 200, SOURCE.insert(DOMAIN, "sad", "7")))
    _, insert, _ = (json.loads(line) for line in pipe.read().splitlines())
    assert insert["columns"] == [
        {"name": "v", "type": "mood", "value": "sad", "optional": True, "position": 1},
        {"name": "id", "type": "integer", "value": 7, "optional": False, "position": 2},
    ]
    assert insert["pk"] == [{"name": "id", "type": "integer"}]
    await target.close()


def test_the_checkpoint_has_a_place_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = StdoutSettings(name="out", type="stdout")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert settings.checkpoint_path("slot") == Path("/state/walsync/slot.out.checkpoint")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")
    assert settings.checkpoint_path("slot") == Path("/var/lib/a/slot.out.checkpoint")


def _read_until(pipe: Pipe, end: bytes, read: bytes = b"") -> bytes:
    while not read.endswith(end):
        read += pipe.read()
    return read


def _read_lines(pipe: Pipe, count: int) -> list[bytes]:
    read = b""
    while read.count(b"\n") < count:
        read += pipe.read()
    return read.splitlines()
