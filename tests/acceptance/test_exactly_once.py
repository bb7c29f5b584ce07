"""Each change takes effect exactly once: triggers on the target count what is written to it while walsync is killed."""

import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random

from acceptance.pace import Pace
from fix_postgres import Database
from fix_walsync import Walsync, eventually

from walsync.demo.compare import PostgresReader, compare
from walsync.demo.workload import Operation, Style, Transaction, Workload

SEED = int(os.environ.get("WALSYNC_TEST_SEED", "1"))
KILLS = 10
RATE = 60.0
SECONDS = 60
CONFIG = """
source: {{dsn: "{source}", slot: {slot}, tables: ["app.*"]}}
targets: [{{name: replica, type: postgres, dsn: "{target}"}}]
batch: {{transactions: 1}}
http: {{listen: ""}}
"""

TABLES = ("accounts", "entries", "counter", "ticks")
SOURCE = """
CREATE SCHEMA app;
CREATE TABLE app.accounts (id int PRIMARY KEY, name text, body text);
ALTER TABLE app.accounts ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TABLE app.entries (account int, seq int, amount int, PRIMARY KEY (account, seq));
CREATE TABLE app.counter (id int PRIMARY KEY, n bigint);
CREATE TABLE app.ticks (n bigint, note text);
ALTER TABLE app.ticks REPLICA IDENTITY FULL;
INSERT INTO app.counter VALUES (1, 0);
INSERT INTO app.accounts SELECT i, 'first', repeat(md5(i::text), 300) FROM generate_series(1, 50) AS i;
"""
COUNTING = """
CREATE SCHEMA audit;
CREATE TABLE audit.written (name text, kind text, rows bigint, PRIMARY KEY (name, kind));
CREATE FUNCTION audit.count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit.written VALUES (tg_table_name, lower(tg_op), 1)
    ON CONFLICT (name, kind) DO UPDATE SET rows = audit.written.rows + 1;
    RETURN NULL;
END $$;
"""
TRIGGER = """
CREATE TRIGGER count AFTER INSERT OR UPDATE OR DELETE ON app.{0} FOR EACH ROW EXECUTE FUNCTION audit.count();
ALTER TABLE app.{0} ENABLE ALWAYS TRIGGER count;
"""


def test_every_committed_change_is_written_exactly_once_whenever_walsync_is_killed(
    source: Database, target: Database, walsync_command: Callable[..., Walsync]
) -> None:
    print(f"seed {SEED}")  # noqa: T201 - shown when the test fails
    source.execute(SOURCE)
    walsync = walsync_command(CONFIG.format(source=source.dsn, slot=source.name, target=target.dsn))
    pace = Pace(walsync, Random(SEED), partial(_written, target))
    pace.start()
    eventually(partial(_has_snapshot, target), SECONDS, "the snapshot to be complete")
    target.execute(COUNTING + "".join(map(TRIGGER.format, TABLES)))
    workload = Workload(source.dsn, _operations(), seed=SEED, style=Style(rate=RATE))

    workload.start()
    try:
        pace.kill(KILLS)
    finally:
        tally = workload.stop()
    pace.drain()
    assert walsync.run("run", "--until-caught-up", "--timeout", f"{SECONDS}s", timeout=SECONDS * 2) == 0

    assert tally.unknown == 0
    assert _written(target) == tally.changes
    ticks = target.execute("SELECT n FROM app.ticks ORDER BY n")
    assert ticks == [(n,) for n in range(1, len(ticks) + 1)]
    assert ticks[-1:] == source.execute("SELECT n FROM app.counter")
    tables = compare(PostgresReader(source.dsn), PostgresReader(target.dsn), ["app"])
    assert [str(table) for table in tables if not table.equal] == []


def _has_snapshot(target: Database) -> bool:
    if target.execute("SELECT to_regclass('walsync.table_state') IS NULL") == [(True,)]:
        return False
    return target.execute("SELECT count(*)::int FROM walsync.table_state") == [(len(TABLES),)]


def _written(target: Database) -> Counter[tuple[str, str]]:
    return Counter({(name, kind): rows for name, kind, rows in target.execute("SELECT * FROM audit.written")})


def _operations() -> list[Operation]:
    return [
        Operation(3, _tick),
        Operation(4, _insert),
        Operation(4, _update),
        Operation(2, _change_key),
        Operation(2, _delete),
        Operation(2, _entries),
        Operation(1, _update_many),
    ]


def _tick(transaction: Transaction, random: Random) -> None:
    """Write the next number: the lock on the counter keeps the others waiting until this one has committed."""
    transaction.update("counter", "UPDATE app.counter SET n = n + 1")
    transaction.insert("ticks", "INSERT INTO app.ticks SELECT n, %s FROM app.counter", str(random.random()))


def _insert(transaction: Transaction, random: Random) -> None:
    body = random.randbytes(5_000).hex()
    sql = "INSERT INTO app.accounts VALUES (%s, 'new', %s) ON CONFLICT DO NOTHING"
    transaction.insert("accounts", sql, random.randint(1, 200), body)


def _update(transaction: Transaction, random: Random) -> None:
    sql = "UPDATE app.accounts SET name = %s WHERE id = %s"
    transaction.update("accounts", sql, str(random.random()), random.randint(1, 200))


def _change_key(transaction: Transaction, random: Random) -> None:
    sql = "UPDATE app.accounts SET id = %s WHERE id = %s"
    transaction.update("accounts", sql, random.randint(1, 200), random.randint(1, 200))


def _delete(transaction: Transaction, random: Random) -> None:
    transaction.delete("accounts", "DELETE FROM app.accounts WHERE id = %s", random.randint(1, 200))


def _entries(transaction: Transaction, random: Random) -> None:
    account = random.randint(1, 5)
    transaction.delete("entries", "DELETE FROM app.entries WHERE account = %s", account)
    sql = "INSERT INTO app.entries SELECT %s, n, %s FROM generate_series(1, %s) AS n"
    transaction.insert("entries", sql, account, random.randint(1, 9), random.randint(1, 8))


def _update_many(transaction: Transaction, random: Random) -> None:
    transaction.update("entries", "UPDATE app.entries SET amount = amount + %s", random.randint(0, 1))
