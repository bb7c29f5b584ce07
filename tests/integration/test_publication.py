import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import psycopg2
import pytest
from fix_postgres import Connection, Database, Rows, Server
from fix_replication import SECONDS, uncommitted
from fix_walsync import eventually_async

from walsync.errors import SourceRefused
from walsync.published import publish
from walsync.settings import Secret
from walsync.source import catalogue, publication
from walsync.source.session import open_session
from walsync.source.settings import SourceSettings, TableSettings

NAME = "walsync"


@pytest.fixture
def session(source: Database) -> Iterator[Connection]:
    source.execute(
        """
        CREATE TABLE one (id int PRIMARY KEY, name text, secret text);
        CREATE TABLE two (id int PRIMARY KEY);
        CREATE SCHEMA app;
        CREATE TABLE app.three (id int PRIMARY KEY);
        """
    )
    session = open_session(source.dsn, "test")
    yield session
    session.close()


def keep(session: Connection, *tables: str | TableSettings) -> bool:
    settings = [table if isinstance(table, TableSettings) else TableSettings(table=table) for table in tables]
    return publication.keep(session, NAME, catalogue.load(session, settings).tables)


def published(source: Database) -> Rows:
    return source.execute(
        "SELECT schemaname || '.' || tablename, attnames::text[], rowfilter FROM pg_publication_tables"
        " WHERE pubname = %s ORDER BY 1",
        NAME,
    )


def names(source: Database) -> list[str]:
    return [name for name, _, _ in published(source)]


def oid(source: Database) -> Rows:
    return source.execute("SELECT oid FROM pg_publication WHERE pubname = %s", NAME)


def memberships(session: Connection) -> dict[int, str]:
    found = publication.find(session, NAME)
    assert found is not None
    return found.memberships


def refusal(session: Connection, *tables: str) -> SourceRefused:
    with pytest.raises(SourceRefused) as caught:
        keep(session, *tables)
    return caught.value


def test_it_is_made_once_and_then_left_alone(session: Connection, source: Database) -> None:
    assert keep(session, "public.one", "public.two")
    assert names(source) == ["public.one", "public.two"]
    assert not keep(session, "public.two", "public.one")


async def test_of_two_that_make_it_at_the_same_moment_the_second_finds_it(source: Database) -> None:
    source.execute("CREATE TABLE one (id int PRIMARY KEY)")
    settings = SourceSettings(dsn=Secret(source.dsn), slot=source.name, tables=(TableSettings(table="public.one"),))
    with ExitStack() as stack:
        sessions = [stack.enter_context(closing(open_session(source.dsn, "test"))) for _ in range(2)]
        with uncommitted(source, "LOCK TABLE one IN SHARE UPDATE EXCLUSIVE MODE"):
            making = [asyncio.create_task(asyncio.to_thread(publish, each, settings, ())) for each in sessions]
            waiting = "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = %s"
            both = lambda: len(source.execute(waiting, source.name)) == len(making)  # noqa: E731
            await eventually_async(both, SECONDS, "both to wait for the table, or for each other")
        first, second = await asyncio.gather(*making)
    assert first.publication == second.publication
    assert names(source) == ["public.one"]


def test_a_schema_stands_for_all_its_tables(session: Connection, source: Database) -> None:
    keep(session, "public.*", "app.*")
    assert names(source) == ["app.three", "public.one", "public.two"]
    source.execute("CREATE TABLE app.four (id int PRIMARY KEY)")
    assert keep(session, "public.*", "app.*")
    assert names(source) == ["app.four", "app.three", "public.one", "public.two"]


def test_it_is_altered_and_never_made_again(session: Connection, source: Database) -> None:
    keep(session, "public.one")
    made = oid(source)
    assert keep(session, "public.one", "public.two")
    assert keep(session, "public.two")
    assert names(source) == ["public.two"]
    assert oid(source) == made


