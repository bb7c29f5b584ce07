"""The tables of one target: which are complete and since when, and so what of a transaction the target lacks. Pure."""

from collections.abc import Collection, Mapping, Sequence

from walsync.lsn import LSN
from walsync.source.table import Table
from walsync.target.base import TableState
from walsync.target.selection import Selected, keep_transaction
from walsync.transaction.change import Transaction


class Tables:
    """What one target was given of the source's tables; `memberships` tells each table's in the publication."""

    def __init__(self, selected: Sequence[Selected], memberships: Mapping[int, str]) -> None:
        self.selected = {one.table.relid: one for one in selected}
        self.synced: dict[int, LSN] = {}
        """The stream applies to a table iff commit_lsn >= its position here; not at all where there is none."""
        self._memberships = memberships

    @property
    def names(self) -> list[str]:
        """All of them, by qualified name."""
        return [one.table.qualified_name for one in self.selected.values()]

    @property
    def all(self) -> list[Table]:
        """All of them, under their names on the target."""
        return [one.table for one in self.selected.values()]

    @property
    def synced_by_name(self) -> dict[str, LSN]:
        """What `synced` says, by qualified name."""
        return {self.selected[relid].table.qualified_name: lsn for relid, lsn in self.synced.items()}

    @property
    def lacking(self) -> list[Selected]:
        """Those that have to be copied."""
        return [one for relid, one in self.selected.items() if relid not in self.synced]

    def take(self, states: Mapping[str, TableState]) -> None:
        """Take note of what the target has stored about itself."""
        found = {relid: states.get(one.table.qualified_name) for relid, one in self.selected.items()}
        self.synced = {
            relid: state.synced_lsn
            for relid, state in found.items()
            if state is not None and state == self.state(self.selected[relid], state.synced_lsn)
        }

    def state(self, one: Selected, synced: LSN) -> TableState:
        """Say what a target stores about a table that is complete as of `synced`."""
        membership = self._memberships[one.table.relid]
        return TableState(one.table.relid, membership, one.definition, synced)

    def join(self, relids: Collection[int], synced: LSN) -> None:
        """Take note that tables are complete as of `synced`."""
        self.synced |= dict.fromkeys(relids, synced)

    def leave(self, relids: Collection[int]) -> None:
        """Take note that tables are not complete, whatever the stream brings for them."""
        for relid in relids:
            self.synced.pop(relid, None)

    def keep(self, entry: Transaction, position: LSN) -> Transaction | None:
        """Return the entry's part that a target at `position` lacks; None when it has it all."""
        if not entry.changes or entry.commit_lsn < position:
            return None
        return keep_transaction(entry, self.selected, self.synced)
