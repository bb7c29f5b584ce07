"""What an instance tells about itself: the contract of /status and of ``walsync status --json``, nothing else.

Values that nobody knows at the moment are None. Lag is the distance from what a target has to the end of the
server's WAL: in bytes, and in seconds as the age of the first change it lacks, or of the source's last word.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias

import orjson
from pydantic import PlainValidator, TypeAdapter

import walsync
from walsync.errors import WalsyncError
from walsync.lsn import LSN


def _position(value: Any) -> LSN:  # noqa: ANN401
    return value if isinstance(value, LSN) else LSN.parse(value)


Position: TypeAlias = Annotated[LSN, PlainValidator(_position)]
"""An LSN, in JSON as ``16/B374D848``."""


class SourceState(StrEnum):
    """What the connection to the source is doing."""

    STARTING = "starting"
    WAITING_FOR_SLOT = "waiting_for_slot"
    """Another process streams from the slot: `blocked_by` is its walsender."""
    WAITING_FOR_TRANSACTIONS = "waiting_for_transactions"
    """A slot is being created, which waits for every open writing transaction: `blocked_by` is the oldest."""
    STREAMING = "streaming"
    RETRYING = "retrying"
    NOT_RUNNING = "not_running"


class TargetState(StrEnum):
    """Where a target is in its life."""

    STARTING = "starting"
    SNAPSHOT = "snapshot"
    CATCHING_UP = "catching_up"
    STREAMING = "streaming"
    RETRYING = "retrying"
    PARKED = "parked"
    """The main stream does not wait for it; the hold slot keeps what it lacks."""
    NEEDS_SNAPSHOT = "needs_snapshot"
    """What it lacks is gone: it is copied again by itself."""
    STOPPED = "stopped"
    """It refused something: `last_error` says what, and how to mend it."""
    NOT_RUNNING = "not_running"
    """No instance runs: the values come from the databases."""


class TableProgress(StrEnum):
    """How far the copy of one table in one target is."""

    WAITING = "waiting"
    COPYING = "copying"
    SYNCED = "synced"


@dataclass(frozen=True, slots=True)
class BlockedBy:
    """A process on the source that has to end first."""

    pid: int
    seconds: float
    application_name: str = ""


@dataclass(frozen=True, slots=True)
class LastError:
    """The last error of a part, kept while it matters."""

    code: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: WalsyncError) -> "LastError":
        """Take over what an error says."""
        return cls(error.code, error.message, error.hint)


@dataclass(frozen=True, slots=True)
class TableStatus:
    """One table in one target; `rows` counts those copied by the last snapshot, None when this run made none.

    While it is copied: `bytes` of COPY text so far, what the source's catalogue leads one to expect in all
    (`total_bytes` as they lie on its disk), and an estimate of the seconds it will still take.
    """

    state: TableProgress
    synced_lsn: Position | None = None
    rows: int | None = None
    bytes: int | None = None
    total_rows: int | None = None
    total_bytes: int | None = None
    eta_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One target."""

    name: str
    type: str
    state: TargetState
    checkpoint_lsn: Position | None = None
    lag_bytes: int | None = None
    lag_seconds: float | None = None
    last_progress_timestamp_seconds: float | None = None
    last_error: LastError | None = None
    tables: Mapping[str, TableStatus] = field(default_factory=dict)
    reason: str = ""
    """Why it is in this state."""
    retained_bytes: int | None = None
    """WAL written since its checkpoint, which is kept for it; 0 where none is."""
    retained_growth_bytes_per_second: float | None = None
    warning: LastError | None = None
    """What needs a look although the target goes on."""

    @property
    def is_ready(self) -> bool:
        """Whether it streams, and all its tables do."""
        return self.state is TargetState.STREAMING and all(
            table.synced_lsn is not None for table in self.tables.values()
        )


@dataclass(frozen=True, slots=True)
class SlotRoom:
    """How much more a slot may keep; `safe_bytes` is None where the server has no max_slot_wal_keep_size.

    `growth_bytes_per_second` is that of what it keeps, over the last minutes; `seconds_until_limit` at that speed, None
    where there is no limit, or where nothing grows.
    """

    safe_bytes: int | None = None
    growth_bytes_per_second: float | None = None
    seconds_until_limit: float | None = None


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """Another slot of walsync's beside the main one, and what it holds back."""

    slot: str
    confirmed_flush_lsn: Position | None = None
    retained_bytes: int | None = None
    wal_status: str | None = None
    room: SlotRoom | None = None


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """The source and its slot; `retained_bytes` is the WAL that the slot holds back on the server's disk.

    `wal_status` is the server's word for it: reserved, extended, unreserved (may be gone soon) or lost.
    """

    slot: str
    state: SourceState
    system_identifier: str | None = None
    timeline: int | None = None
    confirmed_flush_lsn: Position | None = None
    wal_end_lsn: Position | None = None
    retained_bytes: int | None = None
    blocked_by: BlockedBy | None = None
    last_error: LastError | None = None
    wal_status: str | None = None
    hold: SlotStatus | None = None
    """The slot that keeps WAL for targets which the main stream does not wait for; there is none while all stream."""
    room: SlotRoom | None = None
    max_slot_lag_bytes: int | None = None
    """How much may be kept for one target; None: any amount."""
    temporary: SlotStatus | None = None
    """The temporary one that keeps the most: of a copy, from its beginning on, or of a stream to catch up on."""


@dataclass(frozen=True, slots=True)
class BacklogStatus:
    """What was read and is not yet durable in every target; reading waits from `max_bytes` on."""

    bytes: int = 0
    transactions: int = 0
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The whole instance at one moment."""

    source: SourceStatus
    targets: tuple[TargetStatus, ...]
    backlog: BacklogStatus = BacklogStatus()
    version: str = walsync.__version__

    def to_json(self, *, indent: bool = False) -> bytes:
        """Write the contract."""
        return orjson.dumps(
            self,
            default=_default,
            option=orjson.OPT_PASSTHROUGH_SUBCLASS | (orjson.OPT_INDENT_2 if indent else 0),
        )

    @classmethod
    def from_json(cls, content: bytes) -> "Status":
        """Read the contract, as another instance wrote it; ValueError when it is something else."""
        return _ADAPTER.validate_json(content)


def _default(value: object) -> str:
    if isinstance(value, LSN):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a status")


_ADAPTER: Final = TypeAdapter(Status)
