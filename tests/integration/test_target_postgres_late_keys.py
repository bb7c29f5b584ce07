"""A first copy of many rows builds the table's keys after them, and leaves whatever it cannot put back as it is."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

import pytest
from conformance.stream import SLOT, TARGET_ID, make_table, writer
from fix_postgres import Database
from psycopg2.extensions import make_dsn

from walsync.errors import TargetRefused
from walsync.lsn import LSN
from walsync.settings import Secret
from walsync.target.base import TableState
from walsync.target.postgres.settings import PostgresSettings
from walsync.target.postgres.target import PostgresTarget

USERS = make_table("users", [("id", "integer"), ("name", "text")])
STATE = TableState(USERS.relid, "walsync", "definition", LSN(100))
CHUNK_ROWS = 5000
CHUNKS = 6
ROWS = CHUNK_ROWS * CHUNKS
BODY = "x" * 200
PLAIN = "CREATE TABLE users (id integer PRIMARY KEY, name text)"
WAIT_SECONDS = 20

EVERYTHING_ABOUT_THE_TABLE = """
SELECT 'constraint', conname::text, concat_ws(' ', pg_get_constraintdef(oid), conislocal, coninhcount, connoinherit,
        obj_description(oid, 'pg_constraint'))
    FROM pg_constraint WHERE conrelid = 'users'::regclass
UNION ALL
SELECT 'index', c.relname::text, concat_ws(' ', pg_get_indexdef(c.oid), i.indisprimary, i.indisclustered,
        i.indisreplident, i.indisvalid, c.relowner::regrole, c.reltablespace, c.reloptions::text,
        obj_description(c.oid, 'pg_class'))
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = 'users'::regclass
UNION ALL
SELECT 'column', attname::text, concat_ws(' ', attnotnull, atthasdef, attidentity)
    FROM pg_attribute WHERE attrelid = 'users'::regclass AND attnum > 0
UNION ALL
SELECT 'table', relreplident::text, reltablespace::text FROM pg_class WHERE oid = 'users'::regclass
ORDER BY 1, 2
"""
INDEXES = "SELECT indexrelid::bigint FROM pg_index WHERE indrelid = 'users'::regclass ORDER BY 1"

EVENT_TRIGGER = """
CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f();
"""
TRIGGER = """
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f();
"""

on_14_and_18 = pytest.mark.parametrize("pg_version", [14, 18], indirect=True)

Open = Callable[..., PostgresTarget]


@pytest.fixture
async def make() -> AsyncIterator[Open]:
    """Make targets on a database, as its superuser or as `user`."""
    made: list[PostgresTarget] = []

    def make_one(database: Database, user: str | None = None) -> PostgresTarget:
        address = make_dsn(database.dsn, **({"user": user} if user else {}))
        made.append(PostgresTarget(PostgresSettings(name="replica", type="postgres", dsn=Secret(address)), SLOT))
        return made[-1]

    yield make_one
    for one in made:
        await one.close()


@pytest.fixture
def plain_role(any_source: Database) -> Iterator[str]:
    """Make a role that may not set session_replication_role, and owns nothing yet."""
    role = f"plain_{any_source.name}"
    any_source.execute(f"CREATE ROLE {role} LOGIN")
    any_source.execute(f"GRANT ALL ON SCHEMA public TO {role}")
    any_source.execute(f"GRANT ALL ON DATABASE {any_source.name} TO {role}")
    yield role
    any_source.execute(f"DROP OWNED BY {role} CASCADE")
    any_source.execute(f"DROP ROLE {role}")


@pytest.fixture
def tablespace(any_source: Database) -> Iterator[str]:
    """Make a tablespace inside the server's own folder."""
    name = f"space_{any_source.name}"
    any_source.execute("SET allow_in_place_tablespaces = on")
    any_source.execute(f"CREATE TABLESPACE {name} LOCATION ''")
    yield name
    any_source.execute(f"ALTER DATABASE {any_source.name} RESET default_tablespace")
    any_source.execute("DROP TABLE users; DROP SCHEMA walsync CASCADE")
    any_source.execute(f"DROP TABLESPACE {name}")


