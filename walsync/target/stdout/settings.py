"""The configuration of a stdout target."""

import os
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator

from walsync.setting_types import refusal
from walsync.target.records import RecordSettings


def _check_path(path: str | None) -> str | None:
    if path is not None and (not PurePosixPath(path).is_absolute() or path.endswith("/") or "\0" in path):
        raise refusal("WS1032", "not the absolute path of a file", "write checkpoint: /var/lib/walsync/out.checkpoint")
    return path


class StdoutSettings(RecordSettings):
    """The lines go to stdout of ``walsync run``, whose logs go to stderr."""

    type: Literal["stdout"]
    """The kind of target."""

    checkpoint: Annotated[str | None, AfterValidator(_check_path)] = None
    """The absolute path of the file that remembers what was printed. Left out: ``<slot>.<name>.checkpoint`` in
    ``$STATE_DIRECTORY``, which systemd sets, else ``$XDG_STATE_HOME/walsync``, else ``~/.local/state/walsync``."""

    def checkpoint_path(self, slot: str) -> Path:
        """Find the file."""
        if self.checkpoint is not None:
            return Path(self.checkpoint)
        state = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
        home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        folder = Path(state) if state else Path(home).expanduser() / "walsync"
        return folder / f"{slot}.{self.name}.checkpoint"
