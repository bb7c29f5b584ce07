"""The configuration of snapshots."""

from typing import Annotated

from pydantic import Field

from walsync.setting_types import Size
from walsync.settings import Settings


class SnapshotSettings(Settings):
    """How the first copy of a table is read from the source."""

    workers: Annotated[int, Field(ge=1, le=32)] = 2
    """The most sessions that read a table at a time, each a part of it: 1 to 32. The first reads alone while the
    targets are slower. Targets that begin together share them; one that cannot keep pace gets a session of its own."""

    max_bytes_per_second: Annotated[Size, Field(ge=0)] = 0
    """The most that all of them read together, as COPY text. 0: as fast as the targets take it."""
