"""`walsync check` and positions: what the gap guard would refuse is found before `run` meets it."""

import pytest
from fix_check import configuration, problems, the_problem
from fix_postgres import Database
from fix_replication import SECONDS
from fix_walsync import eventually_async

from walsync.config import Config
from walsync.service import run


def is_idle(database: Database, slot: str) -> bool:
    return database.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", slot) == [(False,)]


@pytest.fixture
async def stopped(users: Database, target: Database) -> Config:
    """Return the configuration of an instance that has copied everything and has ended."""
    config = configuration(users.dsn, target.dsn)
    assert await run(config, until_caught_up=True, timeout=30) == 0
    await eventually_async(lambda: is_idle(users, config.source.slot), SECONDS, "the slot to be free")
    return config


async def test_a_registered_target_that_is_not_configured_is_found(stopped: Config) -> None:
    renamed = stopped.targets[0].model_copy(update={"name": "other"})
    found = await the_problem(stopped.model_copy(update={"targets": (renamed,)}), "WS5008")
    assert "walsync drop --target replica" in found.hint


async def test_a_slot_that_is_gone_is_found(stopped: Config, users: Database) -> None:
    users.execute("SELECT pg_drop_replication_slot(%s)", stopped.source.slot)
    found = await the_problem(stopped, "WS5009")
    assert "walsync drop" in found.hint


async def test_a_target_that_was_wiped_is_found(stopped: Config, target: Database) -> None:
    target.execute("DROP SCHEMA walsync CASCADE")
    found = await the_problem(stopped, "WS5003")
    assert found.where == "target replica"
    assert "walsync drop --target replica" in found.hint


async def test_a_slot_that_was_advanced_by_hand_is_found(stopped: Config, users: Database) -> None:
    users.execute("INSERT INTO public.users VALUES (7, 'lost')")
    users.execute("SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", stopped.source.slot)
    found = await the_problem(stopped, "WS5001")
    assert "walsync drop --target replica" in found.hint


async def test_a_target_that_the_registry_has_forgotten_is_found(stopped: Config, users: Database) -> None:
    users.execute("DELETE FROM walsync.target")
    await the_problem(stopped, "WS5004")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("target_id = gen_random_uuid()", "WS5002"),
        ("system_identifier = '1'", "WS5005"),
        ("timeline = 99", "WS5006"),
        ("lsn = 'FFFF/0'", "WS5007"),
    ],
)
async def test_a_target_with_somebody_else_s_checkpoint_is_found(
    stopped: Config, target: Database, change: str, code: str
) -> None:
    target.execute(f"UPDATE walsync.checkpoint SET {change}")
    found = await the_problem(stopped, code)
    assert found.where == "target replica"


async def test_nothing_is_wrong_while_walsync_runs(stopped: Config, users: Database) -> None:
    assert await problems(stopped) == []
    assert users.execute("SELECT count(*) FROM walsync.target") == [(1,)]
