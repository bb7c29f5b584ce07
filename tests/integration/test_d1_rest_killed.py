"""The walsync command with a D1 database over REST as its target: killed, and its requests cut anywhere."""

import asyncio
from collections.abc import Callable

import yaml
from fix_postgres import Database
from fix_rest_api import TOKEN, RestApi
from fix_rounds import CREATE, QUERIES, ROUND, stored
from fix_walsync import Walsync, eventually_async
from fix_workerd import Workerd
from integration.test_d1_gateway_killed import position


async def test_the_command_ends_with_the_rows_of_the_source_whatever_part_of_a_request_was_taken(
    source: Database, workerd: Workerd, d1_database: str, walsync_command: Callable[..., Walsync]
) -> None:
    source.execute(CREATE)
    plain = workerd.plain(d1_database)
    async with RestApi(workerd, is_atomic=False) as api:
        target = {**api.target(d1_database, token="${CF_TOKEN}"), "tables": ["public.accounts", "public.moves"]}
        content = {
            "source": {"dsn": source.dsn, "slot": source.name, "tables": ["public.*"]},
            "targets": [target],
            "http": {"listen": ""},
        }
        walsync = walsync_command(yaml.safe_dump(content), CF_TOKEN=TOKEN)
        number = 0
        for half in (0, 3, 5, 7):
            before = await asyncio.to_thread(position, plain)
            walsync.start("run")
            for _ in range(3):
                number += 1
                await asyncio.to_thread(source.execute, ROUND.format(n=number))
            await eventually_async(lambda before=before: position(plain) != before, 60, "a round to arrive")  # type: ignore[misc]
            api.half = half
            await asyncio.to_thread(source.execute, ROUND.format(n=number + 100))
            await eventually_async(lambda: api.half is None, 60, "a request to be cut")
            await asyncio.to_thread(walsync.sigkill)
        assert await asyncio.to_thread(walsync.run, "run", "--until-caught-up", "--timeout", "60s", timeout=90) == 0
    expected = stored(source)
    assert plain.execute(QUERIES["accounts"]) == expected["accounts"]
    assert plain.execute(QUERIES["moves"]) == expected["moves"]
    assert TOKEN not in walsync.output
