"""How the Postgres target writes: what triggers, foreign keys, constraints and other sessions make of a batch."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import psycopg2
import pytest
from conformance.stream import SLOT, TARGET_ID, Source, batch, make_table, table_column, transaction, writer
from fix_postgres import Database
from fix_walsync import eventually_async
from psycopg2.extensions import make_dsn

from walsync.errors import TargetRefused, TargetUnavailable
from walsync.lsn import LSN
from walsync.row import UNCHANGED
from walsync.settings import Secret
from walsync.source.table import Table
from walsync.target.base import Batch, TableState
from walsync.target.postgres.client import Session
from walsync.target.postgres.settings import PostgresSettings
from walsync.target.postgres.target import PostgresTarget
from walsync.transaction.change import Change

USERS = make_table("users", [("id", "integer"), ("name", "text"), ("body", "text")])
POSTS = make_table("posts", [("id", "integer"), ("author", "integer")], relid=16385)
LOG = make_table("log", [("line", "text")], (), relid=16386)
PRICES = make_table("prices", [("amount", "numeric"), ("body", "text")], ("amount",), relid=16387)
SOURCE = Source([USERS, POSTS, LOG, PRICES])
START = 100
WAIT_SECONDS = 30

insert, update, delete = SOURCE.insert, SOURCE.update, SOURCE.delete

AUDIT = """
CREATE TABLE audit (n integer GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.audit (what) VALUES (TG_OP || coalesce(' ' || OLD.id, '') || coalesce(' -> ' || NEW.id, ''));
    RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE users ENABLE ALWAYS TRIGGER note
"""

Open = Callable[..., PostgresTarget]


@pytest.fixture
async def make(target: Database) -> AsyncIterator[Open]:
    """Make targets on the database, as its superuser or as `user`."""
    made: list[PostgresTarget] = []

    def make_one(user: str | None = None, *, collapse: bool = True, dsn: str | None = None) -> PostgresTarget:
        address = dsn or make_dsn(target.dsn, **({"user": user} if user else {}))
        configured = PostgresSettings(name="replica", type="postgres", dsn=Secret(address))
        made.append(PostgresTarget(configured, SLOT, collapse=collapse))
        return made[-1]

    yield make_one
    for one in made:
        await one.close()


@pytest.fixture
def plain_role(target: Database) -> Iterator[str]:
    """Make a role that may not set session_replication_role."""
    role = f"plain_{target.name}"
    target.execute(f"CREATE ROLE {role} LOGIN")
    target.execute(f"GRANT ALL ON SCHEMA public TO {role}")
    target.execute(f"GRANT ALL ON DATABASE {target.name} TO {role}")
    yield role
    target.execute(f"DROP OWNED BY {role} CASCADE")
    target.execute(f"DROP ROLE {role}")


async def opened(target: PostgresTarget, *tables: Table) -> PostgresTarget:
    await target.register(TARGET_ID, writer(), LSN(START))
    await target.prepare(tables)
    return target


async def write(target: PostgresTarget, *batches: Sequence[Change]) -> None:
    for number, changes in enumerate(batches):
        await target.write(batch(START + number, START + number + 1, *changes))


async def test_on_the_serial_road_triggers_see_each_change_once_and_as_what_it_was(
    target: Database, make: Open
) -> None:
    replica = await opened(make(collapse=False), USERS)
    target.execute(AUDIT)
    changes: list[Change] = [
        insert(USERS, "1", "a", "x"),
        update(USERS, "1", "b", UNCHANGED),
        update(USERS, "2", "b", UNCHANGED, old=["1"]),
        update(USERS, "2", UNCHANGED, UNCHANGED),
        delete(USERS, "2"),
        insert(USERS, "2", "c", "y"),
    ]
    await write(replica, changes)
    assert [row[0] for row in target.execute("SELECT what FROM audit ORDER BY n")] == [
        "INSERT -> 1", "UPDATE 1 -> 1", "UPDATE 1 -> 2", "UPDATE 2 -> 2", "DELETE 2", "INSERT -> 2",
    ]  # fmt: skip


async def test_a_swap_of_unique_values_is_written_set_based(target: Database, make: Open) -> None:
    replica = await opened(make(), USERS)
    target.execute("CREATE UNIQUE INDEX ON users (name)")
    target.execute(AUDIT)
    await replica.prepare([USERS])
    await write(replica, [insert(USERS, "1", "a", "x"), insert(USERS, "2", "b", "y"), insert(USERS, "3", "c", "z")])
    target.execute("TRUNCATE audit")
    # The source's constraint is deferrable: both rows hold one value for a moment, which no serial road can follow.
    swap: list[Change] = [update(USERS, "1", "b", UNCHANGED), update(USERS, "2", "a", UNCHANGED)]
    await replica.write(batch(101, 102, *swap, update(USERS, "3", UNCHANGED, "zz")))
    assert target.execute("SELECT * FROM users ORDER BY id") == [(1, "b", "x"), (2, "a", "y"), (3, "c", "zz")]
    assert {row[0] for row in target.execute("SELECT what FROM audit")} == {
        "DELETE 1", "DELETE 2", "INSERT -> 1", "INSERT -> 2", "UPDATE 3 -> 3",
    }  # fmt: skip


async def test_a_key_that_changes_to_an_equal_one_and_back_keeps_what_was_not_sent(
    target: Database, make: Open
) -> None:
    replica = await opened(make(), PRICES)
    await replica.write(batch(START, 110, insert(PRICES, "1", "a toasted body")))
    away = update(PRICES, "1.0", UNCHANGED, old=("1", None))
    back = update(PRICES, "1", UNCHANGED, old=("1.0", None))
    await replica.write(batch(110, 120, away, back))
    assert target.execute("SELECT amount::text, body FROM prices") == [("1", "a toasted body")]


async def test_without_the_replica_role_a_swap_goes_in_the_order_of_the_source(
    target: Database, make: Open, plain_role: str
) -> None:
    replica = await opened(make(plain_role), USERS)
    assert replica.replica_role is False
    target.execute("CREATE UNIQUE INDEX ON users (name)")
    await replica.prepare([USERS])
    await write(
        replica,
        [insert(USERS, "1", "a", "x"), insert(USERS, "2", "b", "y")],
        [update(USERS, "1", None, UNCHANGED), update(USERS, "2", "a", UNCHANGED), update(USERS, "1", "b", UNCHANGED)],
    )
    assert target.execute("SELECT * FROM users ORDER BY id") == [(1, "b", "x"), (2, "a", "y")]


async def test_without_the_replica_role_foreign_keys_hold_and_cascade(
    target: Database, make: Open, plain_role: str
) -> None:
    replica = await opened(make(plain_role), USERS, POSTS)
    target.execute("ALTER TABLE posts ADD FOREIGN KEY (author) REFERENCES users ON DELETE CASCADE")
    await replica.prepare([USERS, POSTS])
    await write(
        replica,
        [
            insert(USERS, "1", "a", None),
            insert(POSTS, "1", "1"),
            insert(USERS, "2", "b", None),
            insert(POSTS, "2", "2"),
        ],
        # The source's own cascade is in the stream as well: by then the row is gone.
        [delete(USERS, "1"), delete(POSTS, "1"), delete(POSTS, "2"), insert(POSTS, "3", "2")],
    )
    assert target.execute("SELECT * FROM posts") == [(3, 2)]
    with pytest.raises(TargetRefused, match=r"public\.posts \(id=9\)") as refused:
        await replica.write(batch(102, 103, insert(POSTS, "9", "77")))
    assert refused.value.code == "WS4311"
    await replica.write(batch(102, 103, SOURCE.truncate(USERS, POSTS), insert(USERS, "5", None, None)))
    assert target.execute("SELECT id FROM users") == [(5,)]


async def test_with_the_replica_role_foreign_keys_neither_refuse_nor_cascade(target: Database, make: Open) -> None:
    replica = await opened(make(), USERS, POSTS)
    assert replica.replica_role is True
    target.execute("ALTER TABLE posts ADD FOREIGN KEY (author) REFERENCES users ON DELETE CASCADE")
    await replica.prepare([USERS, POSTS])
    await write(replica, [insert(POSTS, "1", "1"), insert(USERS, "1", "a", None)], [delete(USERS, "1")])
    assert target.execute("SELECT * FROM posts") == [(1, 1)]


async def test_truncate_reaches_no_table_that_walsync_does_not_write(target: Database, make: Open) -> None:
    replica = await opened(make(), USERS, LOG)
    target.execute("CREATE TABLE notes (user_id integer REFERENCES users ON DELETE CASCADE)")
    await replica.prepare([USERS, LOG])
    await write(replica, [insert(USERS, "1", "a", None), insert(LOG, "x")])
    target.execute("INSERT INTO notes VALUES (1)")
    await replica.write(batch(101, 102, SOURCE.truncate(USERS, LOG)))
    counts = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM log), (SELECT count(*) FROM notes)"
    assert target.execute(counts) == [(0, 0, 1)]
    state = TableState(USERS.relid, "walsync", USERS.definition, LSN(102))
    assert await replica.copy(USERS, state, one_chunk(b"1\ta\tb\n")) == 1
    assert target.execute(counts) == [(1, 0, 1)]


async def test_truncate_restarts_sequences_where_the_source_did(target: Database, make: Open) -> None:
    target.execute("CREATE TABLE users (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text, body text)")
    replica = await opened(make(), USERS)
    target.execute("SELECT setval('users_id_seq', 77)")
    await write(replica, [SOURCE.truncate(USERS, restart_identity=True)])
    assert target.execute("SELECT nextval('users_id_seq')") == [(1,)]


async def test_a_table_with_an_exclusion_constraint_is_written_in_order(target: Database, make: Open) -> None:
    replica = await opened(make(), USERS)
    target.execute("ALTER TABLE users ADD EXCLUDE (name WITH =)")
    await replica.prepare([USERS])
    await write(
        replica,
        [insert(USERS, "1", "a", "x"), insert(USERS, "2", "b", "y")],
        [update(USERS, "1", "t", UNCHANGED), update(USERS, "2", "a", UNCHANGED), update(USERS, "1", "b", UNCHANGED)],
    )
    assert target.execute("SELECT * FROM users ORDER BY id") == [(1, "b", "x"), (2, "a", "y")]


async def test_a_value_that_the_target_cannot_hold_is_refused_by_key_and_not_shown(make: Open) -> None:
    replica = await opened(make(), POSTS)
    changes = [insert(POSTS, "1", "12"), insert(POSTS, "2", 'secret "value"')]
    with pytest.raises(TargetRefused, match=r"public\.posts \(id=2\)") as refused:
        await write(replica, changes)
    assert refused.value.code == "WS4312"
    assert "secret" not in str(refused.value)


async def test_a_change_of_a_keyless_table_that_finds_no_row_is_refused(make: Open) -> None:
    replica = await opened(make(), LOG)
    for change in (delete(LOG, "not there"), update(LOG, "new", old=["not there"])):
        with pytest.raises(TargetRefused) as refused:
            await replica.write(batch(START, 200, change))
        assert refused.value.code == "WS4304"


async def test_a_shape_that_changes_inside_a_batch_is_followed(target: Database, make: Open) -> None:
    wide = replace(
        USERS, columns=(*USERS.columns, table_column("extra", position=4)), published=(*USERS.published, "extra")
    )
    target.execute("CREATE TABLE users (id integer PRIMARY KEY, name text, body text, extra text)")
    replica = await opened(make(), wide)
    later = Source([wide])
    changes: list[Change] = [insert(USERS, "1", "a", "b"), later.insert(wide, "2", "a", "b", "e")]
    changes += [later.update(wide, "1", UNCHANGED, UNCHANGED, "new"), later.delete(wide, "9")]
    await write(replica, changes)
    assert target.execute("SELECT * FROM users ORDER BY id") == [(1, "a", "b", "new"), (2, "a", "b", "e")]


async def test_a_column_that_the_target_lacks_is_refused_with_what_to_add(make: Open) -> None:
    replica = await opened(make(), USERS)
    wide = replace(
        USERS, columns=(*USERS.columns, table_column("extra", position=4)), published=(*USERS.published, "extra")
    )
    with pytest.raises(TargetRefused, match='ADD COLUMN "extra"') as refused:
        await replica.write(batch(START, 200, Source([wide]).insert(wide, "2", "a", "b", "e")))
    assert refused.value.code == "WS4203"


async def test_a_table_that_was_not_prepared_is_refused(make: Open) -> None:
    replica = await opened(make(), USERS)
    with pytest.raises(TargetRefused) as refused:
        await replica.write(batch(START, 200, insert(POSTS, "1", "1")))
    assert refused.value.code == "WS4207"


async def test_a_transaction_of_several_segments_arrives_whole(target: Database, make: Open) -> None:
    replica = await opened(make(), USERS)
    changes: list[Change] = [insert(USERS, str(number), "n", "b") for number in range(55_000)]
    changes += [update(USERS, str(number), "changed", UNCHANGED) for number in range(0, 55_000, 5)]
    await replica.write(Batch(LSN(START), LSN(300), [transaction(200, *changes[:3]), transaction(300, *changes[3:])]))
    assert target.execute("SELECT count(*), count(*) FILTER (WHERE name = 'changed') FROM users") == [(55_000, 11_000)]


async def test_a_session_that_is_ended_in_mid_batch_leaves_nothing_and_the_target_unavailable(
    target: Database, make: Open
) -> None:
    replica = await opened(make(), USERS)
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with closing(psycopg2.connect(target.dsn)) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE users")
        writing = asyncio.create_task(replica.write(batch(START, 200, insert(USERS, "1", "a", None))))
        [(pid,)] = await eventually_async(lambda: target.execute(waiting), WAIT_SECONDS, "the write to wait")
        target.execute("SELECT pg_terminate_backend(%s)", pid)
        with pytest.raises(TargetUnavailable) as unavailable:
            await writing
    assert unavailable.value.code == "WS4102"
    assert (await replica.claim(writer())).lsn == START
    assert target.execute("SELECT * FROM users") == []


async def test_a_newer_run_ends_the_session_of_one_that_froze_inside_a_snapshot(target: Database, make: Open) -> None:
    froze = asyncio.Event()

    async def frozen() -> AsyncIterator[bytes]:
        yield b"1\ta\tb\n"
        froze.set()
        await asyncio.Event().wait()

    first = await opened(make(), USERS)
    state = TableState(USERS.relid, "walsync", USERS.definition, LSN(START))
    copying = asyncio.create_task(first.copy(USERS, state, frozen()))
    locked = "SELECT 1 FROM pg_locks WHERE relation = 'users'::regclass AND mode = 'AccessExclusiveLock'"
    await eventually_async(lambda: target.execute(locked), WAIT_SECONDS, "the snapshot to hold the table")
    # Not before its COPY has begun: until then it would hear that its session was ended.
    await asyncio.wait_for(froze.wait(), WAIT_SECONDS)
    second = make()
    assert (await second.claim(writer(epoch=11))).epoch == 11
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying


async def test_a_commit_is_durable_whatever_the_role_says(target: Database, make: Open) -> None:
    target.execute(f"ALTER DATABASE {target.name} SET synchronous_commit = off")
    target.execute(f"ALTER DATABASE {target.name} SET datestyle = 'German'")
    target.execute(f"ALTER DATABASE {target.name} SET default_transaction_isolation = 'serializable'")
    replica = await opened(make(), USERS)
    names = ("synchronous_commit", "datestyle", "transaction_isolation", "session_replication_role", "search_path")

    def settings(session: Session) -> list[str]:
        with session.connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}")
            return list(cursor.fetchone() or ())

    found = await replica._client.run(settings)
    assert found == ["on", "ISO, DMY", "read committed", "replica", ""]


async def test_errors_of_the_connection_show_no_password(target: Database, make: Open) -> None:
    away = make(dsn=make_dsn(target.dsn, port=1, password="hunter2"))
    with pytest.raises(TargetUnavailable) as unavailable:
        await away.read_checkpoint()
    assert unavailable.value.code == "WS4101"
    assert "hunter2" not in f"{unavailable.value} {unavailable.value.__cause__} {unavailable.value.__context__}"


async def test_the_session_tells_the_server_whose_it_is(target: Database, make: Open) -> None:
    replica = await opened(make(), USERS)
    await replica.claim(writer())
    named = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
    assert target.execute(named, "walsync walsync epoch 10") == [(1,)]


async def one_chunk(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk
