from collections.abc import Callable

import psycopg2
import psycopg2.extras
import pytest
from fix_postgres import Database, Server
from fix_replication import Replication, locked, slot_row

from walsync.demo.engines import PostgresServer
from walsync.errors import SourceRefused
from walsync.source import slot as slots
from walsync.source.session import open_replication, open_session


@pytest.fixture
def replication(source: Database, target: Database) -> Replication:
    source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    return Replication(source, {"replica": target}, ["public.t"])


async def code_of(replication: Replication) -> str:
    with pytest.raises(SourceRefused) as caught:
        await replication.catch_up()
    assert caught.value.hint
    return caught.value.code


async def test_a_physical_slot_is_refused(replication: Replication) -> None:
    source, slot = replication.source, replication.slot
    source.execute("SELECT pg_create_physical_replication_slot(%s)", slot)
    try:
        assert await code_of(replication) == "WS2401"
    finally:
        source.execute("SELECT pg_drop_replication_slot(%s)", slot)


async def test_a_slot_of_another_database_is_refused(
    replication: Replication, new_database: Callable[[Server], Database]
) -> None:
    other = new_database(replication.source.server)
    other.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", replication.slot)
    assert await code_of(replication) == "WS2401"


def test_a_slot_that_is_read_is_not_dropped_and_names_its_reader(replication: Replication) -> None:
    source, slot = replication.source, replication.slot
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", slot)
    reader = psycopg2.connect(source.dsn, connection_factory=psycopg2.extras.LogicalReplicationConnection)
    with reader.cursor() as cursor:
        cursor.start_replication(slot, options={"proto_version": "1", "publication_names": "walsync"})
        session = open_session(source.dsn, "test")
        with pytest.raises(SourceRefused, match=str(reader.get_backend_pid())) as caught:
            slots.drop(session, slot)
        assert caught.value.code == "WS2403"
        session.close()
    reader.close()


def test_a_server_without_a_free_slot_says_so(
    start_server: Callable[..., PostgresServer], new_database: Callable[[Server], Database]
) -> None:
    source = new_database(start_server(max_replication_slots="1"))
    source.execute("SELECT pg_create_logical_replication_slot('taken', 'pgoutput')")
    replication = open_replication(source.dsn, "test")
    with pytest.raises(SourceRefused) as caught:
        slots.create(replication, "walsync")
    assert caught.value.code == "WS2404"
    assert "max_replication_slots" in caught.value.hint
    replication.close()


@pytest.mark.parametrize("version", [14, 18])
async def test_a_slot_that_lost_its_wal_is_told_from_a_source_that_is_away(
    start_server: Callable[..., PostgresServer],
    new_database: Callable[[Server], Database],
    target: Database,
    version: int,
) -> None:
    source = new_database(start_server(version, max_slot_wal_keep_size="1MB"))
    source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    replication = Replication(source, {"replica": target}, ["public.t"])
    with pytest.raises(SourceRefused) as caught:  # noqa: PT012 - the pipeline raises it where its block ends
        async with replication.running() as running:
            await running.until_streaming()
            with locked(target, "t"):
                source.execute("INSERT INTO t VALUES (1)")

                def is_lost() -> bool:
                    source.execute("SELECT pg_switch_wal()")
                    source.execute("CREATE TABLE filler AS SELECT generate_series(1, 10000); DROP TABLE filler")
                    source.execute("CHECKPOINT")
                    return bool(slot_row(replication, "wal_status") == "lost")

                await running.until(is_lost, "the slot to be lost")
                await running.until(running.task.done, "the end")
    assert caught.value.code == "WS2402"
    assert "walsync drop" in caught.value.hint
    assert await code_of(replication) == "WS2402"