def test_columns_and_filters_are_kept_equal(session: Connection, source: Database) -> None:
    part = TableSettings(table="public.one", columns=("id", "name"), where="id > 0")
    keep(session, part)
    assert published(source) == [("public.one", ["id", "name"], "(id > 0)")]
    assert not keep(session, part)
    assert keep(session, TableSettings(table="public.one", columns=("id",), where="id > 0"))
    assert keep(session, TableSettings(table="public.one", columns=("id",), where="id > 1"))
    assert published(source) == [("public.one", ["id"], "(id > 1)")]
    assert keep(session, "public.one")
    assert published(source) == [("public.one", ["id", "name", "secret"], None)]


def test_a_table_that_stays_keeps_its_membership(session: Connection, source: Database) -> None:
    keep(session, "public.one")
    before = memberships(session)
    keep(session, "public.one", "public.two")
    assert before.items() <= memberships(session).items()
    source.execute("ALTER PUBLICATION walsync DROP TABLE one")
    assert keep(session, "public.one", "public.two")
    assert before.keys() <= memberships(session).keys()
    assert not before.items() & memberships(session).items()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER PUBLICATION walsync SET (publish = 'insert')",
        "ALTER PUBLICATION walsync SET (publish_via_partition_root = false)",
        "ALTER PUBLICATION walsync SET (publish_generated_columns = stored)",
    ],
)
def test_what_a_narrower_publication_let_pass_makes_every_membership_new(
    session: Connection, source: Database, statement: str
) -> None:
    keep(session, "public.one")
    before = memberships(session)
    source.execute(statement)
    assert keep(session, "public.one")
    assert not keep(session, "public.one")
    assert before != memberships(session)


@pytest.mark.parametrize(
    ("statement", "has_narrowed"),
    [
        ("ALTER PUBLICATION walsync ADD TABLE app.three", False),
        ("ALTER PUBLICATION walsync OWNER TO CURRENT_USER", False),
        ("COMMENT ON PUBLICATION walsync IS 'theirs now'", False),
        ("ALTER PUBLICATION walsync DROP TABLE two", True),
        ("ALTER PUBLICATION walsync SET TABLE one (id, name), two", True),
        ("ALTER PUBLICATION walsync SET TABLE one WHERE (id > 1), two", True),
        ("ALTER PUBLICATION walsync SET (publish = 'insert')", True),
        ("DROP PUBLICATION walsync", True),
    ],
)
def test_what_may_leave_changes_out_is_told_from_what_does_not(
    session: Connection, source: Database, statement: str, *, has_narrowed: bool
) -> None:
    keep(session, "public.one", "public.two")
    before = publication.find(session, NAME)
    assert before is not None
    source.execute(statement)
    assert publication.has_narrowed(before, publication.find(session, NAME)) is has_narrowed


def test_a_publication_of_somebody_else_has_not_narrowed_by_itself(session: Connection, source: Database) -> None:
    source.execute("CREATE PUBLICATION walsync FOR TABLE one, two")
    assert not keep(session, "public.one", "public.two")
    found = publication.find(session, NAME)
    assert found is not None
    assert not publication.has_narrowed(found, found)


def test_tables_that_inherit_from_a_table_are_not_published_with_it(session: Connection, source: Database) -> None:
    source.execute("CREATE TABLE child () INHERITS (two)")
    keep(session, "public.two")
    assert names(source) == ["public.two"]
    source.execute("INSERT INTO child VALUES (1); UPDATE child SET id = 2")  # it has no key: published, this would fail


def test_partitions_are_published_under_their_root(session: Connection, source: Database) -> None:
    source.execute("CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    source.execute("CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10)")
    keep(session, "public.*")
    assert names(source) == ["public.one", "public.root", "public.two"]