def lines(first: int, rows: int = CHUNK_ROWS) -> bytes:
    return b"".join(b"%d\t%d%s\n" % (number, number, BODY.encode()) for number in range(first, first + rows))


async def many_rows(*last: bytes) -> AsyncIterator[bytes]:
    """Give the rows in an order that is not the key's, and `last` behind them."""
    for chunk in reversed(range(CHUNKS)):
        yield lines(chunk * CHUNK_ROWS)
    for chunk_ in last:
        yield chunk_


async def opened(replica: PostgresTarget) -> PostgresTarget:
    await replica.register(TARGET_ID, writer(), LSN(100))
    await replica.prepare([USERS])
    return replica


async def was_built_after(database: Database, replica: PostgresTarget) -> bool:
    """Copy many rows, hold everything about the table to what it was, and tell whether its indexes are new ones."""
    before, indexes = database.execute(EVERYTHING_ABOUT_THE_TABLE), database.execute(INDEXES)
    assert await replica.copy(USERS, STATE, many_rows()) == ROWS
    assert database.execute("SELECT count(*), count(DISTINCT id), min(id), max(id) FROM users") == [
        (ROWS, ROWS, 0, ROWS - 1)
    ]
    assert database.execute(EVERYTHING_ABOUT_THE_TABLE) == before
    assert await replica.table_states() == {"public.users": STATE}
    after = database.execute(INDEXES)
    assert len(after) == len(indexes)
    return not set(after) & set(indexes)


@on_14_and_18
async def test_the_key_of_a_table_that_walsync_made_is_built_after_many_rows(any_source: Database, make: Open) -> None:
    replica = await opened(make(any_source))
    assert await was_built_after(any_source, replica)
    any_source.execute("SET enable_seqscan = off")
    assert any_source.execute("SELECT name FROM users WHERE id = 7") == [(f"7{BODY}",)]


@on_14_and_18
async def test_few_rows_are_copied_into_the_table_as_it_is(any_source: Database, make: Open) -> None:
    async def few() -> AsyncIterator[bytes]:
        yield lines(0)

    replica = await opened(make(any_source))
    indexes = any_source.execute(INDEXES)
    assert await replica.copy(USERS, STATE, few()) == CHUNK_ROWS
    assert any_source.execute(INDEXES) == indexes
    assert any_source.execute("SELECT count(*) FROM users") == [(CHUNK_ROWS,)]


@on_14_and_18
@pytest.mark.parametrize(
    "made",
    [
        'CREATE TABLE users (id integer, name text, CONSTRAINT "odd ""name%s" PRIMARY KEY (id) INCLUDE (name))',
        'CREATE TABLE users (id integer PRIMARY KEY, name text COLLATE "C" UNIQUE, UNIQUE (name, id))',
        "CREATE UNLOGGED TABLE users (id integer PRIMARY KEY, name text)",
        f"{PLAIN}; ALTER TABLE users REPLICA IDENTITY FULL",
        f"{PLAIN}; {TRIGGER}",
    ],
    ids=["a name and columns beside", "unique keys", "unlogged", "another identity", "a trigger that does not fire"],
)
async def test_a_key_of_the_owner_comes_back_as_it_was(any_source: Database, make: Open, made: str) -> None:
    any_source.execute(made)
    assert await was_built_after(any_source, await opened(make(any_source)))


@on_14_and_18
async def test_a_key_comes_back_into_the_tablespace_that_it_was_in(
    any_source: Database, make: Open, tablespace: str
) -> None:
    any_source.execute(PLAIN)
    any_source.execute(f"ALTER DATABASE {any_source.name} SET default_tablespace = {tablespace}")
    assert await was_built_after(any_source, await opened(make(any_source)))


