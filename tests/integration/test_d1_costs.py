"""What Cloudflare bills for replicated rows, as workerd counts it; docs/targets.md has these numbers."""

from collections.abc import Sequence

import pytest
from conformance.stream import SLOT, TARGET_ID, Source, batch, writer
from fix_workerd import SECRET, Workerd
from integration.test_target_d1 import make_table

from walsync.lsn import LSN
from walsync.row import UNCHANGED
from walsync.settings import Secret
from walsync.source.table import Table
from walsync.target.d1.checkpoint import CheckpointStore
from walsync.target.d1.encoder import Encoder
from walsync.target.d1.gateway import GatewayClient
from walsync.target.d1.settings import D1Settings
from walsync.target.d1.target import D1Target
from walsync.target.slices import Reached
from walsync.transaction.change import Change

BY_INTEGER = make_table("by_integer", [("id", "integer"), ("a", "text"), ("b", "text")])
BY_TEXT = make_table("by_text", [("id", "text"), ("a", "text"), ("b", "text")], relid=16385)
SOURCE = Source([BY_INTEGER, BY_TEXT])
ROWS = 10
PER_REQUEST = 1
"""The checkpoint's own row."""


@pytest.mark.parametrize("table", [BY_INTEGER, BY_TEXT], ids=lambda table: table.name)
@pytest.mark.parametrize("indexes", [0, 1])
async def test_rows_written_per_change(workerd: Workerd, d1_database: str, table: Table, indexes: int) -> None:
    client = GatewayClient(workerd.url, d1_database, Secret(SECRET), "target weur")
    settings = D1Settings(name="weur", type="d1", url=workerd.url, database=d1_database, secret=Secret(SECRET))
    target = D1Target(settings, SLOT, client=client, encoder=Encoder())
    await target.register(TARGET_ID, writer(), LSN(100))
    await target.prepare([table])
    if indexes:
        workerd.plain(d1_database).execute(f"CREATE INDEX i ON {table.name} (a)")
    store = CheckpointStore(client, SLOT, "weur")
    position = 100

    async def cost(changes: Sequence[Change]) -> int:
        nonlocal position
        one = batch(position, position + 10, *changes)
        head = store.advance(writer(), Reached(LSN(position)), Reached(one.position))
        position += 10
        encoding = target._encode(one.transactions)
        statements = [(sql, list(parameters)) for sql, parameters in (*head, *encoding)]
        results = workerd.plain(d1_database).batch(*statements)
        return sum(int(result["meta"]["rows_written"]) for result in results) - PER_REQUEST

    numbers = range(ROWS)
    inserted = await cost([SOURCE.insert(table, str(n), "a", "b") for n in numbers])
    again = await cost([SOURCE.insert(table, str(n), "a", "b") for n in numbers])
    updated = await cost([SOURCE.update(table, str(n), "c", "d") for n in numbers])
    beside_the_index = await cost([SOURCE.update(table, str(n), "c", "e") for n in numbers])
    patched = await cost([SOURCE.update(table, str(n), "f", UNCHANGED) for n in numbers])
    deleted = await cost([SOURCE.delete(table, str(n)) for n in numbers])
    await target.close()
    # An index is written with each row that is set, whether or not its column has changed; deleting from it is free.
    set_rows = ROWS * (1 + indexes)
    assert (inserted, again, deleted) == (set_rows, 0, ROWS)
    assert (updated, beside_the_index, patched) == (set_rows, set_rows, set_rows)
