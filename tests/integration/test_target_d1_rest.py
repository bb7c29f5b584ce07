"""D1 over REST: cut anywhere and repeated, the rows end as those of the source; and a token's requests suffice."""

import io
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import Any
from uuid import uuid4

import pytest
import structlog
from conformance.stream import SLOT, TARGET_ID, Source, batch, transaction, writer
from fix_rest_api import ACCOUNT, TOKEN, WINDOW_SECONDS, Clock, RestApi
from fix_workerd import SECRET, Plain, Workerd
from integration.test_target_d1 import LOG, PAIRS, USERS, make_table

from walsync import logs
from walsync.errors import Fenced, TargetRefused, TargetUnavailable
from walsync.lsn import LSN
from walsync.row import UNCHANGED
from walsync.settings import Secret
from walsync.source.table import Table
from walsync.target.base import Batch
from walsync.target.d1.budget import RateBudget
from walsync.target.d1.encoder import Encoder
from walsync.target.d1.rest import RestClient
from walsync.target.d1.rest_target import RestD1Target, make_target
from walsync.target.d1.settings import D1Settings
from walsync.target.d1.target import D1Target
from walsync.target.slices import Limits
from walsync.transaction.change import Change, Insert, Transaction

SOURCE = Source([USERS, PAIRS, LOG])
START = 100

Make = Callable[..., RestD1Target]


@pytest.fixture
async def api(workerd: Workerd) -> AsyncIterator[RestApi]:
    async with RestApi(workerd, is_atomic=False) as running:
        yield running


@pytest.fixture
def plain(workerd: Workerd, d1_database: str) -> Plain:
    return workerd.plain(d1_database)


@pytest.fixture
async def make(api: RestApi, d1_database: str) -> AsyncIterator[Make]:
    """Make targets of one database; time passes when they wait."""
    async with AsyncExitStack() as stack:

        def new(
            name: str = "weur",
            *,
            token: str = TOKEN,
            account: str = ACCOUNT,
            database: str = d1_database,
            budget: RateBudget | None = None,
            encoder: Encoder | None = None,
        ) -> RestD1Target:
            clock = Clock()
            ids = {"account_id": account, "database_id": database.replace("DB_", "id-").lower()}
            settings = D1Settings(name=name, type="d1", api_token=Secret(token), **ids)  # type: ignore[arg-type]
            address = f"{api.url}/accounts/{ids['account_id']}/d1/database/{ids['database_id']}"
            client = RestClient(address, Secret(token), f"target {name}", budget or RateBudget(clock, clock.sleep))
            target = RestD1Target(settings, SLOT, client=client, encoder=encoder or Encoder())
            stack.push_async_callback(target.close)
            return target

        yield new


async def begin(target: D1Target, *tables: Table) -> None:
    await target.register(TARGET_ID if target.name == "weur" else uuid4(), writer(), LSN(START))
    await target.claim(writer())
    await target.prepare(tables)


async def code_of(target: D1Target) -> tuple[str, type[Exception]]:
    with pytest.raises((TargetRefused, TargetUnavailable)) as found:
        await target.read_checkpoint()
    assert TOKEN not in f"{found.value} {found.value!r} {found.value.hint}"
    return found.value.code, type(found.value)


async def test_a_token_without_the_right_and_a_database_that_is_not_there_are_told_apart(make: Make) -> None:
    assert await code_of(make(token="of somebody else")) == ("WS4513", TargetRefused)
    assert await code_of(make(account="another")) == ("WS4513", TargetRefused)
    assert await code_of(make(database="DB_MARS")) == ("WS4514", TargetRefused)


async def test_a_table_without_a_key_is_refused_at_check_and_at_start(make: Make) -> None:
    target = make()
    assert [(one.code, one.table) for one in await target.compare([USERS, LOG])] == [("WS4516", "public.log")]
    with pytest.raises(TargetRefused) as refused:
        await begin(target, USERS, LOG)
    assert refused.value.code == "WS4516"


