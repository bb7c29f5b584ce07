"""`walsync check` and failover: whether the slot would be there, as far as the addresses in `source.dsn` let it see."""

from collections.abc import Callable

import pytest
from fix_check import configuration, problems, the_problem
from fix_postgres import Database, Server
from fix_replication import Replication
from fix_standby import SLOT, Standby, mark_failover
from psycopg2.extensions import make_dsn

from walsync.check.finding import Severity
from walsync.config import Config
from walsync.demo.engines import PostgresServer

TABLES = ("public.users",)


@pytest.fixture
def standby(start_server: Callable[..., PostgresServer], start_standby: Callable[[PostgresServer], Standby]) -> Standby:
    return start_standby(start_server())


@pytest.fixture
def source(standby: Standby, new_database: Callable[[Server], Database]) -> Database:
    """A database on the primary, with a table."""
    database = new_database(standby.primary)
    database.execute("CREATE TABLE public.users (id int PRIMARY KEY, name text)")
    return database


@pytest.fixture
async def config(source: Database, target: Database, standby: Standby) -> Config:
    """A replication that has run, by an address that names both; it stands as the standby has copied it."""
    standby.set(standby.primary, synchronized_standby_slots=SLOT)
    found = configuration(standby.addresses(source), target.dsn, tables=TABLES, slot=source.name)
    replication = Replication(source, {"replica": target}, TABLES, {"batch": {"idle_checkpoint_seconds": 0.2}})
    async with replication.running() as running:
        await running.until_streaming()
        await standby.until_synchronised(source.name)
    return found


async def test_nothing_is_wrong_where_the_standby_has_the_slot(config: Config) -> None:
    assert await problems(config) == []


async def test_a_standby_that_does_not_copy_the_slot_is_found(config: Config, standby: Standby) -> None:
    standby.set(standby.server, sync_replication_slots="off")
    found = await the_problem(config, "WS2912")
    assert found.severity is Severity.WARNING
    assert f"{standby.server.host}:{standby.server.port}" in found.message
    assert "sync_replication_slots" in found.hint


async def test_a_standby_that_lacks_the_slot_is_found(config: Config, standby: Standby) -> None:
    mark_failover(standby.primary, config.source.slot, failover=False)
    await standby.until_gone(config.source.slot)
    assert "without a copy" in (await the_problem(config, "WS2912")).message


async def test_a_standby_that_does_not_answer_is_found(config: Config, standby: Standby) -> None:
    standby.server.stop()
    assert "could not be looked at" in (await the_problem(config, "WS2912")).message


async def test_a_primary_that_does_not_wait_for_its_standby_is_found(config: Config, standby: Standby) -> None:
    standby.set(standby.primary, synchronized_standby_slots="")
    assert "synchronized_standby_slots" in (await the_problem(config, "WS2913")).hint


async def test_an_address_of_several_servers_that_may_lead_to_any_is_found(config: Config, source: Database) -> None:
    dsn = make_dsn(config.source.dsn.get_secret_value(), target_session_attrs="any")
    assert "read-write" in (await the_problem(_with_dsn(config, dsn), "WS2914")).hint
    assert await problems(_with_dsn(config, source.dsn)) == []


def _with_dsn(config: Config, dsn: str) -> Config:
    content = configuration(dsn, "postgresql://unused", tables=TABLES, slot=config.source.slot)
    return content.model_copy(update={"targets": config.targets})
