"""What every target promises, and the few values that pass between it and the pipeline."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias
from uuid import UUID

from walsync.errors import TargetRefused
from walsync.lsn import LSN, ZERO
from walsync.source.table import Table
from walsync.transaction.change import Transaction


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes: the stream (a slot of a cluster, on a timeline) and the epoch of this run.

    The epoch is drawn from the source before each attempt to take the slot, so a later run always has a higher one.
    """

    slot: str
    system_identifier: str
    timeline: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a target has stored about itself: its id in the registry, who wrote last, and the position reached.

    `begun` lies beyond that where the target has a part of what commits below it; it is 0 where there is none.
    """

    target_id: UUID
    system_identifier: str
    timeline: int
    epoch: int
    lsn: LSN
    begun: LSN = ZERO


@dataclass(frozen=True, slots=True)
class TableState:
    """What a target has stored about one table: whose copy it is, and since when it is complete.

    `publication` names the table's membership in it: one that left and came back missed changes between.
    `synced_lsn` is the snapshot's position: the stream applies to this table iff commit_lsn >= synced_lsn.
    """

    relid: int
    publication: str
    definition: str
    synced_lsn: LSN


TableStates: TypeAlias = Sequence[tuple[Table, TableState]]


@dataclass(frozen=True, slots=True)
class Finding:
    """A reason why rows of `table` would not fit a target, and the statement that mends it."""

    code: str
    table: str
    message: str
    hint: str

    def refusal(self) -> TargetRefused:
        """Make it an error."""
        return TargetRefused(self.code, f"{self.table}: {self.message}", hint=self.hint)


class Batch(NamedTuple):
    """Transactions to write at once, in commit order; they take the checkpoint from `previous` to `position`."""

    previous: LSN
    position: LSN
    transactions: Sequence[Transaction]


class Beside(Protocol):
    """How a target is given tables while its others go on; see `Target.beside`.

    `stage` may be called while another call is under way, and is one call at a time itself.
    """

    async def stage(self, table: Table, chunks: AsyncIterator[bytes]) -> int:
        """Keep a snapshot of the table beside it, and leave the table as it is; returns the number of rows."""
        ...

    async def take_place(
        self, tables: Sequence[Table], transactions: Sequence[Transaction], states: TableStates
    ) -> None:
        """Put what was staged of `tables` in their place, apply what changed since, and store `states`.

        A table of `tables` that is not among the states is incomplete until a later call. The checkpoint stays where
        it is. Where the target has transactions of any size, all of it is one.
        """
        ...

    async def clear_stages(self) -> None:
        """Remove what was staged and did not take its place."""
        ...


class Target(Protocol):
    """A database that walsync keeps in step with the source.

    Every call may raise `TargetUnavailable` (the outcome is unknown: call `claim` again before anything else, the
    checkpoint says what was taken), `TargetRefused` (it will never pass) or `Fenced` (another run has taken over).
    Calls are never made concurrently on one target. Cancelling a call abandons it: the target rolls back.
    """

    name: str
    kind: str

    async def read_checkpoint(self) -> Checkpoint | None:
        """Look, and change nothing; None when this target holds no checkpoint of this slot and name."""
        ...

    async def register(self, target_id: UUID, writer: Writer, lsn: LSN) -> None:
        """Store the first checkpoint: everything below `lsn` will come by snapshot."""
        ...

    async def claim(self, writer: Writer) -> Checkpoint:
        """Make `writer` the only one who can write from now on, and return the checkpoint as it stands.

        Raises the stored epoch where it is lower, verifies it where it is equal, and raises Fenced where it is
        higher. A connection lost since the last call is opened again.
        """
        ...

    async def prepare(self, tables: Sequence[Table]) -> None:
        """Create the tables that are absent and compare the others; TargetRefused when rows would not fit.

        The states of tables that are not among these are forgotten: one that comes back later is copied again.
        """
        ...

    async def compare(self, tables: Sequence[Table]) -> Sequence[Finding]:
        """Find what `prepare` would refuse, and change nothing."""
        ...

    async def table_states(self) -> Mapping[str, TableState]:
        """Tell the tables whose copy is complete, by qualified source name."""
        ...

    async def copy(self, table: Table, state: TableState, chunks: AsyncIterator[bytes]) -> int:
        """Replace the table by a snapshot: whole lines of COPY text, columns in the order of `table.published`.

        Readers see the old rows or all the new ones; `state` is stored with the last row. Returns the number of rows.
        """
        ...

    @property
    def beside(self) -> Beside | None:
        """How a table is copied beside the stream of the others; None where those have to wait for it."""
        return None

    async def write(self, batch: Batch) -> None:
        """Take all changes and the checkpoint `batch.position`, or nothing; durable when this returns.

        The target's checkpoint must be `batch.previous`: it is compared and set in the same transaction as the rows.
        """
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """What an operator may want to know about this way to the database, for `walsync check`; asks nobody."""
        return ()

    async def forget(self) -> None:
        """Remove this target's checkpoint and table states; the rows stay."""
        ...

    async def close(self) -> None:
        """Give the connection back; no call follows."""
        ...