LEFT_ALONE = {
    "a view that groups by it": f"{PLAIN}; CREATE VIEW v AS SELECT id, name, count(*) FROM users GROUP BY id",
    "a materialised view that groups by it": f"{PLAIN};"
    " CREATE MATERIALIZED VIEW v AS SELECT id, name, count(*) FROM users GROUP BY id",
    "a reference from the table itself": "CREATE TABLE users (id integer PRIMARY KEY, name text,"
    " parent integer REFERENCES users)",
    "a comment on the key": f"{PLAIN}; COMMENT ON CONSTRAINT users_pkey ON users IS 'ours'",
    "a comment on its index": f"{PLAIN}; COMMENT ON INDEX users_pkey IS 'ours'",
    "clustered by it": f"{PLAIN}; ALTER TABLE users CLUSTER ON users_pkey",
    "identity by its index": f"{PLAIN}; ALTER TABLE users REPLICA IDENTITY USING INDEX users_pkey",
    "storage parameters": "CREATE TABLE users (id integer PRIMARY KEY WITH (fillfactor = 70), name text)",
    "an extension that it depends on": f"{PLAIN}; ALTER INDEX users_pkey DEPENDS ON EXTENSION plpgsql",
    "published": f"{PLAIN}; CREATE PUBLICATION p FOR TABLE users",
    "published with all tables": f"{PLAIN}; CREATE PUBLICATION p FOR ALL TABLES",
    "a trigger that fires": f"{PLAIN}; {TRIGGER} ALTER TABLE users ENABLE ALWAYS TRIGGER t",
    "an event trigger that fires": f"{PLAIN}; {EVENT_TRIGGER} ALTER EVENT TRIGGER e ENABLE ALWAYS",
    "inherited": f"{PLAIN}; CREATE TABLE child () INHERITS (users)",
    "inheriting": "CREATE TABLE parent (name text); CREATE TABLE users (id integer PRIMARY KEY) INHERITS (parent)",
    "partitioned": "CREATE TABLE users (id integer PRIMARY KEY, name text) PARTITION BY HASH (id);"
    " CREATE TABLE part PARTITION OF users FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    "a partition": "CREATE TABLE root (id integer PRIMARY KEY, name text) PARTITION BY HASH (id);"
    " CREATE TABLE users PARTITION OF root FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    "not by a constraint": "CREATE TABLE users (id integer NOT NULL, name text); CREATE UNIQUE INDEX ON users (id)",
}


@on_14_and_18
@pytest.mark.parametrize("made", LEFT_ALONE.values(), ids=LEFT_ALONE)
async def test_a_key_that_others_rely_on_is_left_alone(any_source: Database, make: Open, made: str) -> None:
    any_source.execute(made)
    assert not await was_built_after(any_source, await opened(make(any_source)))


@on_14_and_18
async def test_a_key_in_a_tablespace_of_its_own_is_left_alone(
    any_source: Database, make: Open, tablespace: str
) -> None:
    any_source.execute(f"CREATE TABLE users (id integer PRIMARY KEY USING INDEX TABLESPACE {tablespace}, name text)")
    assert not await was_built_after(any_source, await opened(make(any_source)))


@on_14_and_18
async def test_where_temporary_files_are_limited_no_key_is_sorted(any_source: Database, make: Open) -> None:
    any_source.execute(f"ALTER DATABASE {any_source.name} SET temp_file_limit = '1GB'")
    assert not await was_built_after(any_source, await opened(make(any_source)))


@pytest.mark.parametrize("pg_version", [14], indirect=True)
async def test_where_another_plugin_reads_the_changes_of_the_target_no_key_goes(
    any_source: Database, make: Open
) -> None:
    slot = f"theirs_{any_source.name}"
    any_source.execute("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", slot)
    assert not await was_built_after(any_source, await opened(make(any_source)))


@on_14_and_18
async def test_a_role_without_the_replica_role_leaves_what_fires_for_it(
    any_source: Database, make: Open, plain_role: str
) -> None:
    any_source.execute(f"{PLAIN}; ALTER TABLE users OWNER TO {plain_role}")
    replica = await opened(make(any_source, plain_role))
    assert replica.replica_role is False
    assert await was_built_after(any_source, replica)
    any_source.execute(EVENT_TRIGGER)
    assert not await was_built_after(any_source, replica)
    any_source.execute(f"DROP EVENT TRIGGER e; DROP FUNCTION f; {TRIGGER}")
    assert not await was_built_after(any_source, replica)
    any_source.execute("DROP TRIGGER t ON users")
    assert await was_built_after(any_source, replica)


