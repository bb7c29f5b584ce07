"""The walsync command with two D1 regions on workerd as its targets, killed again and again, and checked before."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import yaml
from fix_postgres import Database
from fix_walsync import Walsync, eventually
from fix_workerd import SECRET, Plain, SqlRefused, Workerd
from integration.test_d1_killed import CREATE, ROUND

REGIONS = ("DB_WEUR", "DB_OC")
QUERIES = {
    "accounts": "SELECT id, owner, balance, note FROM accounts ORDER BY 1",
    "moves": "SELECT account, at, amount FROM moves ORDER BY 1, 2",
    "lines": "SELECT line FROM lines ORDER BY 1",
}


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
        walsync.start("run")
        for _ in range(5):
            number += 1
            source.execute(ROUND.format(n=number))
        for plain in regions.values():
            before = position(plain)
            eventually(lambda plain=plain, before=before: position(plain) != before, 30, "the checkpoint to move")  # type: ignore[misc]
        source.execute(ROUND.format(n=number + 100))
        walsync.sigkill()
    assert walsync.run("run", "--until-caught-up", "--timeout", "30s") == 0
    expected = {
        "accounts": source.execute("SELECT id, owner, balance::text, note FROM accounts ORDER BY 1"),
        "moves": source.execute("SELECT account, at, amount::text FROM moves ORDER BY 1, 2"),
        "lines": source.execute("SELECT line FROM lines ORDER BY 1"),
    }
    for plain in regions.values():
        assert {name: plain.execute(query) for name, query in QUERIES.items()} == expected
    assert SECRET not in walsync.output


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
