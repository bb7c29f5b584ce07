"""A table that is copied while the target's others go on: its rows wait beside it, and take their place in one step."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Final, NamedTuple

import pytest
from conformance.bench import START, Tracked
from conformance.bench_surrealdb import SurrealDBBench
from conformance.bench_surrealdb_server import ServerBench
from conformance.stream import Source, batch, make_table, transaction, writer
from fix_watched import Watched

from walsync.errors import Fenced, TargetUnavailable
from walsync.lsn import LSN
from walsync.row import UNCHANGED
from walsync.target.base import Beside, TableState, Target
from walsync.transaction.change import Change

pytestmark = pytest.mark.needs("copies beside the stream")

USERS = make_table("users", [("id", "integer"), ("name", "text"), ("amount", "numeric")])
POSTS = make_table("posts", [("id", "integer"), ("title", "text")], relid=16385)
LOG = make_table("log", [("at", "integer"), ("line", "text")], (), relid=16386)
SOURCE = Source([USERS, POSTS, LOG])
NEW = TableState(USERS.relid, "walsync", USERS.definition, LSN(START + 50))
FIRST = [SOURCE.insert(USERS, "1", "stays", "1.5"), SOURCE.insert(USERS, "2", "goes", None)]

SECONDS: Final = 30.0
MANY: Final = 2_000
GONE: Final = str(MANY + 1)
"""A row that was deleted after it had been copied: where it is seen, it has come back."""


async def lines(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def begin(bench: Tracked) -> tuple[Target, Beside]:
    """Open a target with two rows and a copy of three, of which one is the same, beside them."""
    target = await bench.open(USERS, POSTS, LOG)
    await target.write(batch(START, START + 1, *FIRST))
    beside = target.beside
    assert beside is not None
    assert await beside.stage(USERS, lines(b"1\tstays\t1.5\n3\tcomes\t2\n", b"4\tcomes too\t\\N\n")) == 3
    return target, beside


def old_rows(bench: Tracked) -> bool:
    return bench.rows(USERS) == [("1", "stays", "1.5"), ("2", "goes", None)]


async def position(target: Target) -> int:
    checkpoint = await target.read_checkpoint()
    assert checkpoint is not None
    return checkpoint.lsn


async def test_the_table_stays_as_it_is_until_the_rows_take_their_place_with_what_changed_since(
    bench: Tracked,
) -> None:
    target, beside = await begin(bench)
    assert old_rows(bench)
    await target.write(batch(START + 1, START + 60, SOURCE.insert(POSTS, "1", "meanwhile")))
    changes: list[Change] = [SOURCE.update(USERS, "3", "changed", UNCHANGED), SOURCE.delete(USERS, "4")]
    await beside.take_place([USERS], [transaction(START + 50, *changes)], [(USERS, NEW)])
    assert bench.rows(USERS) == [("1", "stays", "1.5"), ("3", "changed", "2")]
    assert await target.table_states() == {"public.users": NEW}
    assert await position(target) == START + 60
    await target.write(batch(START + 60, START + 70, SOURCE.delete(USERS, "1")))
    assert bench.rows(USERS) == [("3", "changed", "2")]


async def test_a_value_that_only_equals_the_new_one_is_replaced(bench: Tracked) -> None:
    target, beside = await begin(bench)
    await beside.stage(USERS, lines(b"1\tstays\t1.50\n"))
    await beside.take_place([USERS], [], [(USERS, NEW)])
    ((_, _, amount),) = bench.rows(USERS)
    assert amount in {"1.50", "1.5"}  # 3.0 drops the zeros of every decimal
    assert await target.table_states() == {"public.users": NEW}


@pytest.mark.needs("tables without a key")
async def test_a_table_without_a_key_gets_all_its_rows_anew(bench: Tracked) -> None:
    target, beside = await begin(bench)
    await target.write(batch(START + 1, START + 2, SOURCE.insert(LOG, "1", "same"), SOURCE.insert(LOG, "1", "same")))
    await beside.stage(LOG, lines(b"1\tsame\n2\tother\n2\tother\n"))
    state = TableState(LOG.relid, "walsync", LOG.definition, LSN(START + 2))
    await beside.take_place([LOG], [transaction(START + 2, SOURCE.delete(LOG, "2", "other"))], [(LOG, state)])
    assert bench.rows(LOG) == [("1", "same"), ("2", "other")]


async def test_a_table_that_took_its_place_in_parts_is_complete_with_the_last_one(bench: Tracked) -> None:
    target, beside = await begin(bench)
    await beside.take_place([USERS], [transaction(START + 20, SOURCE.delete(USERS, "3"))], [])
    assert bench.rows(USERS) == [("1", "stays", "1.5"), ("4", "comes too", None)]
    assert await target.table_states() == {}
    await beside.take_place([], [transaction(START + 30, SOURCE.delete(USERS, "4"))], [(USERS, NEW)])
    assert bench.rows(USERS) == [("1", "stays", "1.5")]
    assert await target.table_states() == {"public.users": NEW}


async def test_more_changes_than_a_request_holds_move_no_checkpoint(bench: Tracked) -> None:
    _, beside = await begin(bench)
    source = Source([USERS], lsn=0x900000)
    many = [source.insert(USERS, str(number), "n" * 20, str(number)) for number in range(10, 25_010)]
    await beside.take_place([USERS], [transaction(0xF00000, *many)], [(USERS, NEW)])
    assert len(bench.rows(USERS)) == 25_003
    again = bench.target()
    assert (await again.claim(writer())).lsn == START + 1
    await again.prepare([USERS, POSTS, LOG])
    # Its changes are older than those above: had one of them been noted as the last, they would be passed over.
    await again.write(batch(START + 1, 0xF00000, SOURCE.delete(USERS, "1"), SOURCE.delete(USERS, "10")))
    assert len(bench.rows(USERS)) == 25_001


async def test_nobody_but_the_writer_lets_rows_take_their_place(bench: Tracked) -> None:
    _, beside = await begin(bench)
    other = bench.target()
    await other.claim(writer(epoch=11))
    with pytest.raises((Fenced, TargetUnavailable)):
        await beside.take_place([USERS], [], [(USERS, NEW)])
    assert old_rows(bench)


async def test_what_did_not_take_its_place_is_gone_with_the_next_preparation(bench: Tracked) -> None:
    target, beside = await begin(bench)
    assert bench.database.has_stages()
    await beside.clear_stages()
    assert not bench.database.has_stages()
    await beside.stage(USERS, lines(b"9\tagain\t\\N\n"))
    assert bench.database.has_stages()
    await target.prepare([USERS, POSTS, LOG])
    assert not bench.database.has_stages()
    assert old_rows(bench)


class Glimpse(NamedTuple):
    """What somebody saw of the users: which names the first MANY have, how many there are of them, and GONE."""

    names: frozenset[str | None]
    rows: int
    has_gone: bool


OLD: Final = Glimpse(frozenset({"old"}), MANY, has_gone=False)
COPIED: Final = Glimpse(frozenset({"new"}), MANY, has_gone=True)
COMPLETE: Final = Glimpse(frozenset({"new"}), MANY, has_gone=False)


def look(bench: Tracked) -> Glimpse:
    database = bench.database
    # Its `rows` also look at a copy of the files, which is torn while somebody writes them.
    rows = (database.told if isinstance(database, SurrealDBBench) else bench.rows)(USERS)
    first = [row[1] for row in rows if row[0] is not None and int(row[0]) <= MANY]
    return Glimpse(frozenset(first), len(first), GONE in {row[0] for row in rows})


async def watch(bench: Tracked, changes: list[Change]) -> list[Glimpse]:
    """Return what a reader saw while a table was copied once more, and took its place with changes made since."""
    source = Source([USERS])
    target = await bench.open(USERS)
    await target.write(
        batch(START, START + 1, *(source.insert(USERS, str(n), "old", None) for n in range(1, MANY + 1)))
    )
    beside = target.beside
    assert beside is not None
    copied = "".join(f"{number}\tnew\t\\N\n" for number in range(1, MANY + 2)).encode()
    with Watched(partial(look, bench)) as watched:
        await beside.stage(USERS, lines(copied))
        await watched.until_seen()
        assert set(watched.seen) == {OLD}
        await beside.take_place([USERS], [transaction(0xF00000, *changes)], [(USERS, NEW)])
    assert watched.seen[-1] == COMPLETE
    return watched.seen


async def test_a_reader_sees_the_old_rows_or_the_new_ones_and_nothing_that_was_deleted(bench: Tracked) -> None:
    seen = set(await watch(bench, [Source([USERS], lsn=0x900000).delete(USERS, GONE)]))
    follows = isinstance(bench.database, SurrealDBBench | ServerBench)
    assert seen - ({COPIED} if follows else set()) == {OLD, COMPLETE}


async def test_a_reader_sees_all_rows_where_what_changed_since_is_more_than_a_request_holds(bench: Tracked) -> None:
    source = Source([USERS], lsn=0x900000)
    many: list[Change] = [source.insert(USERS, str(number), "n" * 20, "1") for number in range(10_000, 35_000)]
    seen = set(await watch(bench, [*many, source.delete(USERS, GONE)]))
    assert seen - {COPIED} == {OLD, COMPLETE}