@on_14_and_18
async def test_a_deferred_foreign_key_keeps_the_key_on(any_source: Database, make: Open, plain_role: str) -> None:
    any_source.execute("CREATE TABLE names (name text PRIMARY KEY)")
    any_source.execute("CREATE TABLE users (id integer PRIMARY KEY, name text)")
    any_source.execute("INSERT INTO names SELECT i || %s FROM generate_series(0, %s) AS i", BODY, ROWS)
    any_source.execute(f"ALTER TABLE users OWNER TO {plain_role}; ALTER TABLE names OWNER TO {plain_role}")
    any_source.execute("ALTER TABLE users ADD FOREIGN KEY (name) REFERENCES names DEFERRABLE INITIALLY DEFERRED")
    assert not await was_built_after(any_source, await opened(make(any_source, plain_role)))


@on_14_and_18
async def test_who_may_only_write_the_table_leaves_its_key(any_source: Database, make: Open, plain_role: str) -> None:
    any_source.execute(PLAIN)
    any_source.execute(f"GRANT ALL ON users TO {plain_role}")
    assert not await was_built_after(any_source, await opened(make(any_source, plain_role)))


@on_14_and_18
async def test_who_may_not_make_indexes_in_the_schema_leaves_the_key(
    any_source: Database, make: Open, plain_role: str
) -> None:
    any_source.execute(f"{PLAIN}; ALTER TABLE users OWNER TO {plain_role}")
    replica = await opened(make(any_source, plain_role))
    any_source.execute(f"REVOKE CREATE ON SCHEMA public FROM {plain_role}, public")
    assert not await was_built_after(any_source, replica)


@pytest.mark.parametrize("pg_version", [18], indirect=True)
async def test_a_key_that_could_not_be_made_today_is_left_alone(any_source: Database, make: Open) -> None:
    any_source.execute(PLAIN)
    any_source.execute("ALTER TABLE users ALTER CONSTRAINT users_id_not_null NO INHERIT")
    assert not await was_built_after(any_source, await opened(make(any_source)))


@on_14_and_18
async def test_a_duplicate_among_many_rows_is_refused_in_the_same_words_as_among_few(
    any_source: Database, make: Open
) -> None:
    async def few() -> AsyncIterator[bytes]:
        yield lines(0, 10)
        yield lines(7, 1)

    replica = await opened(make(any_source))
    any_source.execute("INSERT INTO users VALUES (1, 'old')")
    before, indexes = any_source.execute(EVERYTHING_ABOUT_THE_TABLE), any_source.execute(INDEXES)
    with pytest.raises(TargetRefused) as among_few:
        await replica.copy(USERS, STATE, few())
    with pytest.raises(TargetRefused) as among_many:
        await replica.copy(USERS, STATE, many_rows(lines(7, 1)))
    assert among_few.value.code == "WS4311"
    assert "users_pkey" in among_few.value.message
    said = [(one.value.code, one.value.message, one.value.hint) for one in (among_few, among_many)]
    assert said[0] == said[1]
    assert any_source.execute("SELECT name FROM users") == [("old",)]
    assert any_source.execute(EVERYTHING_ABOUT_THE_TABLE) == before
    assert any_source.execute(INDEXES) == indexes
    assert await replica.table_states() == {}


@on_14_and_18
async def test_a_session_that_dies_without_the_key_leaves_the_table_as_it_was(any_source: Database, make: Open) -> None:
    came = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        async for chunk in many_rows():
            yield chunk
        came.set()
        await asyncio.Event().wait()

    replica = await opened(make(any_source))
    any_source.execute("INSERT INTO users VALUES (1, 'old')")
    before, indexes = any_source.execute(EVERYTHING_ABOUT_THE_TABLE), any_source.execute(INDEXES)
    chunks = endless()
    copying = asyncio.create_task(replica.copy(USERS, STATE, chunks))
    await asyncio.wait_for(came.wait(), WAIT_SECONDS)
    held = "SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND mode = 'AccessExclusiveLock'"
    assert any_source.execute(held) == [(1,)]
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    await chunks.aclose()
    assert any_source.execute("SELECT name FROM users") == [("old",)]
    assert any_source.execute(EVERYTHING_ABOUT_THE_TABLE) == before
    assert any_source.execute(INDEXES) == indexes