def test_names_are_quoted(session: Connection, source: Database) -> None:
    source.execute('CREATE TABLE app."Odd "".name" ("A b" int PRIMARY KEY)')
    keep(session, "app.*")
    assert names(source) == ['app.Odd ".name', "app.three"]
    assert not keep(session, "app.*")


def test_a_publication_of_somebody_else_is_used_when_it_is_equal(session: Connection, source: Database) -> None:
    source.execute("CREATE PUBLICATION walsync FOR TABLE one, two")
    assert not keep(session, "public.one", "public.two")
    assert not publication.drop(session, NAME)
    assert names(source) == ["public.one", "public.two"]


@pytest.mark.parametrize(
    "definition",
    [
        "FOR TABLE one, two",
        "FOR TABLE two",
        "FOR TABLE one (id)",
        "FOR TABLE one WHERE (id > 0)",
        "FOR TABLE one WITH (publish = 'insert, update')",
        "FOR TABLE one WITH (publish_generated_columns = stored)",
        "FOR ALL TABLES",
    ],
)
def test_a_publication_of_somebody_else_is_refused_when_it_differs(
    session: Connection, source: Database, definition: str
) -> None:
    source.execute(f"CREATE PUBLICATION walsync {definition}")
    before = published(source)
    refused = refusal(session, "public.one")
    assert refused.code == "WS2301"
    assert "source.publication" in refused.hint
    assert published(source) == before


def test_a_role_that_does_not_own_it_is_told_what_the_owner_has_to_run(
    session: Connection, source: Database, role_on_source: Callable[[str], str]
) -> None:
    keep(session, "public.one")
    other = open_session(role_on_source("REPLICATION"), "test")
    try:
        assert not keep(other, "public.one")
        refused = refusal(other, "public.one", "public.two")
    finally:
        other.close()
    assert refused.code == "WS2302"
    statement = refused.hint.partition("run: ")[2]
    assert statement.startswith("ALTER PUBLICATION")
    source.execute(statement)
    assert names(source) == ["public.one", "public.two"]


def test_a_role_without_rights_is_told_what_to_run(
    session: Connection, source: Database, role_on_source: Callable[[str], str]
) -> None:
    other = open_session(role_on_source("REPLICATION"), "test")
    try:
        refused = refusal(other, "public.one")
        assert not other.info.transaction_status, "its transaction is rolled back"
    finally:
        other.close()
    assert refused.code == "WS2302"
    source.execute(refused.hint.partition("run: ")[2])
    assert names(source) == ["public.one"]
    del session


def test_only_a_publication_of_ours_is_dropped(session: Connection, source: Database) -> None:
    keep(session, "public.one")
    assert publication.drop(session, NAME)
    assert not publication.drop(session, NAME)
    assert not oid(source)


def test_a_publication_on_14_knows_no_filters_and_is_kept_all_the_same(
    postgres_servers: Callable[[int], Server], new_database: Callable[[Server], Database]
) -> None:
    old = new_database(postgres_servers(14))
    old.execute("CREATE TABLE one (id int PRIMARY KEY); CREATE TABLE two (id int PRIMARY KEY)")
    session = open_session(old.dsn, "test")
    try:
        assert keep(session, "public.one")
        before = memberships(session)
        assert keep(session, "public.*")
        assert not keep(session, "public.*")
        assert before.items() <= memberships(session).items()
        old.execute("ALTER PUBLICATION walsync SET (publish = 'insert')")
        assert keep(session, "public.*")
        assert not before.items() & memberships(session).items()
    finally:
        session.close()


def test_the_schema_s_own_errors_are_the_source_s(session: Connection, source: Database) -> None:
    table = catalogue.load(session, [TableSettings(table="public.one")]).tables
    source.execute("DROP TABLE one")
    with pytest.raises(SourceRefused, match="does not exist") as caught:
        publication.keep(session, NAME, table)
    assert caught.value.code == "WS2003"
    assert isinstance(caught.value.__cause__, psycopg2.errors.UndefinedTable)
