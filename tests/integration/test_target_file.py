"""The file target on a real disk: rotation, what a crash leaves behind, and what others do to its files."""

import asyncio
import json
import os
import resource
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conformance.bench_lines import FileBench
from conformance.stream import SLOT, TARGET_ID, Source, batch, make_table, transaction, writer
from fix_walsync import eventually_async

from walsync.errors import Fenced, TargetRefused, TargetUnavailable
from walsync.lsn import LSN
from walsync.source.table import Table
from walsync.target.base import Batch, TableState
from walsync.target.file.settings import FileSettings
from walsync.target.file.target import FileTarget
from walsync.transaction.change import Change

START = 100
SECONDS = 30
USERS = make_table("users", [("id", "integer"), ("name", "text")])
SOURCE = Source([USERS])
STATE = TableState(USERS.relid, "walsync", USERS.definition, LSN(START))
LONG = "x" * 1500
"""Two rows of it fill a file of 4096 bytes."""


class Files:
    """A target's files, and new targets on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "changes.jsonl"
        self.checkpoint = folder / "changes.jsonl.checkpoint"
        self.made: list[FileTarget] = []

    def target(self, **settings: Any) -> FileTarget:
        keys = {"name": "log", "type": "file", "path": str(self.path), **settings}
        self.made.append(FileTarget(FileSettings.model_validate(keys), SLOT))
        return self.made[-1]

    async def open(self, *tables: Table, **settings: Any) -> FileTarget:
        target = self.target(**settings)
        await target.register(TARGET_ID, writer(), LSN(START))
        await target.prepare(tables or [USERS])
        return target

    async def again(self, epoch: int = 11, **settings: Any) -> FileTarget:
        """Open it as the next run would."""
        target = self.target(**settings)
        await target.claim(writer(epoch=epoch))
        await target.prepare([USERS])
        return target

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*.jsonl"))

    def numbered(self) -> list[Path]:
        return sorted(self.folder.glob("changes.*.jsonl"))

    def lines(self) -> list[dict[str, Any]]:
        """Read all files in order, whatever the checkpoint says."""
        return [json.loads(line) for path in [*self.numbered(), self.path] for line in path.read_bytes().splitlines()]

    def commits(self) -> list[str]:
        return [line["commit_lsn"] for line in self.lines()]

    def position(self) -> int:
        return LSN.parse(json.loads(self.checkpoint.read_text())["lsn"])

    @contextmanager
    def crash(self) -> Iterator[None]:
        """Let what happens inside be all that a crash has left but its checkpoint."""
        before = self.checkpoint.read_bytes()
        yield
        self.checkpoint.write_bytes(before)


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Files]:
    made = Files(tmp_path)
    yield made
    for target in made.made:
        await target.close()


def users(*names: str, first: int = 1) -> list[Change]:
    return [SOURCE.insert(USERS, str(number), name) for number, name in enumerate(names, first)]


async def write_each(target: FileTarget, *names: str, start: int = START) -> None:
    """Write a transaction and batch for each name."""
    for number, name in enumerate(names):
        await target.write(batch(start + number, start + number + 1, *users(name, first=start + number)))


async def test_a_full_file_gets_a_number_and_a_new_one_begins(files: Files) -> None:
    target = await files.open(rotate_bytes=4096)
    await write_each(target, *[LONG] * 7)
    assert files.names == ["changes.000001.jsonl", "changes.000002.jsonl", "changes.000003.jsonl", "changes.jsonl"]
    assert all(path.stat().st_size <= 4096 for path in files.numbered())
    assert [line["changes"][0]["new"]["id"] for line in files.lines()] == list(range(START, START + 7))


async def test_a_batch_is_spread_over_files_and_a_transaction_is_not(files: Files) -> None:
    target = await files.open(rotate_bytes=4096, format="wal2json", format_version=2)
    large = transaction(200, *users(*[LONG] * 5))
    small = [transaction(210 + number, *users("s" * 50)) for number in range(40)]
    await target.write(Batch(LSN(START), LSN(250), [large, *small]))
    actions = [[json.loads(line)["action"] for line in path.read_bytes().splitlines()] for path in files.numbered()]
    assert len(actions) > 2
    assert actions[0] == ["B", "I", "I", "I", "I", "I", "C"]
    assert all((each[0], each[-1]) == ("B", "C") for each in actions)


async def test_an_old_file_is_rotated_with_the_next_checkpoint(files: Files) -> None:
    target = await files.open(rotate_seconds=3600)
    await write_each(target, "a", "b")
    assert files.names == ["changes.jsonl"]
    content = json.loads(files.checkpoint.read_text())
    content["mark"]["opened_at"] -= 3601
    files.checkpoint.write_text(json.dumps(content))
    again = await files.again(rotate_seconds=3600)
    await again.write(batch(START + 2, 300))
    assert files.names == ["changes.000001.jsonl", "changes.jsonl"]
    assert files.path.read_bytes() == b""
    await again.write(batch(300, 301))
    assert files.names == ["changes.000001.jsonl", "changes.jsonl"]


async def test_what_a_crash_left_without_its_checkpoint_is_taken_away_and_written_again(files: Files) -> None:
    target = await files.open(rotate_bytes=4096)
    await write_each(target, LONG, "a")
    before = files.path.read_bytes()
    with files.crash():
        await target.write(Batch(LSN(102), LSN(300), [transaction(110 + n, *users(LONG)) for n in range(6)]))
        with files.path.open("ab") as file:
            file.write(b'{"a line that was broken o')
    assert len(files.numbered()) > 1
    again = await files.again(rotate_bytes=4096)
    assert (files.names, files.path.read_bytes()) == (["changes.jsonl"], before)
    await write_each(again, LONG, "b", start=102)
    assert files.commits() == [str(LSN(START + number - 7)) for number in range(4)]


@pytest.mark.parametrize("removed", ["changes.jsonl", "changes.000003.jsonl"])
async def test_a_crash_while_rotations_are_taken_back_is_survived(files: Files, removed: str) -> None:
    target = await files.open(rotate_bytes=4096)
    await write_each(target, "a")
    before = files.path.read_bytes()
    with files.crash():
        await write_each(target, *[LONG] * 7, start=START + 1)
    assert "changes.000003.jsonl" in files.names
    files.path.unlink()
    (files.folder / removed).unlink(missing_ok=True)
    await files.again(rotate_bytes=4096)
    assert (files.names, files.path.read_bytes()) == (["changes.jsonl"], before)


async def test_a_snapshot_that_a_crash_breaks_off_leaves_nothing_and_comes_whole(files: Files) -> None:
    async def rows() -> AsyncIterator[bytes]:
        for number in range(2500):
            yield b"%d\tname\n" % number

    target = await files.open(rotate_bytes=4096)
    await write_each(target, "a")
    before = files.path.read_bytes()
    with files.crash():
        assert await target.copy(USERS, STATE, rows()) == 2500
    again = await files.again(rotate_bytes=4096)
    assert files.path.read_bytes() == before
    assert await again.table_states() == {}
    await again.copy(USERS, STATE, rows())
    shown = [line for line in files.lines() if line.get("snapshot")]
    assert [change["kind"] for change in shown[0]["changes"]] == ["truncate"]
    assert [change["new"]["id"] for line in shown[1:] for change in line["changes"]] == list(range(2500))
    assert {(line["xid"], line["commit_lsn"]) for line in shown} == {(None, "0/64")}


async def test_a_full_disk_is_unavailable_and_loses_nothing(files: Files) -> None:
    target = await files.open()
    await write_each(target, "a")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(TargetUnavailable) as full:
            await target.write(batch(START + 1, 200, *users(LONG)))
        assert full.value.code == "WS4105"
        assert files.path.stat().st_size == 1_000
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (await target.claim(writer())).lsn == START + 1
    await target.write(batch(START + 1, 200, *users(LONG)))
    assert [line["changes"][0]["new"]["name"] for line in files.lines()] == ["a", LONG]


@pytest.mark.parametrize("size", [None, 0, 10], ids=["removed", "emptied", "cut"])
async def test_acknowledged_lines_that_are_gone_stop_the_target(files: Files, size: int | None) -> None:
    await write_each(await files.open(), "a", "b")
    if size is None:
        files.path.unlink()
    else:
        files.path.write_bytes(files.path.read_bytes()[:size])
    with pytest.raises(TargetRefused) as refused:
        await files.again()
    assert refused.value.code == "WS4701"
    assert "walsync drop --target log" in refused.value.hint


async def test_a_file_that_is_moved_away_under_a_running_target_is_noticed(files: Files) -> None:
    target = await files.open()
    await write_each(target, "a")
    files.path.rename(files.folder / "elsewhere")
    with pytest.raises(TargetUnavailable):
        await target.write(batch(START + 1, 200, *users("b")))
    (files.folder / "elsewhere").rename(files.path)
    await target.claim(writer())
    await target.write(batch(START + 1, 200, *users("b")))
    assert len(files.lines()) == 2


async def test_a_file_that_was_there_before_is_kept_under_the_next_number(files: Files) -> None:
    files.path.write_text("of another time\n")
    (files.folder / "changes.000006.jsonl").write_text("older\n")
    (files.folder / "changes.000abc.jsonl").write_text("no number\n")
    target = await files.open(rotate_bytes=4096)
    await write_each(target, *[LONG] * 3)
    assert (files.folder / "changes.000007.jsonl").read_text() == "of another time\n"
    assert (files.folder / "changes.000006.jsonl").read_text() == "older\n"
    assert "changes.000008.jsonl" in files.names


async def test_a_number_that_somebody_else_took_stops_the_target_and_keeps_the_file(files: Files) -> None:
    target = await files.open(rotate_bytes=4096)
    await write_each(target, *[LONG] * 2)
    other = files.folder / "changes.000001.jsonl"
    other.write_text("mine\n")
    with pytest.raises(TargetRefused) as refused:
        await write_each(target, *[LONG] * 2, start=START + 2)
    assert refused.value.code == "WS4703"
    other.rename(files.folder / "changes.000009.jsonl")
    with pytest.raises(TargetRefused) as refused:
        await files.again(rotate_bytes=4096)
    assert refused.value.code == "WS4703"
    assert (files.folder / "changes.000009.jsonl").read_text() == "mine\n"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"version": 1}', '{"version": 2}'])
async def test_a_checkpoint_that_is_none_stops_the_target(files: Files, content: str) -> None:
    await files.open()
    files.checkpoint.write_text(content)
    with pytest.raises(TargetRefused) as refused:
        await files.target().read_checkpoint()
    assert refused.value.code == "WS4702"


async def test_a_folder_that_is_not_there_is_named(files: Files) -> None:
    with pytest.raises(TargetUnavailable, match="nowhere") as unavailable:
        await files.target(path=str(files.folder / "nowhere" / "changes.jsonl")).read_checkpoint()
    assert unavailable.value.code == "WS4101"


async def test_two_targets_cannot_share_a_file(files: Files) -> None:
    await files.open()
    other = files.target(name="other")
    assert await other.read_checkpoint() is None
    with pytest.raises(TargetRefused) as refused:
        await other.register(TARGET_ID, writer(), LSN(START))
    assert refused.value.code == "WS4003"


@pytest.mark.parametrize("step", ["write", "copy", "prepare", "claim", "register"])
async def test_a_writer_of_an_older_run_is_fenced_off_before_it_writes_anything(files: Files, step: str) -> None:
    async def rows() -> AsyncIterator[bytes]:
        yield b"1\tolder\n"

    older = await files.open()
    await files.target().claim(writer(epoch=11))
    before = {path: path.read_bytes() for path in files.folder.iterdir()}
    steps: dict[str, Callable[[], Awaitable[object]]] = {
        "write": lambda: older.write(batch(START, 200, *users("older"))),
        "copy": lambda: older.copy(USERS, STATE, rows()),
        "prepare": lambda: older.prepare([]),
        "claim": lambda: older.claim(writer()),
        "register": lambda: older.register(TARGET_ID, writer(), LSN(1)),
    }
    with pytest.raises(Fenced):
        await steps[step]()
    assert {path: path.read_bytes() for path in files.folder.iterdir()} == before


async def test_a_snapshot_is_fenced_off_between_two_chunks(files: Files) -> None:
    async def rows() -> AsyncIterator[bytes]:
        yield b"".join(b"%d\tolder\n" % number for number in range(1000))
        await files.target().claim(writer(epoch=11))
        yield b"".join(b"%d\tolder\n" % number for number in range(1000, 2000))

    older = await files.open()
    with pytest.raises(Fenced):
        await older.copy(USERS, STATE, rows())
    newer = await files.again(epoch=12)
    await newer.write(batch(START, 200, *users("newer")))
    assert [change["new"]["name"] for line in files.lines() for change in line["changes"]] == ["newer"]


async def test_forgetting_leaves_the_lines_and_the_next_registration_begins_a_new_file(files: Files) -> None:
    target = await files.open()
    await write_each(target, "a")
    with files.path.open("ab") as file:
        file.write(b"not acknowledged")
    await target.forget()
    assert not files.checkpoint.exists()
    assert len(files.lines()) == 1
    await files.open()
    assert files.names == ["changes.000001.jsonl", "changes.jsonl"]


async def test_renamed_tables_carry_their_new_name(files: Files, tmp_path: Path) -> None:
    renamed = make_table("users", [("id", "integer"), ("name", "text")])
    object.__setattr__(renamed, "renamed", ("app", "people"))
    target = await files.open(renamed)
    await target.write(batch(START, 200, *users("a"), SOURCE.truncate(USERS)))
    assert [(change["schema"], change["table"]) for change in files.lines()[0]["changes"]] == [("app", "people")] * 2
    assert FileBench(tmp_path).rows(USERS) == []


WRITE_FOR_EVER = """
import asyncio, sys
from integration.test_target_file import START, Files, users
from conformance.stream import batch, writer
from pathlib import Path

async def main():
    files = Files(Path(sys.argv[1]))
    target = await files.again(epoch=int(sys.argv[2]), rotate_bytes=4096)
    number = (await target.read_checkpoint()).lsn
    while True:
        await target.write(batch(number, number + 1, *users("x" * (number * 37 % 700), first=number)))
        number += 1

asyncio.run(main())
"""


async def test_a_writer_that_is_killed_at_any_moment_leaves_each_line_once(files: Files) -> None:
    await (await files.open(rotate_bytes=4096)).close()
    files.made.clear()
    reached = START
    for number in range(8):
        command = [sys.executable, "-c", WRITE_FOR_EVER, str(files.folder), str(20 + number)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        process = await asyncio.create_subprocess_exec(*command, env=environment)
        try:
            goal = reached + 5 + number * 3
            await eventually_async(lambda goal=goal: files.position() >= goal, SECONDS, "lines")  # type: ignore[misc]
        finally:
            process.kill()
            await process.wait()
        reached = files.position()
    target = await files.again(epoch=100, rotate_bytes=4096)
    await write_each(target, "last", start=reached)
    shown = [change["new"]["id"] for line in files.lines() for change in line["changes"]]
    assert shown == list(range(START, reached + 1))
    assert len(files.numbered()) > 5
