"""The walsync command with two D1 regions on workerd as its targets, killed again and again, and checked before."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from fix_postgres import Database
from fix_proxy import Proxy
from fix_rounds import CREATE, QUERIES, ROUND, stored
from fix_walsync import Walsync, eventually
from fix_workerd import SECRET, Plain, SqlRefused, Workerd

REGIONS = ("DB_WEUR", "DB_OC")


@pytest.fixture
def regions(workerd: Workerd) -> Iterator[dict[str, Plain]]:
    found = {name: workerd.plain(name) for name in REGIONS}
    for plain in found.values():
        plain.clear()
    yield found
    for plain in found.values():
        plain.clear()


def configuration(source: Database, workerd: Workerd, **changed: str) -> str:
    targets: Sequence[Mapping[str, Any]] = [
        {
            "name": name.removeprefix("DB_").lower(),
            "type": "d1",
            "url": workerd.url,
            "database": name,
            "secret": "${D1_SECRET}",
            **changed,
        }
        for name in REGIONS
    ]
    content = {
        "source": {"dsn": source.dsn, "slot": source.name, "tables": ["public.*"]},
        "targets": targets,
        "http": {"listen": ""},
    }
    return yaml.safe_dump(content)


def position(plain: Plain) -> object:
    try:
        return plain.execute("SELECT lsn FROM _walsync_checkpoint")
    except SqlRefused:
        return None


def test_the_command_keeps_regions_equal_to_the_source_whatever_kills_it(
    source: Database, workerd: Workerd, regions: dict[str, Plain], walsync_command: Callable[..., Walsync]
) -> None:
    source.execute(CREATE)
    walsync = walsync_command(configuration(source, workerd), D1_SECRET=SECRET)
    number = 0
    for _ in range(4):
        before = [position(plain) for plain in regions.values()]
        walsync.start("run")
        for _ in range(5):
            number += 1
            source.execute(ROUND.format(n=number))
        for plain, old in zip(regions.values(), before, strict=True):
            eventually(lambda plain=plain, old=old: position(plain) != old, 60, "the checkpoint to move")  # type: ignore[misc]
        source.execute(ROUND.format(n=number + 100))
        walsync.sigkill()
    assert walsync.run("run", "--until-caught-up", "--timeout", "30s") == 0
    assert_equal(source, regions)
    assert SECRET not in walsync.output


def test_regions_stay_equal_over_a_line_that_is_cut_and_held(
    source: Database,
    workerd: Workerd,
    regions: dict[str, Plain],
    walsync_command: Callable[..., Walsync],
    new_proxy: Callable[[str, int], Proxy],
) -> None:
    source.execute(CREATE)
    parts, random = urlsplit(workerd.url), Random(7)
    assert parts.hostname is not None
    assert parts.port is not None
    line = new_proxy(parts.hostname, parts.port)
    walsync = walsync_command(configuration(source, workerd, url=f"http://{line.host}:{line.port}"), D1_SECRET=SECRET)
    walsync.start("run")
    for number in range(1, 25):
        line.resume()
        source.execute(ROUND.format(n=number))
        match number % 4:
            case 0:
                line.cut()
            case 1:
                line.cut_after(random.randint(1, 60_000), "to_server")
            case 2:
                line.cut_after(random.randint(1, 2_000), "to_client")
            case _:
                # What is asked is done, and nobody hears of it.
                before = [position(plain) for plain in regions.values()]
                line.on_bytes("to_server", b"UPDATE _walsync_checkpoint SET previous", lambda: line.hold("to_client"))
                source.execute(ROUND.format(n=number + 100))
                eventually(
                    lambda before=before: [position(plain) for plain in regions.values()] != before,  # type: ignore[misc]
                    60,
                    "a request to be taken",
                )
                line.cut()
        if number % 9 == 0:
            walsync.sigkill()
            walsync.start("run")
    line.on_bytes("to_server", b"of no request", line.resume)  # instead of the last hold
    line.resume()
    walsync.terminate()
    assert walsync.wait(60) == 0
    assert walsync.run("run", "--until-caught-up", "--timeout", "60s", timeout=90) == 0
    assert_equal(source, regions)


def assert_equal(source: Database, regions: dict[str, Plain]) -> None:
    expected = stored(source)
    for plain in regions.values():
        assert {name: plain.execute(query) for name, query in QUERIES.items()} == expected


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, None),
        ({"url": "http://127.0.0.1:1"}, "WS4101"),
        ({"secret": "another"}, "WS4510"),
        ({"database": "DB_MARS"}, "WS4512"),
    ],
)
def test_check_says_what_is_wrong_with_the_way_to_a_region(
    source: Database,
    workerd: Workerd,
    regions: dict[str, Plain],
    walsync_command: Callable[..., Walsync],
    changed: dict[str, str],
    code: str | None,
) -> None:
    source.execute("CREATE TABLE users (id int PRIMARY KEY, name text)")
    walsync = walsync_command(configuration(source, workerd, **changed), D1_SECRET=SECRET)
    assert walsync.run("check", "--json") == (0 if code is None else 1)
    findings = json.loads(walsync.stdout.read_text())["findings"]
    found = [one for one in findings if one["where"].startswith("target") and one["severity"] == "error"]
    assert [one["code"] for one in found] == ([] if code is None else [code] * len(regions))
    assert all(one["hint"] for one in found)
    assert SECRET not in walsync.output
