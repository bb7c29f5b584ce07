"""`walsync check` and the file: what is missing in it does not hide the rest; and that no finding is without a test."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
import yaml
from fix_check import PASSWORD
from fix_postgres import Database
from fix_walsync import Walsync, free_port

from walsync.check.reasons import REASONS

WALSYNC = Path(__file__).parents[2] / "walsync"

RULES = (
    *sorted((WALSYNC / "check").glob("*.py")),
    WALSYNC / "source" / "requirements.py",
    WALSYNC / "source" / "catalogue.py",
    WALSYNC / "checkpoint" / "gap_guard.py",
    WALSYNC / "target" / "selection.py",
    *sorted((WALSYNC / "target").glob("*/schema.py")),
)
"""Where what `check` can say is written down."""

OF_THE_STREAM = {"WS4207", "WS4208", "WS4209", "WS4306", "WS4615"}
"""Said beside the rules by what looks at the stream, which a check does not read."""

NewWalsync = Callable[..., Walsync]


def findings(command: Walsync, code: int) -> list[dict[str, str]]:
    command.stdout.unlink(missing_ok=True)
    assert command.run("check", "--json") == code, command.output
    assert PASSWORD not in command.output
    found: list[dict[str, str]] = orjson.loads(command.stdout.read_bytes())["findings"]
    return found


def bad(found: list[dict[str, str]]) -> dict[str, str]:
    return {one["code"]: one["where"] for one in found if one["severity"] != "ok"}


@pytest.fixture
def file(source: Database, target: Database) -> str:
    """Return a file with a fault on each side, behind variables."""
    source.execute("CREATE TABLE public.users (id int)")
    return yaml.safe_dump(
        {
            "source": {"dsn": f"{source.dsn}?password=${{SOURCE_PASSWORD}}", "tables": ["public.users"]},
            "targets": [
                {"name": "replica", "type": "postgres", "dsn": f"{target.dsn}?password=${{TARGET_PASSWORD}}"},
                {"name": "away", "type": "postgres", "dsn": f"postgresql://u:p@127.0.0.1:{free_port()}/x"},
            ],
            "http": {"listen": "0.0.0.0:0"},
        }
    )


def test_what_does_not_depend_on_a_missing_variable_is_looked_at(file: str, walsync_command: NewWalsync) -> None:
    found = findings(walsync_command(file, TARGET_PASSWORD=PASSWORD), 2)
    assert bad(found).keys() == {"WS1006", "WS4101", "WS7005"}
    assert [one["where"] for one in found if one["severity"] == "ok"][:1] == ["target replica"]
    assert all("is valid" not in one["message"] for one in found)

    found = findings(walsync_command(file, SOURCE_PASSWORD=PASSWORD), 2)
    assert bad(found).keys() == {"WS1006", "WS2203", "WS4101", "WS7005"}
    assert all(one["where"] != "target replica" for one in found)


def test_a_missing_variable_does_not_hide_what_else_is_wrong_with_the_file(
    file: str, walsync_command: NewWalsync
) -> None:
    content = yaml.safe_load(file)
    content["source"]["slt"] = "x"
    content["batch"] = {"transactions": "${NUMBER}"}
    found = findings(walsync_command(yaml.safe_dump(content), SOURCE_PASSWORD="x"), 2)
    codes = [one["code"] for one in found]
    assert sorted(codes) == ["WS1006", "WS1006", "WS1008"]
    assert all(one["why"] and one["hint"] for one in found)


def test_a_complete_file_is_looked_at_whole(file: str, walsync_command: NewWalsync) -> None:
    found = findings(walsync_command(file, SOURCE_PASSWORD="x", TARGET_PASSWORD=PASSWORD), 1)
    assert bad(found).keys() == {"WS2203", "WS4101", "WS7005"}
    assert found[0]["message"] == "is valid; targets: replica, away"
    assert {one["code"]: one["place"].split(": ")[-1] for one in found if one["severity"] != "ok"} == {
        "WS2203": "source.tables[0]",
        "WS4101": "targets[1]",
        "WS7005": "http",
    }


def test_a_target_that_is_the_source_is_found_in_the_file(file: str, walsync_command: NewWalsync) -> None:
    content = yaml.safe_load(file)
    content["targets"][0]["dsn"] = content["source"]["dsn"]
    found = findings(walsync_command(yaml.safe_dump(content), SOURCE_PASSWORD="x"), 2)
    assert [one["code"] for one in found] == ["WS1020"]
    assert "targets[0].dsn" in found[0]["where"]


def codes_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"WS\d{4}", node.value)


def test_every_finding_says_why_it_matters_and_is_provoked_by_a_test() -> None:
    can_be_said = {code for path in RULES for code in codes_in(path)} - OF_THE_STREAM
    provoked = {code for path in Path(__file__).parent.glob("test_*check*.py") for code in codes_in(path)}
    assert sorted(can_be_said - provoked) == []
    assert sorted(can_be_said - REASONS.keys()) == []
