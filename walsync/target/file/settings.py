"""The configuration of a file target."""

from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from walsync.setting_types import Seconds, Size, refusal
from walsync.target.records import RecordSettings

_SMALLEST_FILE: Final = 4096
"""Below it nearly every transaction would have a file of its own."""


def _check_path(path: str) -> str:
    if not PurePosixPath(path).is_absolute() or PurePosixPath(path).name == "" or path.endswith("/") or "\0" in path:
        raise refusal("WS1032", "not the absolute path of a file", "write path: /var/lib/walsync/changes.jsonl")
    return path


def _check_size(size: int) -> int:
    if 0 < size < _SMALLEST_FILE:
        raise refusal("WS1018", f"a file of less than {_SMALLEST_FILE} bytes", "write 0 for never, or 64MB")
    return size


class FileSettings(RecordSettings):
    """The lines go to `path`; its checkpoint stands beside it, in ``<path>.checkpoint``."""

    type: Literal["file"]
    """The kind of target."""

    path: Annotated[str, AfterValidator(_check_path)]
    """The absolute path of the file that grows; made when absent, its folder is not."""

    rotate_bytes: Annotated[Size, AfterValidator(_check_size)] = 0
    """How large a file may become, at least 4096 bytes: ``changes.jsonl`` is then renamed to ``changes.000001.jsonl``.
    A transaction is never divided. 0, the default: never."""

    rotate_seconds: Annotated[Seconds, Field(ge=0)] = 0
    """How long after its first line a file is rotated, with the next write or checkpoint. 0, the default: never."""
