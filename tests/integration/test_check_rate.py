"""`walsync check` and the requests that D1 targets over REST share: what each is told, and when they do not suffice."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import orjson
import pytest
import yaml
from fix_check import configuration, problems
from fix_postgres import Database
from fix_rest_api import ACCOUNT, TOKEN, RestApi
from fix_walsync import Walsync
from fix_workerd import DATABASES, Workerd

from walsync.backlog.settings import BatchSettings
from walsync.check.finding import Severity
from walsync.check.reasons import REASONS


@pytest.fixture
async def api(workerd: Workerd) -> AsyncIterator[RestApi]:
    async with RestApi(workerd, is_atomic=False) as running:
        for name in DATABASES:
            workerd.plain(name).clear()
        yield running


def regions(api: RestApi, names: Sequence[str] = DATABASES) -> list[dict[str, Any]]:
    return [
        {
            "name": name.removeprefix("DB_").lower(),
            "type": "d1",
            "account_id": ACCOUNT,
            "database_id": name.replace("DB_", "id-").lower(),
            "api_token": TOKEN,
            "api_url": api.url,
        }
        for name in names
    ]


async def test_each_target_over_rest_is_told_how_often_it_is_written(
    users: Database, api: RestApi, walsync_command: Callable[..., Walsync]
) -> None:
    targets = regions(api)
    content = {
        "source": {"dsn": users.dsn, "tables": ["public.users"]},
        "targets": [{**one, "api_token": "${CF_TOKEN}"} for one in targets],
        "http": {"listen": ""},
    }
    command = walsync_command(yaml.safe_dump(content), CF_TOKEN=TOKEN)
    remark = "is written every 2.0 s at most: 6 share its api_token"
    names = [one["name"] for one in targets]

    assert await asyncio.to_thread(command.run, "check", "--json") == 0, command.output
    findings = orjson.loads(command.stdout.read_bytes())["findings"]
    assert [one["where"] for one in findings if one["message"] == remark and one["severity"] == "ok"] == [
        f"target {name}" for name in names
    ]

    assert await asyncio.to_thread(command.run, "check") == 0, command.output
    lines = command.stdout.read_text().splitlines()
    assert [line for line in lines if line.endswith(remark)] == [f"ok target {name}: {remark}" for name in names]
    assert TOKEN not in command.output


async def test_targets_that_their_token_cannot_serve_as_often_as_is_asked_are_a_warning(
    users: Database, api: RestApi
) -> None:
    batch = BatchSettings(idle_checkpoint_seconds=1)
    three, four = (
        configuration(users.dsn, *regions(api, DATABASES[:number])).model_copy(update={"batch": batch})
        for number in (3, 4)
    )

    assert await problems(three) == []

    found = await problems(four)
    assert [(one.severity, one.code, one.where) for one in found] == [
        (Severity.WARNING, "WS4906", f"target {name}") for name in ("wnam", "enam", "weur", "eeur")
    ]
    for one in found:
        assert "4 targets share its api_token" in one.message
        assert "every 1.3 s at most: less often than batch.idle_checkpoint_seconds asks, 1 s" in one.message
        assert one.why == REASONS["WS4906"]
