"""The file that only grows, and those it was before: lines go in, and a mark says how far they count.

What stands behind the mark was never acknowledged: whoever resumes from it takes that away, a rotation too. So the
mark is all that has to be stored atomically. A transaction's lines stay in one file.
"""

import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any, Final, Self

from walsync.errors import TargetRefused, TargetUnavailable
from walsync.target.one_thread import go_on
from walsync.target.sidecar import sync_folder

_FLUSH_BYTES: Final = 1024**2
_DIGITS: Final = 6
"""Of a rotated file's number, so that names sort; a millionth file has one more."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The number that the file will get when it is rotated, and how many of its bytes count.

    `opened_at` is when its first line was written, in Unix seconds; 0 while it has none.
    """

    sequence: int
    size_bytes: int
    opened_at: float

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Self:
        """Read what `write` made."""
        return cls(content["sequence"], content["size_bytes"], content["opened_at"])

    def write(self) -> dict[str, Any]:
        """Make it JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is full: by bytes, by seconds since its first line; 0 is never."""

    size_bytes: int
    seconds: float


class Journal:
    """One path, and the numbered ones beside it; an `Outlet`. After an error it is dropped, and resumed."""

    makes_folder = False

    def __init__(self, path: Path, rotation: Rotation, target: str) -> None:
        self._path = path
        self._rotation = rotation
        self._target = target
        self._file: int | None = None
        self._mark = Mark(1, 0, 0)
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._folder_is_synced = True

    def look(self) -> None:
        """Raise TargetUnavailable where the folder is not there."""
        folder = self._path.parent
        if not folder.is_dir():
            raise TargetUnavailable(
                "WS4101",
                f"target {self._target}: the folder {folder} is not there",
                hint=f"make the folder and let walsync write there: mkdir -p {folder}",
            )

    def begin(self) -> Mapping[str, Any]:
        """Return the mark of a new journal: a file that is there already is kept under the next number."""
        sequence = max(self._numbers(), default=0) + 1
        if self._path.exists() and self._path.stat().st_size:
            self._path.rename(self._rotated(sequence))
            sync_folder(self._path.parent)
            sequence += 1
        return Mark(sequence, 0, 0).write()

    def resume(self, mark: Mapping[str, Any]) -> None:
        """Stand at the mark: nothing behind it is there any more. TargetRefused WS4701 where lines before it are gone.

        TargetUnavailable where the file that was open is not the one at the path any more.
        """
        wanted = Mark.read(mark)
        if self._file is not None and wanted == self._mark:
            self._check()
            return
        self.drop()
        self._take_back_rotations(wanted)
        self._stand_at(wanted)

    def _stand_at(self, mark: Mark) -> None:
        self._file = self._open(create=mark.size_bytes == 0)
        self._mark = mark
        size = os.fstat(self._file).st_size
        if size < mark.size_bytes:
            raise self._lines_are_gone(f"has {size} bytes, and {mark.size_bytes} were written")
        if size > mark.size_bytes:
            os.ftruncate(self._file, mark.size_bytes)
            os.fsync(self._file)

    def _check(self) -> None:
        """See that what is open is still what stands at the path, as long as it was left."""
        found = os.fstat(self._require_file())
        try:
            expected = self._path.stat()
        except FileNotFoundError:
            expected = None
        written = self._mark.size_bytes
        if expected is None or (found.st_dev, found.st_ino, found.st_size) != (
            expected.st_dev,
            expected.st_ino,
            written,
        ):
            raise TargetUnavailable(
                "WS4102",
                f"target {self._target}: {self._path} was replaced or changed while walsync had it open",
                hint="let nothing else write to it; to rotate it use rotate_bytes and rotate_seconds",
            )

    def append(self, lines: Iterable[bytes], abandoned: Event) -> None:
        """Add the lines of one transaction, after a rotation where they would not fit or the file is old enough."""
        go_on(abandoned)
        self._require_file()
        text = b"".join(line + b"\n" for line in lines)
        if not text:
            return
        size = self._mark.size_bytes + self._pending_bytes
        limit = self._rotation.size_bytes
        if size and ((limit and size + len(text) > limit) or self._is_old):
            self._rotate()
        if not self._mark.opened_at:
            self._mark = Mark(self._mark.sequence, self._mark.size_bytes, time.time())
        self._pending.append(text)
        self._pending_bytes += len(text)
        if self._pending_bytes >= _FLUSH_BYTES:
            self._flush()

    def sync(self) -> Mapping[str, Any]:
        """Make everything durable, names too, and return the mark to store; rotate a file that is old enough."""
        self._flush()
        self._check()
        if self._is_old:
            self._rotate()
        os.fsync(self._require_file())
        if not self._folder_is_synced:
            sync_folder(self._path.parent)
            self._folder_is_synced = True
        return self._mark.write()

    def drop(self) -> None:
        """Close the file; what was not synced does not count."""
        self._pending, self._pending_bytes = [], 0
        if self._file is not None:
            descriptor, self._file = self._file, None
            os.close(descriptor)

    @property
    def _is_old(self) -> bool:
        seconds, opened_at = self._rotation.seconds, self._mark.opened_at
        return bool(seconds and opened_at) and time.time() - opened_at >= seconds

    def _require_file(self) -> int:
        if self._file is None:
            raise TargetUnavailable("WS4103", f"target {self._target}: its file is not open")
        return self._file

    def _flush(self) -> None:
        """Write what waits; a disk may take a part only."""
        file = self._require_file()
        left = memoryview(b"".join(self._pending))
        size = len(left)
        while left:
            left = left[os.write(file, left) :]
        self._mark = Mark(self._mark.sequence, self._mark.size_bytes + size, self._mark.opened_at)
        self._pending, self._pending_bytes = [], 0

    def _rotate(self) -> None:
        self._flush()
        file, self._file = self._require_file(), None
        try:
            os.fsync(file)
        finally:
            os.close(file)
        rotated = self._rotated(self._mark.sequence)
        if rotated.exists():
            raise self._in_the_way(rotated)
        self._path.rename(rotated)
        self._mark = Mark(self._mark.sequence + 1, 0, 0)
        self._file = self._open(create=True)

    def _take_back_rotations(self, mark: Mark) -> None:
        """Undo rotations behind the mark, the last one first: a crash on the way leaves what can be undone again."""
        later = sorted(number for number in self._numbers() if number >= mark.sequence)
        if not later:
            return
        if later[0] != mark.sequence:
            raise self._in_the_way(self._rotated(later[0]))
        self._path.unlink(missing_ok=True)
        for number in reversed(later[1:]):
            self._rotated(number).unlink()
        self._rotated(mark.sequence).rename(self._path)
        sync_folder(self._path.parent)

    def _open(self, *, create: bool) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        try:
            return os.open(self._path, flags)
        except FileNotFoundError:
            if not create:
                raise self._lines_are_gone("is not there") from None
        self._folder_is_synced = False
        return os.open(self._path, flags | os.O_CREAT | os.O_EXCL, 0o644)

    def _rotated(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.stem}.{number:0{_DIGITS}d}{self._path.suffix}")

    def _numbers(self) -> list[int]:
        """List the numbers of the rotated files."""
        name = re.compile(rf"{re.escape(self._path.stem)}\.(\d{{{_DIGITS},}}){re.escape(self._path.suffix)}", re.ASCII)
        found = (name.fullmatch(entry.name) for entry in self._path.parent.iterdir())
        return [int(match[1]) for match in found if match is not None]

    def _lines_are_gone(self, what: str) -> TargetRefused:
        return TargetRefused(
            "WS4701",
            f"target {self._target}: {self._path} {what}: lines that were acknowledged are gone",
            hint=f"put the file back; or walsync drop --target {self._target}, then walsync run: a new file begins",
        )

    def _in_the_way(self, path: Path) -> TargetRefused:
        return TargetRefused(
            "WS4703",
            f"target {self._target}: {path} has a number that is not given yet, and walsync did not write it",
            hint="move it away, then restart walsync",
        )
