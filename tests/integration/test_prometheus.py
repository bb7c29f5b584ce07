"""What the shipped Prometheus configuration and alert rules are worth, by Prometheus' own programs."""

import contextlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import psycopg2
import pytest
import yaml
from fix_postgres import Database
from fix_prometheus import Prometheus, PrometheusFiles, run_prometheus
from fix_walsync import Walsync, eventually, free_port

from walsync.demo.engines import PostgresServer

CONF = Path(__file__).parents[2] / "conf"
ALERTS = CONF / "alerts.yml"
ALERTS_TEST = Path(__file__).with_name("alerts_test.yml")
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
QUESTIONS = re.findall(r"\| `(.+)` \|", OPERATIONS.read_text().split("### Questions")[1].split("## ")[0])
SECONDS = 30
TOKEN = "a-token-for-the-test"


def promtool(files: PrometheusFiles, *arguments: str | Path, given: bytes = b"") -> str:
    """Run promtool, which has to be content, and return what it said."""
    answer = subprocess.run(
        [files.promtool, *arguments], input=given, capture_output=True, check=False, timeout=SECONDS
    )
    said = (answer.stdout + answer.stderr).decode()
    assert answer.returncode == 0, said
    return said


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def test_promtool_accepts_configuration_and_rules(prometheus_files: PrometheusFiles) -> None:
    said = promtool(prometheus_files, "check", "config", CONF / "prometheus.yml")
    assert f"SUCCESS: {len(rules())} rules found" in said


def test_every_alert_fires_and_keeps_quiet_as_its_promtool_tests_say(prometheus_files: PrometheusFiles) -> None:
    assert "SUCCESS" in promtool(prometheus_files, "test", "rules", ALERTS_TEST)


def test_every_alert_has_a_promtool_test_for_both() -> None:
    fires: set[str] = set()
    keeps_quiet: set[str] = set()
    for case in yaml.safe_load(ALERTS_TEST.read_text())["tests"]:
        for one in case["alert_rule_test"]:
            (fires if one["exp_alerts"] else keeps_quiet).add(one["alertname"])
    names = {rule["alert"] for rule in rules()}
    assert fires == names
    assert keeps_quiet == names


@pytest.fixture
def users(source: Database) -> Database:
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY, name text)")
    source.execute("INSERT INTO public.users SELECT n, 'user ' || n FROM generate_series(1, 50) AS n")
    return source


@pytest.fixture
def running(users: Database, target: Database, walsync_command: Callable[..., Walsync]) -> tuple[Walsync, str]:
    """Return a walsync that streams, and the address of its metrics."""
    address = f"127.0.0.1:{free_port()}"
    content = {
        "source": {"dsn": users.dsn, "slot": users.name, "tables": ["public.users"]},
        "targets": [{"name": "replica", "type": "postgres", "dsn": target.dsn}],
        "http": {"listen": address, "token": TOKEN},
    }
    walsync = walsync_command(yaml.safe_dump(content))
    walsync.start("run")
    eventually(
        lambda: target.execute("SELECT to_regclass('public.users') IS NOT NULL") == [(True,)], SECONDS, "a table"
    )
    eventually(lambda: target.execute("SELECT count(*) FROM public.users") == [(50,)], SECONDS, "the snapshot")
    return walsync, address


