"""What a SurrealDB target stores about itself: the checkpoint that fences writers, and which tables are complete."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from cbor2 import CBORTag

from walsync.errors import TargetRefused, WalsyncError
from walsync.lsn import LSN
from walsync.source.table import Table
from walsync.target.base import Checkpoint, TableState, Writer
from walsync.target.fence import judge, owned_by_another
from walsync.target.slices import Reached
from walsync.target.surrealdb.statements import STORE
from walsync.target.surrealdb.values import RECORD_TAG

_CHECKPOINT: Final = "checkpoint"
_TABLE_STATE: Final = "table_state"


class Stored(NamedTuple):
    """A checkpoint, and how far into an open transaction it reaches."""

    checkpoint: Checkpoint
    reached: Reached


class Records:
    """The records of one slot and target in the table ``_walsync``."""

    def __init__(self, slot: str, target: str) -> None:
        self._target = target
        self.owner: dict[str, object] = {"slot": slot, "target": target}
        self.checkpoint = CBORTag(RECORD_TAG, [STORE, [_CHECKPOINT, slot, target]])

    def fence(self, writer: Writer) -> dict[str, object]:
        """Write the parameters of every program that writes: whose checkpoint, and who must hold it."""
        return {**self.owner, "checkpoint": self.checkpoint, "epoch": writer.epoch, "timeline": writer.timeline}

    def first(self, target_id: UUID, writer: Writer, lsn: LSN) -> dict[str, object]:
        """Write a checkpoint's record."""
        return {
            **self.owner,
            "kind": _CHECKPOINT,
            "target_id": str(target_id),
            "system_identifier": writer.system_identifier,
            "timeline": writer.timeline,
            "epoch": writer.epoch,
            "lsn": int(lsn),
            "open_commit_lsn": 0,
            "last_change_lsn": 0,
        }

    def read(self, found: Mapping[str, Any] | CBORTag) -> Stored | None:
        """Read a checkpoint's record; None where the engine says NONE."""
        if isinstance(found, CBORTag):
            return None
        reached = Reached(LSN(found["lsn"]), found["open_commit_lsn"], found["last_change_lsn"])
        checkpoint = Checkpoint(
            UUID(found["target_id"]),
            found["system_identifier"],
            found["timeline"],
            found["epoch"],
            reached.lsn,
            reached.begun,
        )
        return Stored(checkpoint, reached)

    def state_id(self, table: Table) -> CBORTag:
        """Name the record of a table's state."""
        return CBORTag(
            RECORD_TAG, [STORE, [_TABLE_STATE, self.owner["slot"], self.owner["target"], table.qualified_name]]
        )

    def state(self, table: Table, state: TableState, options: str) -> dict[str, object]:
        """Write the record of a table that is complete, with these options."""
        return {
            **self.owner,
            "kind": _TABLE_STATE,
            "table": table.qualified_name,
            "relid": state.relid,
            "publication": state.publication,
            "definition": state.definition,
            "synced_lsn": int(state.synced_lsn),
            "options": options,
        }

    def judge(self, stored: Stored | None, writer: Writer) -> WalsyncError:
        """Say why a program found the checkpoint not to be the writer's, or not where it was left."""
        return judge(self._target, None if stored is None else stored.checkpoint, writer)

    def owned_by_another(self, stored: Stored, target_id: UUID) -> TargetRefused:
        """Say that another registration has the database."""
        return owned_by_another(self._target, stored.checkpoint, target_id, "database")


def read_states(found: Sequence[Mapping[str, Any]], options: Mapping[str, str]) -> dict[str, TableState]:
    """Read the records of table states, by qualified name; a copy with other `options` is none."""
    return {
        one["table"]: TableState(one["relid"], one["publication"], one["definition"], LSN(one["synced_lsn"]))
        for one in found
        if one.get("options", "") == options.get(one["table"], one.get("options", ""))
    }