async def test_errors_of_the_api_are_tried_again_and_those_of_a_statement_are_not(make: Make, api: RestApi) -> None:
    target = make()
    await begin(target, USERS)
    written = batch(START, 200, SOURCE.insert(USERS, "1", "a", "b"))
    for status, code, message in [
        (500, 7500, "internal error; reference = abc"),
        (429, 7429, "D1 DB is overloaded"),
        (503, 0, "Service Unavailable"),
    ]:
        api.errors.append((status, code, message))
        with pytest.raises(TargetUnavailable) as unavailable:
            await target.write(written)
        assert unavailable.value.code == "WS4102"
        assert (await target.claim(writer())).lsn == START
    api.errors += [(400, 7500, "no such column: nope at offset 7: SQLITE_ERROR")]
    with pytest.raises(TargetRefused) as refused:
        await target.write(written)
    assert refused.value.code == "WS4201"


@pytest.mark.parametrize("lost", ["before", "after"])
async def test_an_answer_that_is_lost_is_found_out_at_the_checkpoint(
    make: Make, api: RestApi, plain: Plain, lost: str
) -> None:
    target = make()
    await begin(target, USERS)
    if lost == "before":
        api.half = 0
    else:
        api.lost = 1
    written = batch(START, 200, SOURCE.insert(USERS, "1", "a", "b"))
    with pytest.raises(TargetUnavailable):
        await target.write(written)
    assert (await target.claim(writer())).lsn == (START if lost == "before" else 200)
    if lost == "before":
        await target.write(written)
    assert plain.execute("SELECT * FROM users") == [(1, "a", "b")]


Model = dict[int, tuple[str, str]]


def random_transactions(random: Random, model: Model, first: int, count: int) -> list[Transaction]:
    """Make transactions that a source could have sent, and leave in `model` what they lead to."""
    made = []
    for number in range(count):
        changes = [_change(random, model) for _ in range(random.choice((1, 1, 2, 4)))]
        made.append(transaction(first + 10 * (number + 1), *changes))
    return made


def _change(random: Random, model: Model) -> Change:
    key, other = random.randint(1, 4), random.randint(1, 4)
    name, body = f"n{random.randint(1, 99)}", f"b{random.randint(1, 99)}"
    if key not in model:
        model[key] = (name, body)
        return SOURCE.insert(USERS, str(key), name, body)
    sent = random.random() < 0.3
    match random.random():
        case chance if chance < 0.2:
            del model[key]
            return SOURCE.delete(USERS, str(key))
        case chance if chance < 0.65 and other not in model:
            model[other] = (name, body if sent else model.pop(key)[1])
            model.pop(key, None)
            return SOURCE.update(USERS, str(other), name, body if sent else UNCHANGED, old=[str(key)])
        case _:
            model[key] = (name, body if sent else model[key][1])
            return SOURCE.update(USERS, str(key), name, body if sent else UNCHANGED)


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_part_of_a_request_is_taken_the_rows_end_as_those_of_the_source(
    make: Make, api: RestApi, plain: Plain, seed: int
) -> None:
    random, model, target = Random(seed), Model(), make()
    await begin(target, USERS)
    await target.write(Batch(LSN(START), LSN(200), random_transactions(random, model, START, 4)))
    todo = random_transactions(random, model, 200, 8)
    target.limits = Limits(random.choice((2, 5, 1000)), 1_000_000)
    position, cuts = 200, 6
    while todo:
        # Each attempt takes another number of transactions, as after a restart.
        taken = todo[: random.randint(1, len(todo))]
        if cuts and random.random() < 0.8:
            cuts -= 1
            api.half = random.randint(0, 9)
        else:
            api.half = None
        try:
            await target.write(Batch(LSN(position), taken[-1].end_lsn, taken))
            position = taken[-1].end_lsn
        except TargetUnavailable:
            target = make() if random.random() < 0.5 else target
            position = (await target.claim(writer())).lsn
            await target.prepare([USERS])
        todo = [one for one in todo if one.commit_lsn >= position]
    expected = [(key, *values) for key, values in sorted(model.items())]
    assert plain.execute("SELECT * FROM users ORDER BY id") == expected
    assert plain.execute("SELECT lsn, upto FROM _walsync_checkpoint") == [(str(LSN(280)), None)]


