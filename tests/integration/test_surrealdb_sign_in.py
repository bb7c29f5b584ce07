"""A SurrealDB target signs in to a server: at every level, again when that ends, and who may not write is found out."""

import asyncio
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from conformance.bench import START
from conformance.bench_surrealdb_server import ServerBench, target_of
from conformance.stream import TARGET_ID, Source, batch, writer
from fix_surrealdb_bench import USERS, opened

from walsync.errors import TargetRefused
from walsync.lsn import LSN
from walsync.settings import Secret
from walsync.target.surrealdb.engine import RequestFailed, encode
from walsync.target.surrealdb.failures import is_expiry
from walsync.target.surrealdb.target import SurrealDBTarget
from walsync.target.surrealdb.wire import Wire

SOURCE = Source([USERS])
SECRET = "s3cret`$pass"
SECONDS = 30.0


def wire_of(target: SurrealDBTarget) -> Wire:
    wire = target._client._engine
    assert isinstance(wire, Wire)
    return wire


def user_in(surreal: ServerBench, role: str = "EDITOR", durations: str = "") -> dict[str, Any]:
    """Define a user in the database; return the settings that sign in as it."""
    surreal.execute(f'DEFINE USER OVERWRITE someone ON DATABASE PASSWORD "{SECRET}" ROLES {role} {durations}')
    return {"username": "someone", "password": Secret(SECRET), "level": "database"}


def root_user(surreal: ServerBench) -> dict[str, Any]:
    del surreal
    return {}


def namespace_user(surreal: ServerBench) -> dict[str, Any]:
    surreal.execute(f'DEFINE USER OVERWRITE someone ON NAMESPACE PASSWORD "{SECRET}" ROLES EDITOR')
    return {"username": "someone", "password": Secret(SECRET), "level": "namespace"}


def record_access(surreal: ServerBench, permissions: str = "FULL") -> dict[str, Any]:
    """Make a record access and what it needs beforehand."""
    tables = f"DEFINE TABLE `public.users` PERMISSIONS {permissions};"
    tables += "".join(f"DEFINE TABLE {name} PERMISSIONS FULL;" for name in ("_walsync", "_walsync_stage"))
    surreal.execute(
        f"""{tables} DEFINE TABLE app; CREATE app:walsync SET pass = $pass;
        DEFINE ACCESS app ON DATABASE TYPE RECORD SIGNIN (SELECT * FROM type::table('app') WHERE pass = $pass)""",
        **{"pass": SECRET},
    )
    return {"username": "", "password": Secret(""), "access": "app", "credentials": {"pass": SECRET}}


@pytest.mark.parametrize("who", [root_user, namespace_user, user_in, record_access])
async def test_rows_are_written_by_users_of_every_level(
    surreal: ServerBench, who: Callable[[ServerBench], dict[str, Any]]
) -> None:
    async with target_of(surreal.settings(**who(surreal))) as target:
        assert await target.compare([USERS]) == []
        await opened(target)
        await target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a")))
        assert surreal.rows(USERS) == [("1", "a")]
        await target.forget()
        assert await target.read_checkpoint() is None


async def test_a_new_database_is_made_when_it_is_written_to_and_not_when_it_is_looked_at(surreal: ServerBench) -> None:
    async with target_of(surreal.settings(namespace="n`ew", database=surreal.database)) as target:
        assert await target.read_checkpoint() is None
        assert await target.table_states() == {}
        assert await target.compare([USERS]) == []
        assert "n`ew" not in namespaces(surreal)
        await opened(target)
        assert "n`ew" in namespaces(surreal)
        surreal.execute("REMOVE NAMESPACE `n\\`ew`")


def namespaces(surreal: ServerBench) -> set[str]:
    (found,) = surreal.execute("INFO FOR ROOT STRUCTURE")
    return {one["name"] for one in found["namespaces"]}


async def test_a_session_that_will_expire_is_renewed_before(surreal: ServerBench) -> None:
    who = user_in(surreal, durations="DURATION FOR TOKEN 2s, FOR SESSION 2s")
    async with target_of(surreal.settings(**who)) as target:
        await opened(target)
        wire = wire_of(target)
        expired_at = time.time() + 4
        position = START
        while time.time() < expired_at:
            await target.write(batch(position, position + 10, SOURCE.insert(USERS, str(position), "a")))
            position += 10
        assert wire_of(target) is wire
        assert len(surreal.rows(USERS)) == (position - START) / 10


