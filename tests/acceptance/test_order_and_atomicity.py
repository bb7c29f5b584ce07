"""A reader of the target sees whole transactions in commit order, and the checkpoint that belongs to them."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from random import Random
from typing import NamedTuple

import psycopg2
from acceptance.pace import Pace
from fix_postgres import Database
from fix_walsync import Walsync, eventually

from walsync.demo.workload import Operation, Style, Transaction, Workload
from walsync.lsn import LSN, ZERO

SEED = int(os.environ.get("WALSYNC_TEST_SEED", "1"))
KILLS = 10
RATE = 80.0
SECONDS = 60
POLL_SECONDS = 0.005
ACCOUNTS, MONEY = 40, 1_000
CONFIG = """
source: {{dsn: "{source}", slot: {slot}, tables: ["app.*"]}}
targets: [{{name: replica, type: postgres, dsn: "{target}"}}]
http: {{listen: ""}}
"""

TABLES = 4
SOURCE = f"""
CREATE SCHEMA app;
CREATE TABLE app.counter (id int PRIMARY KEY, n bigint);
CREATE TABLE app.debits (n bigint PRIMARY KEY, amount int, begun_lsn pg_lsn, xid bigint);
CREATE TABLE app.credits (n bigint, amount int);
ALTER TABLE app.credits REPLICA IDENTITY FULL;
CREATE TABLE app.balances (id int PRIMARY KEY, amount int);
INSERT INTO app.counter VALUES (1, 0);
INSERT INTO app.balances SELECT i, {MONEY} FROM generate_series(1, {ACCOUNTS}) AS i;
"""
LOOK = """
SELECT (SELECT lsn FROM walsync.checkpoint),
    (SELECT n FROM app.counter),
    (SELECT coalesce(max(n), 0) FROM app.debits),
    (SELECT (count(*), coalesce(sum(n), 0), coalesce(sum(amount), 0))::text FROM app.debits),
    (SELECT (count(*), coalesce(sum(n), 0), coalesce(sum(amount), 0))::text FROM app.credits),
    (SELECT sum(amount)::int FROM app.balances),
    (SELECT coalesce(max(begun_lsn), '0/0') FROM app.debits)
"""


class Sight(NamedTuple):
    """What one transaction of the reader saw; `begun_lsn` was the end of the WAL while transaction `n` was open."""

    checkpoint: LSN
    counter: int
    n: int
    debits: str
    credits: str
    money: int
    begun_lsn: LSN


@dataclass
class Observer:
    """Looks at the target again and again in a thread of its own."""

    dsn: str
    seen: list[Sight] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def looking(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join()

    def _run(self) -> None:
        try:
            with closing(psycopg2.connect(self.dsn)) as session:
                session.set_session(isolation_level="REPEATABLE READ", readonly=True)
                while not self._stopping.wait(POLL_SECONDS):
                    self._look(session)
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.failures.append(error)

    def _look(self, session: psycopg2.extensions.connection) -> None:
        with session, session.cursor() as cursor:
            cursor.execute(LOOK)
            row = cursor.fetchone()
        assert row is not None
        checkpoint, counter, n, debits, credits_, money, begun = row
        sight = Sight(LSN.parse(checkpoint), counter, n, debits, credits_, money, LSN.parse(begun))
        if not self.seen or self.seen[-1] != sight:
            self.seen.append(sight)


def test_a_reader_never_sees_half_a_transaction_nor_a_position_that_goes_back(
    source: Database, target: Database, walsync_command: Callable[..., Walsync]
) -> None:
    print(f"seed {SEED}")  # noqa: T201 - shown when the test fails
    source.execute(SOURCE)
    walsync = walsync_command(CONFIG.format(source=source.dsn, slot=source.name, target=target.dsn))
    observer = Observer(target.dsn)
    pace = Pace(walsync, Random(SEED), lambda: len(observer.seen))
    pace.start()
    eventually(partial(_has_snapshot, target), SECONDS, "the snapshot to be complete")
    workload = Workload(source.dsn, [Operation(1, _pay)], seed=SEED, style=Style(rate=RATE, operations=(1, 1, 2, 5)))

    with observer.looking():
        workload.start()
        try:
            pace.kill(KILLS)
            eventually(lambda: observer.failures or len(observer.seen) > KILLS, SECONDS, "enough to have been seen")
        finally:
            workload.stop()
        pace.drain()
        assert walsync.run("run", "--until-caught-up", "--timeout", f"{SECONDS}s", timeout=SECONDS * 2) == 0

    assert not observer.failures
    assert len(observer.seen) > KILLS
    _assert_whole(observer.seen)
    _assert_forward(observer.seen)
    _assert_checkpoint_names_the_rows(observer.seen, source)


def _pay(transaction: Transaction, random: Random) -> None:
    """Write a pair, and move money; the lock on the counter makes the numbers' order that of the commits."""
    transaction.update("counter", "UPDATE app.counter SET n = n + 1")
    amount = random.randint(1, 100)
    debit = "INSERT INTO app.debits SELECT n, %s, pg_current_wal_insert_lsn(), txid_current() FROM app.counter"
    transaction.insert("debits", debit, amount)
    giver, taker = random.sample(range(1, ACCOUNTS + 1), 2)
    for account, change in ((giver, -amount), (taker, amount)):
        transaction.update("balances", "UPDATE app.balances SET amount = amount + %s WHERE id = %s", change, account)
    transaction.insert("credits", "INSERT INTO app.credits SELECT n, %s FROM app.counter", amount)


def _has_snapshot(target: Database) -> bool:
    if target.execute("SELECT to_regclass('walsync.table_state') IS NULL") == [(True,)]:
        return False
    return target.execute("SELECT count(*)::int FROM walsync.table_state") == [(TABLES,)]


def _assert_whole(seen: list[Sight]) -> None:
    for sight in seen:
        assert sight.debits == sight.credits
        assert sight.counter == sight.n
        assert sight.debits.startswith(f"({sight.n},")
        assert sight.money == ACCOUNTS * MONEY


def _assert_forward(seen: list[Sight]) -> None:
    for earlier, later in pairwise(seen):
        assert earlier.checkpoint <= later.checkpoint
        assert earlier.n <= later.n


def _assert_checkpoint_names_the_rows(seen: list[Sight], source: Database) -> None:
    """Hold each checkpoint to the rows beside it: they are all below it, and nothing else of the source is.

    A transaction begins here when the one before has committed, so that one ended below where this one began.
    """
    ends, begins = _transactions(source)
    for sight in seen:
        assert sight.n in ends
        assert sight.begun_lsn <= sight.checkpoint
        not_yet = ends.index(sight.n) + 1
        if not_yet + 1 < len(ends):
            assert sight.checkpoint < begins[not_yet + 1]


def _transactions(source: Database) -> tuple[list[int], list[LSN]]:
    """Tell the last number of each transaction, and where it began; before them all, one that ended with 0."""
    numbers = source.execute("SELECT max(n), min(begun_lsn) FROM app.debits GROUP BY xid ORDER BY 1")
    return [0, *(int(n) for n, _ in numbers)], [ZERO, *(LSN.parse(lsn) for _, lsn in numbers)]