async def test_a_swap_that_was_half_done_is_not_done_twice(make: Make, api: RestApi, plain: Plain) -> None:
    swap = [
        SOURCE.update(USERS, "99", "one", UNCHANGED, old=["1"]),
        SOURCE.update(USERS, "1", "two", UNCHANGED, old=["2"]),
        SOURCE.update(USERS, "2", "one", UNCHANGED, old=["99"]),
    ]
    for half in range(9):
        plain.clear()
        target = make()
        await begin(target, USERS)
        await target.write(
            batch(START, 200, SOURCE.insert(USERS, "1", "one", "B1"), SOURCE.insert(USERS, "2", "two", "B2"))
        )
        api.half = half
        with pytest.raises(TargetUnavailable):
            await target.write(batch(200, 300, *swap))
        if (await target.claim(writer())).lsn == 200:
            await target.write(batch(200, 300, *swap))
        assert plain.execute("SELECT * FROM users ORDER BY id") == [(1, "two", "B2"), (2, "one", "B1")], half
    assert plain.execute("SELECT count(*) FROM _walsync_before") == [(0,)]


async def test_a_missing_row_is_a_fault_again_past_what_was_interrupted(make: Make, api: RestApi, plain: Plain) -> None:
    target = make()
    await begin(target, USERS)
    await target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a", "b"), SOURCE.insert(USERS, "2", "a", "b")))
    interrupted = transaction(300, SOURCE.update(USERS, "1", "c", UNCHANGED), SOURCE.delete(USERS, "2"))
    api.half = 3
    with pytest.raises(TargetUnavailable):
        await target.write(Batch(LSN(200), LSN(300), [interrupted]))
    await target.claim(writer())
    plain.execute("DELETE FROM users")
    later = transaction(400, SOURCE.update(USERS, "1", "d", UNCHANGED))
    with pytest.raises(TargetRefused) as refused:
        await target.write(Batch(LSN(200), LSN(400), [interrupted, later]))
    assert (refused.value.code, "id=1" in refused.value.message) == ("WS4301", True)
    assert (await target.claim(writer())).lsn == 300