async def test_a_session_that_has_expired_is_renewed_and_the_request_sent_again(surreal: ServerBench) -> None:
    who = user_in(surreal, durations="DURATION FOR TOKEN 1s, FOR SESSION 1s")
    async with target_of(surreal.settings(**who)) as target:
        await opened(target)
        wire = wire_of(target)
        wire._renew_at = None  # as if the server had changed its mind
        await asyncio.wait_for(until_expired(wire), SECONDS)
        await target.write(batch(START, 200, SOURCE.insert(USERS, "1", "a")))
        assert wire_of(target) is wire
        assert surreal.rows(USERS) == [("1", "a")]


async def until_expired(wire: Wire) -> None:
    while True:
        try:
            await wire._send(encode("RETURN 1", {}))
        except RequestFailed as failed:
            if is_expiry(str(failed)):
                return
            raise


@pytest.mark.parametrize("wrong", [{"password": "wr0ng`pass"}, {"level": "root"}, {"username": "wr0ng`pass"}])
async def test_a_refused_sign_in_stops_the_target_and_tells_no_secret(
    surreal: ServerBench, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    who = user_in(surreal)
    async with target_of(surreal.settings(**{**who, **wrong})) as target:
        with pytest.raises(TargetRefused) as refused:
            await target.read_checkpoint()
    assert refused.value.code == "WS4609"
    everything = "".join(traceback.format_exception(refused.value)) + caplog.text
    assert SECRET not in everything
    assert "wr0ng" not in everything


async def test_a_password_changed_meanwhile_stops_the_target_when_it_signs_in_again(surreal: ServerBench) -> None:
    who = user_in(surreal, durations="DURATION FOR TOKEN 1s, FOR SESSION 1s")
    async with target_of(surreal.settings(**who)) as target:
        await opened(target)
        surreal.execute("DEFINE USER OVERWRITE someone ON DATABASE PASSWORD 'other' ROLES EDITOR")
        wire_of(target)._renew_at = 0.0
        with pytest.raises(TargetRefused) as refused:
            await target.write(batch(START, 200))
    assert refused.value.code == "WS4609"


async def test_a_user_who_may_only_read_is_found_out_before_and_at_the_start(surreal: ServerBench) -> None:
    async with target_of(surreal.settings()) as owner:
        await opened(owner)
    async with target_of(surreal.settings(**user_in(surreal, role="VIEWER"))) as target:
        (finding,) = await target.compare([USERS])
        assert (finding.code, bool(finding.hint)) == ("WS4202", True)
        assert await target.read_checkpoint() is not None
        with pytest.raises(TargetRefused) as refused:  # the engine says nothing at all here
            await target.claim(writer(epoch=11))
        assert refused.value.code == "WS4202"
    async with target_of(surreal.settings("other", **user_in(surreal, role="VIEWER"))) as target:
        with pytest.raises(TargetRefused) as refused:
            await target.register(TARGET_ID, writer(), LSN(START))
        assert refused.value.code == "WS4202"


@pytest.mark.parametrize("permissions", ["NONE", "FOR select FULL", "FOR select, create, update FULL"])
async def test_a_record_access_that_may_not_write_a_table_is_found_out_at_the_start(
    surreal: ServerBench, permissions: str
) -> None:
    async with target_of(surreal.settings(**record_access(surreal, permissions))) as target:
        assert [(one.code, one.table) for one in await target.compare([USERS])] == [("WS4202", "public.users")]
        with pytest.raises(TargetRefused) as refused:
            await opened(target)
        assert refused.value.code == "WS4202"


async def test_a_namespace_that_is_missing_and_may_not_be_made_is_named(surreal: ServerBench) -> None:
    surreal.execute(f'DEFINE USER OVERWRITE viewer ON ROOT PASSWORD "{SECRET}" ROLES VIEWER')
    who = {"username": "viewer", "password": Secret(SECRET)}
    surreal.execute("DEFINE NAMESPACE IF NOT EXISTS app")
    for keys in ({"namespace": "absent"}, {"database": "absent"}):
        async with target_of(surreal.settings(**who, **keys)) as target:
            with pytest.raises(TargetRefused, match="absent") as refused:
                await target.read_checkpoint()
            assert refused.value.code == "WS4613"
            with pytest.raises(TargetRefused) as refused:
                await target.register(TARGET_ID, writer(), LSN(START))
            assert refused.value.code == "WS4613"
