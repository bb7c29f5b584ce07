"""Somebody changes the publication under a running walsync: what was not published for a while is copied again."""

import pytest
from fix_postgres import Database
from fix_replication import Replication

from walsync.lsn import LSN, ZERO

ROWS = ("SELECT * FROM t ORDER BY id", "SELECT * FROM u ORDER BY id")


@pytest.fixture
def replication(any_source: Database, target: Database) -> Replication:
    any_source.execute("CREATE TABLE t (id int PRIMARY KEY, name text); CREATE TABLE u (id int PRIMARY KEY)")
    any_source.execute("INSERT INTO t VALUES (1, 'before'); INSERT INTO u VALUES (1)")
    return Replication(any_source, {"replica": target}, ["public.t", "public.u"])


def copied(target: Database) -> LSN:
    """Tell as of when the table was copied last; its rows may be locked, and the test must not wait for the copy."""
    rows = target.execute("SELECT synced_lsn::text FROM walsync.table_state WHERE table_name = 't'")
    return LSN.parse(rows[0][0]) if rows else ZERO


async def test_a_publication_of_somebody_else_is_left_to_them_and_the_rest_goes_on(
    source: Database, target: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)")
    source.execute("CREATE PUBLICATION walsync FOR TABLE t, u")
    replication = Replication(source, {"replica": target}, ["public.t", "public.u"])
    async with replication.running() as running:
        await running.until_streaming()
        source.execute("ALTER PUBLICATION walsync DROP TABLE t")
        await running.until(lambda: "publication_refused" in capsys.readouterr().out, "word of it")
        source.execute("INSERT INTO u VALUES (1)")
        await running.caught_up()
        replication.assert_equal("SELECT * FROM u")
        before = copied(target)
        source.execute("INSERT INTO t VALUES (1); ALTER PUBLICATION walsync ADD TABLE t")
        await running.until(lambda: copied(target) > before, "the table to be copied again")
        await running.caught_up()
    replication.assert_equal(*ROWS)


@pytest.mark.parametrize("pg_version", [pytest.param(14, marks=pytest.mark.long), 18], indirect=True)
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER PUBLICATION walsync DROP TABLE t",
        "ALTER PUBLICATION walsync DROP TABLE t; ALTER PUBLICATION walsync ADD TABLE t",
        "ALTER PUBLICATION walsync SET (publish = 'insert')",
        "DROP PUBLICATION walsync",
    ],
)
async def test_what_is_not_published_for_a_while_is_copied_again(replication: Replication, statement: str) -> None:
    source, target = replication.source, replication.targets["replica"]
    async with replication.running() as running:
        await running.until_streaming()
        before = copied(target)
        first, *rest = statement.split("; ")
        source.execute(first)
        source.execute("UPDATE t SET name = 'not published' WHERE id = 1")
        for each in rest:
            source.execute(each)
        source.execute("INSERT INTO u VALUES (2)")
        await running.until(lambda: copied(target) > before, "the table to be copied again")
        source.execute("UPDATE t SET name = 'after' WHERE id = 1; INSERT INTO u VALUES (3)")
        await running.caught_up()
    replication.assert_equal(*ROWS)
