"""The configuration of the backlog, and of the batches that targets take from it."""

from typing import Annotated

from pydantic import Field

from walsync.setting_types import Seconds, Size
from walsync.settings import Settings

_MEGABYTE = 1024**2


class BacklogSettings(Settings):
    """What was read from the source and is not yet durable in every target."""

    max_bytes: Annotated[Size, Field(ge=64 * 1024)] = 64 * _MEGABYTE
    """The memory for transactions that wait for a target; at least 64kB. One larger transaction still passes."""

    catch_up_streams: Annotated[int, Field(ge=1, le=100)] = 2
    """How many streams read at a time for targets that the main one does not wait for: 1 to 100. Each takes a
    replication slot, a sender and a backlog of its own; targets at similar positions share one."""


class BatchSettings(Settings):
    """How much a target takes at once."""

    transactions: Annotated[int, Field(ge=0)] = 0
    """The most source transactions in one target transaction. 0: whatever waits, when the target is free. 1: one for
    one, with every change written by itself and in order, as triggers on a target may want it."""

    idle_checkpoint_seconds: Annotated[Seconds, Field(gt=0)] = 60.0
    """How often a target without changes stores its checkpoint, so that the source can drop WAL."""

    idle_checkpoint_bytes: Annotated[Size, Field(gt=0)] = 64 * _MEGABYTE
    """The same, by WAL written since: whichever comes first."""