async def test_a_refused_row_is_named_though_nothing_holds_a_request_together(make: Make, plain: Plain) -> None:
    target = make()
    await begin(target, USERS)
    plain.execute(
        "CREATE TRIGGER forbid BEFORE INSERT ON users WHEN new.name = 'poison' BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    changes = [SOURCE.insert(USERS, str(number), "poison" if number == 7 else "n", "b") for number in range(20)]
    with pytest.raises(TargetRefused, match=r"public\.users \(id=7\)") as refused:
        await target.write(batch(START, 200, *changes))
    assert refused.value.code == "WS4313"
    plain.execute("DROP TRIGGER forbid")
    again = make()
    await again.claim(writer(epoch=11))
    await again.prepare([USERS])
    await again.write(batch(START, 200, *changes))
    assert plain.execute("SELECT count(*) FROM users") == [(20,)]


async def test_a_restore_to_an_older_bookmark_is_noticed_and_nothing_is_written_on_top(
    make: Make, plain: Plain
) -> None:
    target = make()
    await begin(target, USERS)
    await target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a", "b")))
    bookmark = plain.execute("SELECT lsn, previous FROM _walsync_checkpoint")[0]
    await target.write(batch(200, 300, SOURCE.insert(USERS, "2", "a", "b")))
    plain.execute("DELETE FROM users WHERE id = 2")
    plain.execute("UPDATE _walsync_checkpoint SET lsn = ?1, previous = ?2", *bookmark)
    with pytest.raises(TargetUnavailable) as unavailable:
        await target.write(batch(300, 400, SOURCE.insert(USERS, "3", "a", "b")))
    assert unavailable.value.code == "WS4004"
    assert plain.execute("SELECT id FROM users") == [(1,)]
    assert (await target.claim(writer())).lsn == 200


async def test_a_writer_that_was_replaced_changes_nothing(make: Make, plain: Plain) -> None:
    first, second = make(), make()
    await begin(first, USERS)
    await second.claim(writer(epoch=11))
    with pytest.raises(Fenced):
        await first.write(batch(START, 200, SOURCE.insert(USERS, "1", "a", "b"), SOURCE.truncate(USERS)))
    assert plain.execute("SELECT count(*) FROM users") == [(0,)]
    assert plain.execute("SELECT upto FROM _walsync_checkpoint") == [(None,)]


async def test_another_way_does_not_go_on_where_rest_was_interrupted(
    make: Make, api: RestApi, workerd: Workerd, d1_database: str
) -> None:
    target = make()
    await begin(target, USERS)
    api.half = 2
    with pytest.raises(TargetUnavailable):
        await target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a", "b")))
    settings = D1Settings(name="weur", type="d1", url=workerd.url, database=d1_database, secret=Secret(SECRET))
    gateway = make_target(settings, SLOT, collapse=True)
    with pytest.raises(TargetRefused) as refused:
        await gateway.claim(writer(epoch=11))
    assert refused.value.code == "WS4517"
    await gateway.close()


async def test_a_transaction_that_changes_a_tables_shape_is_taken_change_by_change(make: Make, plain: Plain) -> None:
    wider = make_table("users", [("id", "integer"), ("name", "text")])
    narrow = Source([wider])
    target = make()
    await begin(target, USERS)
    changes: Sequence[Change] = [
        SOURCE.insert(USERS, "1", "a", "b"),
        narrow.update(wider, "5", UNCHANGED, old=["1"]),
        Insert(SOURCE.relation(USERS), SOURCE.insert(USERS, "2", "a", "b").new, narrow.lsn + 8),
    ]
    ordered = [change._replace(lsn=5000 + number) for number, change in enumerate(changes)]
    await target.write(batch(START, 200, *ordered))
    assert plain.execute("SELECT * FROM users ORDER BY id") == [(2, "a", "b"), (5, "a", None)]


async def test_a_block_is_waited_out_and_nothing_is_sent_meanwhile(make: Make, api: RestApi) -> None:
    clock = Clock()
    api.clock = clock
    target = make(budget=RateBudget(clock, clock.sleep))
    await begin(target, USERS)
    api.asked += [clock.now] * api.allowed  # by somebody else who has the token
    with pytest.raises(TargetUnavailable) as unavailable:
        await target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a", "b")))
    assert unavailable.value.code == "WS4515"
    blocked_at, api.asked = clock.now, []
    assert (await target.claim(writer())).lsn == START
    assert clock.now - blocked_at == pytest.approx(WINDOW_SECONDS)
    assert min(api.asked) >= api.blocked_until


async def test_a_token_that_others_use_as_well_is_made_to_last(make: Make, api: RestApi) -> None:
    clock = Clock()
    api.clock, api.allowed = clock, 30
    target = make(budget=RateBudget(clock, clock.sleep))
    await begin(target, USERS)
    for position in range(START, START + 60):
        await target.write(batch(position, position + 1, SOURCE.insert(USERS, str(position), "a", "b")))
    assert api.blocked_until < 0
    assert clock.now > 1000 + WINDOW_SECONDS


async def test_six_regions_with_one_token_stay_below_its_limit_and_share_one_encoding(
    make: Make, api: RestApi, workerd: Workerd
) -> None:
    clock, encoder = Clock(), Encoder()
    api.clock, api.allowed = clock, 240  # a fifth of the real limit, and a fifth of the writes that would reach it
    budget = RateBudget(clock, clock.sleep)
    names = ["DB_WNAM", "DB_ENAM", "DB_WEUR", "DB_EEUR", "DB_APAC", "DB_OC"]
    targets = []
    for name in names:
        workerd.plain(name).clear()
        targets.append(make(name.lower(), database=name, budget=budget, encoder=encoder))
        await begin(targets[-1], USERS)
    assert targets[0].remarks == ("is written every 2.0 s at most: 6 share its api_token",)
    for number in range(50):
        written = batch(START + number, START + number + 1, SOURCE.insert(USERS, str(number), "a", "b"))
        for target in targets:
            await target.write(written)
    assert encoder.encoded == 50
    busiest = max(sum(at - 60 < other <= at for other in api.asked) for at in api.asked)
    assert busiest <= 240
    counts = [workerd.plain(name).execute("SELECT count(*) FROM users") for name in names]
    assert counts == [[(50,)]] * 6


async def test_no_token_reaches_errors_logs_or_settings(make: Make, api: RestApi) -> None:
    out = io.StringIO()
    logs.configure("debug", stream=out, json=True)
    target = make()
    await begin(target, USERS)
    api.errors.append((500, 7500, "internal error"))
    with pytest.raises(TargetUnavailable) as unavailable:
        await target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a", "b")))
    structlog.get_logger().error("target", error=str(unavailable.value), client=target._client)
    keys: dict[str, Any] = {"account_id": ACCOUNT, "database_id": "id", "api_token": Secret(TOKEN)}
    settings = D1Settings(name="x", type="d1", **keys)
    assert TOKEN not in out.getvalue() + repr(settings) + settings.model_dump_json()
