"""A checkpoint in a file of its own, for targets that are no database: read, compared and replaced under a lock.

The file is replaced as a whole, by a rename that is synced to the disk: after a crash there is the old one or the new
one. The lock is a file beside it, held for one step at a time: a writer that stands still between two steps keeps
nobody out, and finds the new epoch when it goes on. Looking needs no lock.
"""

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import orjson

from walsync.errors import TargetRefused, TargetUnavailable
from walsync.lsn import LSN
from walsync.target.base import Checkpoint, TableState, Writer
from walsync.target.fence import check_epoch, gone, judge, owned_by_another
from walsync.target.file_failures import judge_error
from walsync.target.one_thread import go_on

_LOCK_SECONDS: Final = 5.0
"""How long to wait for another writer's step; then the target is unavailable, and tried again."""

_LOOK_SECONDS: Final = 0.02
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Stored:
    """What the file holds; `mark` is the kind's own: where its output stood at the checkpoint."""

    checkpoint: Checkpoint
    tables: Mapping[str, TableState] = field(default_factory=dict)
    mark: Mapping[str, Any] = field(default_factory=dict)

    def moved(self, lsn: LSN, mark: Mapping[str, Any]) -> "Stored":
        """Take the next position."""
        return replace(self, checkpoint=replace(self.checkpoint, lsn=lsn), mark=mark)


class Sidecar:
    """One target's checkpoint; every call blocks for the disk. OSError is turned into TargetUnavailable."""

    def __init__(self, path: Path, slot: str, target: str, *, key: str) -> None:
        self.path = path
        self.waits = False
        """Whether somebody waits for another writer's step."""
        self._owner = {"slot": slot, "target": target}
        self._target = target
        self._key = key

    def read(self) -> Stored | None:
        """Look, and change nothing; None where there is none, or it is another target's."""
        with judged(self._target):
            content = self._load()
        if content is None:
            return None
        stored = self._parse(content)
        return stored if self._is_ours(content) else None

    @contextmanager
    def locked(self, abandoned: threading.Event) -> Iterator[None]:
        """Keep every other writer out; TargetUnavailable WS4106 where one does not let go."""
        name = self.path.with_name(self.path.name + ".lock")
        with judged(self._target):
            lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._wait_for(lock, name, abandoned)
                yield
            finally:
                os.close(lock)

    @contextmanager
    def turn(self, writer: Writer, abandoned: threading.Event) -> Iterator[Stored]:
        """Let `writer` make one step: nobody else writes meanwhile, and the checkpoint is its own."""
        with self.locked(abandoned):
            stored = self.read()
            if stored is None or (stored.checkpoint.epoch, stored.checkpoint.timeline) != (
                writer.epoch,
                writer.timeline,
            ):
                raise judge(self._target, None if stored is None else stored.checkpoint, writer)
            yield stored

    def register(self, target_id: UUID, writer: Writer, lsn: LSN, mark: Mapping[str, Any]) -> None:
        """Store the first checkpoint, or start again under the same id where the mark stays; call it locked."""
        content = self._load()
        found = None if content is None else self._parse(content)
        if found is not None:
            if content is not None and (not self._is_ours(content) or found.checkpoint.target_id != target_id):
                raise owned_by_another(self._target, found.checkpoint, target_id, self._key)
            check_epoch(self._target, found.checkpoint, writer)
            mark = found.mark
        first = Checkpoint(target_id, writer.system_identifier, writer.timeline, writer.epoch, lsn)
        self.store(Stored(first, {}, mark))

    def claim(self, writer: Writer, abandoned: threading.Event) -> Stored:
        """Raise a lower epoch to the writer's; Fenced where it is higher, TargetRefused WS4002 without a checkpoint."""
        stored = self._claimable(writer)
        if stored.checkpoint.epoch == writer.epoch:
            return stored
        with self.locked(abandoned):
            stored = self._claimable(writer)
            claimed = replace(stored.checkpoint, epoch=writer.epoch, timeline=writer.timeline)
            stored = replace(stored, checkpoint=claimed)
            self.store(stored)
        return stored

    def store(self, stored: Stored) -> None:
        """Replace the file; durable when this returns. Call it locked."""
        content = orjson.dumps(
            {
                "version": _VERSION,
                **self._owner,
                **_checkpoint_content(stored.checkpoint),
                "mark": dict(stored.mark),
                "tables": {name: _state_content(state) for name, state in stored.tables.items()},
            },
            option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
        )
        new = self.path.with_name(self.path.name + ".new")
        with judged(self._target):
            with new.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
            sync_folder(self.path.parent)

    def remove(self) -> None:
        """Remove the file; call it locked."""
        with judged(self._target):
            self.path.unlink(missing_ok=True)
            sync_folder(self.path.parent)

    def _claimable(self, writer: Writer) -> Stored:
        stored = self.read()
        if stored is None:
            raise gone(self._target)
        check_epoch(self._target, stored.checkpoint, writer)
        return stored

    def _load(self) -> Mapping[str, Any] | None:
        try:
            content = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            raise self._unreadable() from None
        if not isinstance(content, dict) or content.get("version") != _VERSION:
            raise self._unreadable()
        return content

    def _parse(self, content: Mapping[str, Any]) -> Stored:
        try:
            return _stored(content)
        except (KeyError, TypeError, ValueError):
            raise self._unreadable() from None

    def _unreadable(self) -> TargetRefused:
        return TargetRefused(
            "WS4702",
            f"target {self._target}: {self.path} is not a checkpoint that walsync has written",
            hint=f"restore it; or move it away, walsync drop --target {self._target}, walsync run",
        )

    def _is_ours(self, content: Mapping[str, Any]) -> bool:
        return all(content.get(name) == value for name, value in self._owner.items())

    def _wait_for(self, lock: int, name: Path, abandoned: threading.Event) -> None:
        deadline = time.monotonic() + _LOCK_SECONDS
        try:
            while not _try(lock):
                self.waits = True
                go_on(abandoned)
                if time.monotonic() > deadline:
                    raise TargetUnavailable(
                        "WS4106",
                        f"target {self._target}: another process holds {name}",
                        hint=f"`fuser {name}` names it",
                    )
                abandoned.wait(_LOOK_SECONDS)
        finally:
            self.waits = False


@contextmanager
def judged(target: str) -> Iterator[None]:
    """Turn an error of the system into one decision."""
    try:
        yield
    except OSError as error:
        raise judge_error(error, target) from None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _try(lock: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _stored(content: Mapping[str, Any]) -> Stored:
    checkpoint = Checkpoint(
        UUID(content["target_id"]),
        content["system_identifier"],
        content["timeline"],
        content["epoch"],
        LSN.parse(content["lsn"]),
    )
    tables = {
        name: TableState(one["relid"], one["publication"], one["definition"], LSN.parse(one["synced_lsn"]))
        for name, one in content["tables"].items()
    }
    return Stored(checkpoint, tables, content["mark"])


def _checkpoint_content(checkpoint: Checkpoint) -> dict[str, object]:
    return {
        "target_id": str(checkpoint.target_id),
        "system_identifier": checkpoint.system_identifier,
        "timeline": checkpoint.timeline,
        "epoch": checkpoint.epoch,
        "lsn": str(checkpoint.lsn),
    }


def _state_content(state: TableState) -> dict[str, object]:
    return {
        "relid": state.relid,
        "publication": state.publication,
        "definition": state.definition,
        "synced_lsn": str(state.synced_lsn),
    }
