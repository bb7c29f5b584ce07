"""What can be said of docker/ without an engine: files, names, variables and ports fit together."""

import json
import re
from typing import Any

import pytest
import yaml
from fix_dockerfile import COMPOSE, DOCKERFILE, REPOSITORY, Instruction, instructions
from psycopg2.extensions import parse_dsn

from walsync.config import Config, load
from walsync.setting_types import parse_duration
from walsync.target.postgres.settings import PostgresSettings

CONFIGURATION = REPOSITORY / "conf" / "walsync.docker.yaml"
FOLDER = COMPOSE.parent


def of(keyword: str, stage: int | None = None) -> list[Instruction]:
    return [one for one in instructions() if one.keyword == keyword and stage in {None, one.stage}]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Return the compose file as YAML reads it."""
    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def environment(compose: dict[str, Any]) -> dict[str, str]:
    """Return walsync's variables as the container gets them, with nothing set on the host."""
    given: dict[str, str] = compose["services"]["walsync"]["environment"]
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for name, value in given.items()}


@pytest.fixture(scope="module")
def config(environment: dict[str, str]) -> Config:
    return load(CONFIGURATION, environment)


def test_the_image_has_a_stage_that_builds_and_one_that_runs() -> None:
    assert [one.text for one in of("FROM")] == ["python:${PYTHON} AS build", "python:${PYTHON}"]
    assert re.fullmatch(r"PYTHON=3\.\d+-slim-\w+", of("ARG", -1)[0].text)
    assert all("--from=build" in one.text for one in of("COPY", 1))


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for one in of("COPY", 0):
        *sources, _ = one.text.split()
        for source in sources:
            assert (REPOSITORY / source).exists(), one
            assert f"!{source.rstrip('/')}" in ignored, one
    assert "*" in ignored


def test_the_environment_is_built_from_the_lock_alone() -> None:
    syncs = [one.text for one in of("RUN") if "uv sync" in one.text]
    assert len(syncs) == 2
    assert all("--frozen" in text and "--no-dev" in text for text in syncs)
    assert "--no-editable" in syncs[-1]  # the sources stay behind in the first stage


def test_the_image_runs_as_nobody_special_and_without_a_shell() -> None:
    [user] = of("USER", 1)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user.text)  # a number: Kubernetes' runAsNonRoot cannot look names up
    assert [json.loads(one.text) for one in (*of("ENTRYPOINT", 1), *of("CMD", 1))] == [["walsync"], ["run"]]
    assert not re.search("(?i)password|secret|token", " ".join(one.text for one in (*of("ENV"), *of("ARG"))))


def test_the_image_asks_the_port_that_it_exposes() -> None:
    [exposed], [health] = of("EXPOSE", 1), of("HEALTHCHECK", 1)
    assert f"http://127.0.0.1:{exposed.text}/health" in health.text


def test_every_file_that_compose_names_is_there(compose: dict[str, Any]) -> None:
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", ())]
    files = [FOLDER / mount.split(":")[0] for mount in mounts if mount.startswith(".")]
    assert len(files) == 5
    build = compose["services"]["walsync"]["build"]
    assert FOLDER / build["context"] / build["dockerfile"] == FOLDER / ".." / "docker" / DOCKERFILE.name
    for path in files:
        assert path.is_file(), path
    assert {mount.split(":")[0] for mount in mounts if not mount.startswith(".")} == set(compose["volumes"])


def test_who_waits_for_a_service_waits_for_one_that_can_be_healthy(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        depends = service.get("depends_on", {})
        for name in depends:
            assert name in services
            assert isinstance(depends, list) or "healthcheck" in services[name]


def test_every_image_has_a_version(compose: dict[str, Any]) -> None:
    images = [service["image"] for service in compose["services"].values() if "image" in service]
    assert len(images) == 4
    assert all(re.search(r":v?\d", image) for image in images)


def test_nothing_is_published_beyond_this_host(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_source_is_made_for_logical_replication(compose: dict[str, Any]) -> None:
    assert "wal_level=logical" in compose["services"]["source"]["command"]


def test_compose_sets_every_variable_of_the_configuration_and_no_other(environment: dict[str, str]) -> None:
    text = CONFIGURATION.read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(\w+)\}", text)) == set(environment)


def test_the_configuration_leads_to_the_services_of_compose(compose: dict[str, Any], config: Config) -> None:
    dsns = [config.source.dsn, *(one.dsn for one in config.targets if isinstance(one, PostgresSettings))]
    assert [parse_dsn(dsn.get_secret_value())["host"] for dsn in dsns] == ["source", "target"]
    assert {"source", "target"} <= set(compose["services"])


def test_the_configuration_and_the_image_name_the_same_folders(compose: dict[str, Any]) -> None:
    [volume] = of("VOLUME", 1)
    mounts = compose["services"]["walsync"]["volumes"]
    assert f"walsync:{volume.text}" in mounts
    assert any(mount.endswith(":/config/walsync.yaml:ro") for mount in mounts)
    assert compose["services"]["walsync"]["environment"]["WALSYNC_D1_URL"].startswith(f"sqlite://{volume.text}/")


def test_walsync_is_given_the_time_to_drain(compose: dict[str, Any]) -> None:
    assert parse_duration(compose["services"]["walsync"]["stop_grace_period"]) >= 30


def test_prometheus_in_compose_scrapes_walsync_and_loads_the_shipped_rules(
    compose: dict[str, Any], config: Config
) -> None:
    content = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    shipped = yaml.safe_load((REPOSITORY / "conf" / "prometheus.yml").read_text(encoding="utf-8"))
    [job], [known] = content["scrape_configs"], shipped["scrape_configs"]
    assert config.http.address is not None
    assert job == {**known, "static_configs": [{"targets": [f"walsync:{config.http.address[1]}"]}]}
    mounted = dict(mount.split(":")[:2] for mount in compose["services"]["prometheus"]["volumes"])
    assert content["rule_files"] == [mounted["../conf/alerts.yml"]]


def test_the_tables_of_the_example_are_those_of_role_and_configuration(config: Config) -> None:
    made = re.findall(r"CREATE TABLE (\S+)", (FOLDER / "source.sql").read_text(encoding="utf-8"))
    assert [entry.table for entry in config.source.tables] == made
    role = (REPOSITORY / "sql" / "role.sql").read_text(encoding="utf-8")
    assert f"CREATE PUBLICATION walsync FOR TABLE {', '.join(made)} WITH" in role
    assert "PASSWORD 'change me'" in role
    assert parse_dsn(config.source.dsn.get_secret_value())["password"] == "change me"
