"""The file target: keeps the promise of `walsync.target.base.Target` with lines that count up to a stored mark."""

from pathlib import Path
from typing import Final

from walsync.target.file.journal import Journal, Rotation
from walsync.target.file.settings import FileSettings
from walsync.target.line_target import LineTarget
from walsync.target.records import Records
from walsync.target.sidecar import Sidecar

CHECKPOINT_SUFFIX: Final = ".checkpoint"


class FileTarget(LineTarget):
    """A file of lines, each change in it exactly once, whatever crashes; durable when a call returns."""

    kind = "file"

    def __init__(self, settings: FileSettings, slot: str, *, collapse: bool = True) -> None:
        del collapse  # every change is a line of its own, or a part of one
        path = Path(settings.path)
        super().__init__(
            settings.name,
            slot,
            Records(settings),
            Journal(path, Rotation(settings.rotate_bytes, settings.rotate_seconds), settings.name),
            Sidecar(path.with_name(path.name + CHECKPOINT_SUFFIX), slot, settings.name, key="path"),
        )
