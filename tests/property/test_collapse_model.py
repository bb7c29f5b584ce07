"""The last state per key, carried out on a dict as a target has to, equals what the source holds."""

from conformance.stream import relation_of, transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from property.source_model import FILLED, LOG, TABLES, Model, Operation, batches_of_operations

from walsync.relation import Relation
from walsync.row import UNCHANGED, Value, read_tuple
from walsync.target.collapse import Delete, Key, Patch, TableRows, collapse, segments
from walsync.transaction.change import Change

KEYED = [table for table in TABLES if table.relid != LOG.relid]
Stored = dict[Key, list[Value]]


def key_indexes(relation: Relation) -> tuple[int, ...]:
    table = next(table for table in TABLES if table.relid == relation.relid)
    return tuple(table.published.index(name) for name in table.key)


def carry_out(stored: Stored, table: TableRows) -> None:
    if table.truncated:
        stored.clear()
    whole: Stored = {}
    for key, state in table.rows.items():
        match state:
            case bytes():
                whole[key] = read_tuple(state)
            case Patch(base=base):
                pairs = zip(state.values, stored[base], strict=True)
                whole[key] = [old if new is UNCHANGED else new for new, old in pairs]
            case Delete():
                pass
    for key, state in table.rows.items():
        if isinstance(state, Delete):
            stored.pop(key, None)
    stored.update(whole)


def without_log(changes: list[Change]) -> list[Change]:
    log = relation_of(LOG)
    return [change for change in changes if getattr(change, "relation", None) != log]


@settings(max_examples=150)
@given(batches=batches_of_operations, limit=st.integers(1, 12))
def test_the_collapsed_state_of_any_segments_equals_the_source(
    batches: list[list[list[Operation]]], limit: int
) -> None:
    model = Model()
    stored: dict[int, Stored] = {table.relid: {} for table in TABLES}
    for batch in [FILLED, *batches]:
        changes: list[Change] = []
        for operations in batch:
            for operation in operations:
                operation(model)
            changes += without_log(model.take())
        for start in range(0, len(changes), limit):
            for relid, rows in collapse(changes[start : start + limit], key_indexes).tables.items():
                carry_out(stored[relid], rows)
    for table in KEYED:
        expected = sorted([tuple(map(repr, row)) for row in model.rows[table.relid]])
        found = [
            tuple(repr(v.decode() if isinstance(v, bytes) else v) for v in row) for row in stored[table.relid].values()
        ]
        assert sorted(found) == expected, table.name


def test_segments_are_cut_at_the_limit_and_keep_every_change_in_order() -> None:
    model = Model()
    for number in range(10):
        model.insert(LOG, (str(number), None))
    changes = model.take()
    cut = list(segments([transaction(100, *changes[:4]), transaction(200, *changes[4:])], limit=3))
    assert [len(segment) for segment in cut] == [3, 3, 3, 1]
    assert [change for segment in cut for change in segment] == changes
