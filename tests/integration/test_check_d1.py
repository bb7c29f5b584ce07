"""`walsync check` and the ways to D1: what keeps a gateway or the REST API from working is found."""

import time

import pytest
from fix_check import configuration, problems, the_problem
from fix_http_front import HttpFront
from fix_postgres import Database
from fix_rest_api import RestApi
from fix_workerd import SECRET, Workerd


@pytest.mark.parametrize(
    ("said", "code"), [({"service": "another"}, "WS4508"), ({"version": 2}, "WS4509"), ({"time": 3600}, "WS4511")]
)
async def test_what_answers_and_is_no_gateway_of_this_version_and_time_is_found(
    users: Database, workerd: Workerd, d1_database: str, said: dict[str, object], code: str
) -> None:
    async with HttpFront(workerd.url) as front:
        target = {"name": "weur", "type": "d1", "url": front.url, "database": d1_database, "secret": SECRET}
        health = {"service": "walsync-d1-gateway", "version": 1, "time": int(time.time())} | said
        front.answer(200, health, lambda path, _: path == "/health")
        await the_problem(configuration(users.dsn, target), code)
        assert await problems(configuration(users.dsn, target)) == []


@pytest.mark.parametrize(("changed", "code"), [({"secret": "another"}, "WS4510"), ({"database": "DB_MARS"}, "WS4512")])
async def test_another_secret_and_a_binding_that_is_not_there_are_found(
    users: Database, workerd: Workerd, d1_database: str, changed: dict[str, object], code: str
) -> None:
    target = {"name": "weur", "type": "d1", "url": workerd.url, "database": d1_database, "secret": SECRET}
    await the_problem(configuration(users.dsn, target | changed), code)


@pytest.mark.parametrize(
    ("changed", "code"), [({"api_token": "of somebody else"}, "WS4513"), ({"database_id": "id-mars"}, "WS4514")]
)
async def test_a_token_without_the_right_and_a_database_that_is_not_there_are_found(
    users: Database, workerd: Workerd, d1_database: str, changed: dict[str, object], code: str
) -> None:
    async with RestApi(workerd) as api:
        await the_problem(configuration(users.dsn, api.target(d1_database) | changed), code)
        assert await problems(configuration(users.dsn, api.target(d1_database))) == []


async def test_a_token_that_has_used_up_its_requests_is_found(
    users: Database, workerd: Workerd, d1_database: str
) -> None:
    async with RestApi(workerd, allowed=0) as api:
        await the_problem(configuration(users.dsn, api.target(d1_database)), "WS4515")


async def test_a_table_without_a_key_is_found_where_rest_is_the_way(
    users: Database, workerd: Workerd, d1_database: str
) -> None:
    users.execute("CREATE TABLE log (note text); ALTER TABLE log REPLICA IDENTITY FULL")
    async with RestApi(workerd) as api:
        await the_problem(configuration(users.dsn, api.target(d1_database), tables=["public.*"]), "WS4516")
