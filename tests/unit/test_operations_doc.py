"""docs/operations.md is opened at night: what the code can say stands in it, and nothing else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from walsync.lsn import LSN
from walsync.metrics import Metrics
from walsync.status import (
    BacklogStatus,
    BlockedBy,
    SlotRoom,
    SlotStatus,
    SourceState,
    SourceStatus,
    Status,
    TargetState,
    TargetStatus,
)

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "walsync"
DOCUMENT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

HISTOGRAM_SERIES = ("_bucket", "_count", "_sum")

# `check` adds a reason to codes that are raised elsewhere: a reason alone is no code that anybody can meet.
ONLY_EXPLAINS = SOURCE / "check" / "reasons.py"


def first_column(pattern: str) -> list[str]:
    return re.findall(rf"^\| {pattern} \|", DOCUMENT, re.MULTILINE)


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in SOURCE.rglob("*.py"):
        yield path, ast.parse(path.read_text(encoding="utf-8"), str(path))


def codes_of_the_source() -> set[str]:
    return {
        node.value
        for path, tree in trees()
        if path != ONLY_EXPLAINS
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"WS\d{4}", node.value)
    }


def exit_codes_of_the_source() -> set[int]:
    """Collect what errors end with, and what the commands and the service return."""
    found: set[int] = set()
    for path, tree in trees():
        is_command = path.parent.name == "cli" or path.name == "service.py"
        constants = {name: number for node in tree.body for name, number in _number(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found.update(number for inner in node.body for name, number in _number(inner) if name == "exit_code")
            elif is_command and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _returns_int(node):
                found.update(_returned(node, constants))
    return found


def _number(node: ast.stmt) -> Iterator[tuple[str, int]]:
    if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(node.value, ast.Constant):
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if isinstance(target, ast.Name) and isinstance(node.value.value, int):
            yield target.id, node.value.value


def _returns_int(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return isinstance(node.returns, ast.Name) and node.returns.id == "int"


def _returned(function: ast.FunctionDef | ast.AsyncFunctionDef, constants: dict[str, int]) -> Iterator[int]:
    for statement in ast.walk(function):
        if isinstance(statement, ast.Return) and statement.value is not None:
            for node in ast.walk(statement.value):
                if isinstance(node, ast.Name) and node.id in constants:
                    yield constants[node.id]
                elif isinstance(node, ast.Constant) and isinstance(node.value, int):
                    yield int(node.value)


def exposed_metrics() -> set[str]:
    blocker = BlockedBy(1, 1.0)
    room = SlotRoom(1, 1.0, 1.0)
    source = SourceStatus(
        *("walsync", SourceState.STREAMING, "1", 1, LSN(1), LSN(2), 1, blocker),
        wal_status="reserved",
        hold=SlotStatus("walsync_hold", LSN(1), 1, "reserved", room),
        room=room,
        max_slot_lag_bytes=1,
        temporary=SlotStatus("walsync_snap_1_ab", LSN(1), 1, "reserved", room),
    )
    target = TargetStatus(
        *("replica", "postgres", TargetState.STREAMING, LSN(1), 1, 1.0, 1.0),
        retained_bytes=1,
        retained_growth_bytes_per_second=1.0,
    )
    metrics = Metrics()
    metrics.count_received((), 1)
    text = metrics.render(Status(source, (target,), BacklogStatus(1, 1, 1))).decode()
    return set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))


def test_every_error_code_of_the_source_is_explained_and_no_other() -> None:
    assert set(first_column(r"(WS\d{4})")) == codes_of_the_source()


def test_every_error_code_is_explained_once_and_in_order() -> None:
    explained = first_column(r"(WS\d{4})")

    assert explained == sorted(set(explained))


def test_every_error_code_in_the_text_has_its_row() -> None:
    assert set(re.findall(r"WS\d{4}", DOCUMENT)) == set(first_column(r"(WS\d{4})"))


def test_every_metric_is_explained_and_no_other() -> None:
    documented, exposed = set(first_column(r"`((?:walsync|process)_\w+)`")), exposed_metrics()

    # The process's own numbers are not there on every system.
    assert {name for name in documented if name.startswith("walsync_")} == {
        name for name in exposed if name.startswith("walsync_")
    }
    assert exposed <= documented


def test_alerts_ask_for_metrics_that_exist() -> None:
    exposed = exposed_metrics()
    series = exposed | {name + suffix for name in exposed for suffix in HISTOGRAM_SERIES}

    assert set(re.findall(r"walsync_[a-z_]+", DOCUMENT)) <= series


def test_every_alert_is_explained_and_no_other() -> None:
    groups = yaml.safe_load((ROOT / "conf" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    shipped = {(rule["alert"], rule["labels"]["severity"]) for group in groups for rule in group["rules"]}

    assert set(re.findall(r"^\| `(Walsync\w+)` \| (\w+) \|", DOCUMENT, re.MULTILINE)) == shipped


def test_every_exit_code_is_explained_and_no_other() -> None:
    assert {int(code) for code in first_column(r"(\d+)")} == exit_codes_of_the_source()


def test_every_state_is_explained() -> None:
    explained = set(first_column(r"`([a-z_]+)`"))

    assert {state.value for state in (*SourceState, *TargetState)} <= explained


def test_every_link_inside_leads_to_a_heading() -> None:
    headings = re.findall(r"^#+ (.+)$", DOCUMENT, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    assert set(re.findall(r"\]\(#([^)]+)\)", DOCUMENT)) <= anchors