def shipped_configuration(folder: Path, address: str) -> Path:
    """Write conf/prometheus.yml for a test: its address, its token, and a scrape each second."""
    content = yaml.safe_load((CONF / "prometheus.yml").read_text())
    [job] = content["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8787"]}]
    job["static_configs"] = [{"targets": [address]}]
    job["authorization"] = {"credentials_file": str(folder / "token")}
    (folder / "token").write_text(TOKEN)
    content["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    content["rule_files"] = [str(ALERTS)]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def answer(prometheus: Prometheus, promql: str, label: str) -> dict[str, float]:
    return {labels.get(label, ""): value for labels, value in prometheus.ask(promql)}


def test_prometheus_scrapes_a_running_walsync_and_answers_questions(
    running: tuple[Walsync, str], users: Database, target: Database, prometheus_files: PrometheusFiles, tmp_path: Path
) -> None:
    walsync, address = running
    with run_prometheus(prometheus_files, shipped_configuration(tmp_path, address)) as prometheus:
        streams = 'walsync_target_state{target="replica",state="streaming"} == 1'
        eventually(lambda: prometheus.ask(streams), SECONDS, "a first scrape, with the target streaming")

        users.execute("INSERT INTO public.users VALUES (51, 'new'), (52, 'newer')")
        users.execute("UPDATE public.users SET name = 'changed' WHERE id <= 3")
        users.execute("DELETE FROM public.users WHERE id = 50")
        kinds = {"insert": 2.0, "update": 3.0, "delete": 1.0, "truncate": 0.0}
        changes = 'sum by (kind) (walsync_target_changes_total{target="replica"})'
        eventually(lambda: answer(prometheus, changes, "kind") == kinds, SECONDS, "the changes, by kind")

        # Counters begin at 0, so that PromQL sees the first change as an increase.
        eventually(lambda: prometheus.ask("sum(increase(walsync_target_changes_total[1m])) > 5"), SECONDS, "a rate")
        assert answer(prometheus, "walsync_snapshot_rows_total", "table") == {"public.users": 50}
        [(_, copied)] = prometheus.ask("walsync_snapshot_bytes_total")
        assert copied == sum(len(f"{n}\tuser {n}\n") for n in range(1, 51))
        [(_, oldest)] = prometheus.ask("histogram_quantile(1, sum by (le) (walsync_target_delay_seconds_bucket))")
        assert oldest >= 0
        assert answer(prometheus, "walsync_slot_wal_status == 1", "state") == {"reserved": 1}
        assert prometheus.ask("walsync_backlog_max_bytes")[0][1] == 64 * 1024**2
        assert prometheus.ask("time() - walsync_source_last_progress_timestamp_seconds < 60")

        for question in QUESTIONS:
            eventually(lambda question=question: prometheus.ask(question), SECONDS, question)  # type: ignore[misc]
        # Every shipped rule can be evaluated on what walsync exposes, and on a walsync that is well none fires.
        well = {rule["alert"]: "inactive" for rule in rules()}
        eventually(lambda: prometheus.rules() == well, SECONDS, "no alert, also of a scrape that took too long")
        walsync.terminate()
        walsync.wait(SECONDS)
        eventually(lambda: prometheus.rules()["WalsyncDown"] == "pending", SECONDS, "the alert that walsync is away")
    assert target.execute("SELECT count(*) FROM public.users") == [(51,)]


def test_promtool_finds_nothing_wrong_with_the_names_of_the_metrics(
    running: tuple[Walsync, str], prometheus_files: PrometheusFiles
) -> None:
    _, address = running
    text = read_metrics(address)
    assert b"walsync_target_state" in text
    assert promtool(prometheus_files, "check", "metrics", given=text) == ""


def test_every_metric_that_a_rule_reads_is_exposed(running: tuple[Walsync, str]) -> None:
    _, address = running
    exposed = {line.split()[2] for line in read_metrics(address).decode().splitlines() if line.startswith("# TYPE ")}
    # Prometheus' own; and what is only there while a slot waits or is there, or where there are limits.
    sometimes = {
        "up",
        "walsync_source_blocked_seconds",
        "walsync_max_slot_lag_bytes",
        "walsync_slot_until_limit_seconds",
    }
    documented = set(re.findall(r"^\| `(walsync_\w+)` \|", OPERATIONS.read_text(), re.MULTILINE))
    sometimes |= {name for name in documented if name.startswith(("walsync_hold_slot_", "walsync_temporary_slot_"))}
    for rule in rules():
        read = set(re.findall(r"\b(?:walsync|process)_\w+", rule["expr"]))
        assert read <= exposed | sometimes, rule["alert"]


def test_a_source_and_a_target_that_are_away_are_counted_by_code(
    start_server: Callable[..., PostgresServer], walsync_command: Callable[..., Walsync]
) -> None:
    source, target = start_server(17), start_server(16)
    with contextlib.closing(psycopg2.connect(source.dsn())) as connection, connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE public.users (id int PRIMARY KEY)")
    address = f"127.0.0.1:{free_port()}"
    content = {
        "source": {"dsn": source.dsn(), "tables": ["public.users"]},
        "targets": [{"name": "replica", "type": "postgres", "dsn": target.dsn()}],
        "http": {"listen": address, "token": TOKEN},
    }
    target.stop()
    walsync = walsync_command(yaml.safe_dump(content))
    walsync.start("run")
    away = 'walsync_target_errors_total{code="WS4101",target="replica"}'
    eventually(lambda: value(address, away) >= 1, SECONDS, "the target's error")
    assert value(address, 'walsync_target_retries_total{target="replica"}') >= 1
    target.start()
    streaming = 'walsync_target_state{state="streaming",target="replica"}'
    eventually(lambda: value(address, streaming) == 1, SECONDS, "the target to stream")
    assert value(address, "walsync_source_reconnects_total") == 0

    source.stop()
    eventually(lambda: value(address, 'walsync_source_errors_total{code="WS2002"}') >= 1, SECONDS, "the source's error")
    source.start()
    eventually(lambda: value(address, "walsync_source_reconnects_total") >= 1, SECONDS, "the stream to be opened again")
    eventually(lambda: value(address, 'walsync_source_state{state="streaming"}') == 1, SECONDS, "the source to stream")


def value(address: str, series: str) -> float:
    """Return the value of one series, 0 while it is not there."""
    try:
        lines = read_metrics(address).decode().splitlines()
    except URLError:
        return 0
    return next((float(line.removeprefix(series)) for line in lines if line.startswith(f"{series} ")), 0)


def read_metrics(address: str) -> bytes:
    request = Request(f"http://{address}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    with urlopen(request, timeout=SECONDS) as reply:  # noqa: S310 - http, written above
        return bytes(reply.read())
