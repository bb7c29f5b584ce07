"""Targets of lines: read as their readers would, by applying one line after the other to tables in memory."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conformance.bench import Rows
from conformance.bench_d1 import OPEN_FILES
from conformance.stream import SLOT

from walsync.source.table import Table
from walsync.target.file.settings import FileSettings
from walsync.target.file.target import FileTarget
from walsync.target.line_target import LineTarget
from walsync.target.stdout.settings import StdoutSettings
from walsync.target.stdout.target import StdoutTarget

Row = dict[str, str | None]


class Number(str):
    """A JSON number, as the digits that stood there."""

    __slots__ = ()


class Folded:
    """A table as a reader of walsync's own JSON holds it."""

    def __init__(self, key: tuple[str, ...]) -> None:
        self._key = key
        self._rows: dict[tuple[str | None, ...], list[Row]] = {}

    @property
    def rows(self) -> list[Row]:
        return [row for rows in self._rows.values() for row in rows]

    def apply(self, change: Mapping[str, Any]) -> None:
        match change["kind"]:
            case "truncate":
                self._rows.clear()
            case "insert":
                assert "unchanged" not in change
                self._add(_texts(change["new"]))
            case "update":
                before = self._take(_texts(change.get("old", change.get("key"))))
                self._add({**(before or {}), **_texts(change["new"])})
            case "delete":
                self._take(_texts(change.get("old", change.get("key"))))
            case kind:
                raise AssertionError(kind)

    def _add(self, row: Row) -> None:
        kept = [row] if self._key else [*self._rows.get(self._name(row), []), row]
        self._rows[self._name(row)] = kept

    def _take(self, old: Row) -> Row | None:
        rows = self._rows.get(self._name(old), [])
        found = rows.pop() if rows else None
        if not rows:
            self._rows.pop(self._name(old), None)
        return found

    def _name(self, row: Row) -> tuple[str | None, ...]:
        return tuple(row[column] for column in self._key or sorted(row))


class LineBench:
    """A checkpoint in a file, and lines in another."""

    takes_tables_without_key = True

    def __init__(self, folder: Path, checkpoint: str) -> None:
        self.folder = folder
        self.checkpoint = folder / checkpoint
        self.made: list[LineTarget] = []

    def lines(self) -> Iterator[bytes]:
        raise NotImplementedError

    def rows(self, table: Table) -> Rows:
        folded = Folded(table.key)
        for line in self.lines():
            for change in json.loads(line, parse_int=Number, parse_float=Number)["changes"]:
                if (change["schema"], change["table"]) == (table.schema, table.name):
                    folded.apply(change)
        return sorted((tuple(row[column] for column in table.published) for row in folded.rows), key=repr)

    def drop(self, table: Table) -> None:
        raise NotImplementedError(f"lines have no table to drop: {table.name}")

    def forbid(self, table: Table, column: str, value: str) -> None:
        raise NotImplementedError(f"lines take every row: {table.name}.{column} = {value}")

    def has_stages(self) -> bool:
        return False

    def wipe(self) -> None:
        self.checkpoint.unlink()

    def vanish_while_writing(self) -> None:
        raise NotImplementedError

    def vanish(self) -> None:
        raise NotImplementedError

    @contextmanager
    def blocked(self, table: Table) -> Iterator[Callable[[], bool]]:
        del table  # one lock for all
        with self.checkpoint.with_name(self.checkpoint.name + ".lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lambda: any(target._sidecar.waits for target in self.made)


class FileBench(LineBench):
    """A file that is rotated often."""

    def __init__(self, folder: Path, rotate_bytes: int = 4096) -> None:
        super().__init__(folder, "log 1.jsonl.checkpoint")
        self.path = folder / "log 1.jsonl"
        self._rotate_bytes = rotate_bytes

    def target(self, name: str = "replica", *, collapse: bool = True) -> FileTarget:
        settings = FileSettings(name=name, type="file", path=str(self.path), rotate_bytes=self._rotate_bytes)
        target = FileTarget(settings, SLOT, collapse=collapse)
        self.made.append(target)
        return target

    def lines(self) -> Iterator[bytes]:
        """Read as far as the checkpoint says that lines count."""
        if not self.checkpoint.exists():
            return
        mark = json.loads(self.checkpoint.read_text())["mark"]
        for number in range(1, mark["sequence"]):
            yield from (self.folder / f"log 1.{number:06}.jsonl").read_bytes().splitlines()
        if mark["size_bytes"]:
            yield from self.path.read_bytes()[: mark["size_bytes"]].splitlines()

    def vanish_while_writing(self) -> None:
        self.vanish()

    def vanish(self) -> None:
        """Take the open file away from the target, as a disk that goes."""
        with Path(os.devnull).open("rb") as nothing:
            for entry in list(OPEN_FILES.iterdir()):
                if _leads_to(entry) == str(self.path):
                    os.dup2(nothing.fileno(), int(entry.name))


class StdoutBench(LineBench):
    """Stdout, which leads to a file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "state/out.checkpoint")
        self.printed = (folder / "printed").open("ab")

    def target(self, name: str = "replica", *, collapse: bool = True) -> StdoutTarget:
        settings = StdoutSettings(name=name, type="stdout", checkpoint=str(self.checkpoint))
        target = StdoutTarget(settings, SLOT, collapse=collapse, descriptor=self.printed.fileno())
        self.made.append(target)
        return target

    def lines(self) -> Iterator[bytes]:
        yield from Path(self.printed.name).read_bytes().splitlines()


def _texts(row: Mapping[str, Any]) -> Row:
    return {name: _text(value) for name, value in row.items()}


def _text(value: str | bool | None) -> str | None:  # noqa: FBT001 - a value of any type
    if isinstance(value, bool):
        return "t" if value else "f"
    return None if value is None else str(value)


def _leads_to(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except FileNotFoundError:  # the descriptor that lists the folder
        return ""
