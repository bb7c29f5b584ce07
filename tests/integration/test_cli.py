"""The command line as real processes: output, exit codes, and what each command leaves behind."""

import socket
from collections.abc import Callable
from pathlib import Path

import orjson
import psycopg2.extensions
import pytest
import yaml
from fix_postgres import Database
from fix_walsync import Walsync, eventually, free_port

import walsync
from walsync.status import SourceState, Status, TargetState

SECRET = "hunter2-very-secret"
SECONDS = 30

NewWalsync = Callable[..., Walsync]


@pytest.fixture
def users(source: Database) -> Database:
    """Return the source with one small table."""
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY, name text)")
    source.execute("INSERT INTO public.users VALUES (1, 'ann'), (2, 'bob')")
    return source


@pytest.fixture
def replicating(users: Database, target: Database, walsync_command: NewWalsync) -> Walsync:
    """Return the command with a configuration that works."""
    return walsync_command(configuration(users, target), WALSYNC_TOKEN=SECRET)


@pytest.fixture
def somewhere(tmp_path: Path) -> Walsync:
    """Return the command in an empty folder, without a configuration."""
    return Walsync(tmp_path / "missing.yaml", tmp_path)


def configuration(source: Database, target: Database, *, listen: str = "", name: str = "replica") -> str:
    # The servers of the tests trust everybody; the password is there to be looked for in what is printed.
    return yaml.safe_dump(
        {
            "source": {
                "dsn": psycopg2.extensions.make_dsn(source.dsn, password=SECRET),
                "slot": source.name,
                "tables": ["public.users"],
            },
            "targets": [
                {"name": name, "type": "postgres", "dsn": psycopg2.extensions.make_dsn(target.dsn, password=SECRET)}
            ],
            "http": {"listen": listen, "token": "${WALSYNC_TOKEN}"},
        }
    )


def output_of(command: Walsync, *args: str, code: int = 0) -> str:
    """Run a command to its end, check exit code and secrets, and return what it printed on stdout."""
    for file in (command.stdout, command.stderr):
        file.unlink(missing_ok=True)
    assert command.run(*args) == code, command.output
    assert SECRET not in command.output
    return command.stdout.read_text()


def errors_of(command: Walsync, *args: str, code: int) -> str:
    output_of(command, *args, code=code)
    return command.stderr.read_text()


def slots(database: Database) -> list[str]:
    rows = database.execute("SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()")
    return [name for (name,) in rows]


def publications(database: Database) -> list[str]:
    return [name for (name,) in database.execute("SELECT pubname::text FROM pg_publication")]


def test_the_version_is_printed(somewhere: Walsync) -> None:
    assert output_of(somewhere, "--version") == f"walsync {walsync.__version__}\n"


def test_help_names_every_command(somewhere: Walsync) -> None:
    text = output_of(somewhere, "--help")
    for command in ("run", "check", "status", "config", "drop"):
        assert f"  {command} " in text


@pytest.mark.parametrize(
    "args",
    [
        ("nonsense",),
        ("run", "--nonsense"),
        ("run", "--timeout", "25s"),
        ("run", "--until-caught-up", "--timeout", "soon"),
        ("run", "--log-level", "loud"),
        ("drop", "--target"),
    ],
)
def test_a_wrong_use_ends_with_2_and_says_how_to_get_help(somewhere: Walsync, args: tuple[str, ...]) -> None:
    assert "Error: " in errors_of(somewhere, *args, code=2)


@pytest.mark.parametrize("command", ["run", "config", "status", "drop"])
def test_a_wrong_configuration_ends_every_command_with_2(somewhere: Walsync, command: str) -> None:
    text = errors_of(somewhere, command, code=2)
    assert text.startswith("error WS1002: ")
    assert "\n  hint: " in text


def test_all_problems_of_a_file_are_printed_at_once(walsync_command: NewWalsync) -> None:
    command = walsync_command(
        f"source: {{dsn: 'postgresql://u:{SECRET}@h/db', slt: x, tables: [a]}}\n"
        f"targets: [{{name: a, type: postgres, dns: 'postgresql://u:{SECRET}@h2/db'}}]\n"
    )
    text = errors_of(command, "run", code=2)
    codes = [line.split()[1] for line in text.splitlines() if line.startswith("error")]
    assert sorted(codes) == ["WS1008:", "WS1008:", "WS1009:", "WS1015:"]
    assert "targets[0].dns: unknown key" in text
    assert "did you mean dsn?" in text
    assert output_of(command, "check", code=2).endswith("4 errors, 0 warnings, 0 ok\n")


def test_config_prints_what_was_understood_without_secrets(replicating: Walsync, users: Database) -> None:
    content = yaml.safe_load(output_of(replicating, "config"))
    assert content["source"]["slot"] == users.name
    assert content["source"]["tables"] == [{"table": "public.users"}]
    assert "password=****" in content["source"]["dsn"]
    assert content["http"]["token"] == "**********"
    assert content["backlog"]["max_bytes"] == 64 * 1024**2


def test_config_takes_the_file_that_is_named(replicating: Walsync, somewhere: Walsync) -> None:
    text = output_of(replicating, "config")
    named = Walsync(somewhere.config_path, somewhere.cwd, {"WALSYNC_TOKEN": SECRET})
    assert output_of(named, "config", "-c", str(replicating.config_path)) == text


def test_the_json_schema_is_printed_without_a_file(somewhere: Walsync) -> None:
    schema = orjson.loads(output_of(somewhere, "config", "--json-schema"))
    assert schema["required"] == ["source", "targets"]
    assert schema["$defs"]["PostgresSettings"]["properties"]["dsn"]["description"]


def test_run_until_caught_up_copies_and_ends_with_0(replicating: Walsync, users: Database, target: Database) -> None:
    output_of(replicating, "run", "--until-caught-up", "--timeout", "30s")
    assert target.execute("SELECT * FROM public.users ORDER BY id") == [(1, "ann"), (2, "bob")]
    users.execute("INSERT INTO public.users VALUES (3, 'cyd')")
    output_of(replicating, "run", "--until-caught-up")
    assert target.execute("SELECT count(*) FROM public.users") == [(3,)]
    for line in replicating.stderr.read_text().splitlines():
        assert orjson.loads(line)["event"]


def test_the_log_level_is_an_option_or_a_variable(
    users: Database, target: Database, walsync_command: NewWalsync
) -> None:
    text = configuration(users, target)
    quiet = walsync_command(text, WALSYNC_TOKEN="", WALSYNC_LOG_LEVEL="error")
    assert errors_of(quiet, "run", "--until-caught-up", code=0) == ""
    assert "draining" in errors_of(quiet, "run", "--until-caught-up", "--log-level", "info", code=0)


def test_a_source_that_does_not_work_like_this_ends_run_with_1(
    source: Database, target: Database, walsync_command: NewWalsync
) -> None:
    source.execute("CREATE TABLE public.users (name text)")
    command = walsync_command(configuration(source, target), WALSYNC_TOKEN="")
    text = errors_of(command, "run", code=1)
    assert "\nerror WS2203: table public.users has no replica identity" in f"\n{text}"
    assert "ADD PRIMARY KEY" in text
    assert "Traceback" not in text


def test_a_port_that_is_taken_ends_run_with_1_before_the_slot_is_made(
    users: Database, target: Database, walsync_command: NewWalsync
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        command = walsync_command(configuration(users, target, listen=listen), WALSYNC_TOKEN="")
        assert "error WS7001: " in errors_of(command, "run", code=1)
    assert slots(users) == []


def test_check_ends_with_0_when_nothing_is_wrong(replicating: Walsync) -> None:
    text = output_of(replicating, "check")
    assert text.startswith("ok configuration: ")
    assert "0 errors, 0 warnings" in text


def test_check_ends_with_1_when_something_is(source: Database, target: Database, walsync_command: NewWalsync) -> None:
    command = walsync_command(configuration(source, target), WALSYNC_TOKEN="")
    text = output_of(command, "check", code=1)
    assert "error WS2201 source: table public.users does not exist" in text
    assert "  why: " in text
    assert "  fix: " in text
    content = orjson.loads(output_of(command, "check", "--json", code=1))
    assert content["ok"] is False
    [finding] = [one for one in content["findings"] if one["severity"] == "error"]
    assert finding["code"] == "WS2201"
    assert finding.keys() == {"severity", "code", "where", "message", "why", "hint", "place"}
    line = command.config_path.read_text().splitlines().index("  - public.users") + 1
    assert finding["place"] == f"{command.config_path}:{line}: source.tables[0]"
    assert f"  at: {finding['place']}" in text


def test_check_prints_the_problems_of_the_file_as_json_too(somewhere: Walsync) -> None:
    content = orjson.loads(output_of(somewhere, "check", "--json", code=2))
    assert [one["code"] for one in content["findings"]] == ["WS1002"]


def test_status_without_an_instance_asks_the_databases(replicating: Walsync, users: Database) -> None:
    before = Status.from_json(output_of(replicating, "status", "--json").encode())
    assert before.source.confirmed_flush_lsn is None
    assert [target.state for target in before.targets] == [TargetState.NOT_RUNNING]
    output_of(replicating, "run", "--until-caught-up")
    after = Status.from_json(output_of(replicating, "status", "--json").encode())
    assert after.source.state in {SourceState.NOT_RUNNING, SourceState.STREAMING}
    assert after.source.slot == users.name
    assert after.source.system_identifier
    assert after.source.retained_bytes is not None
    [target] = after.targets
    assert target.checkpoint_lsn is not None
    assert target.lag_bytes is not None
    assert target.tables.keys() == {"public.users"}
    text = output_of(replicating, "status")
    assert str(target.checkpoint_lsn) in text
    assert "not_running" in text
    assert "1/1" in text


def test_status_of_a_running_instance_is_its_own_answer(
    users: Database, target: Database, walsync_command: NewWalsync
) -> None:
    text = configuration(users, target, listen=f"127.0.0.1:{free_port()}")
    instance, other = (walsync_command(text, WALSYNC_TOKEN=SECRET) for _ in range(2))
    instance.start("run")

    def streams() -> bool:
        status = Status.from_json(output_of(other, "status", "--json").encode())
        return [one.state for one in status.targets] == [TargetState.STREAMING]

    eventually(streams, SECONDS, "the target to stream")
    assert "streaming" in output_of(other, "status")
    stranger = walsync_command(text, WALSYNC_TOKEN="wrong")
    assert "error WS7002: " in errors_of(stranger, "status", code=1)
    refusal = errors_of(other, "drop", code=1)
    assert "error WS2403: " in refusal
    assert "is in use by pid " in refusal
    assert "error WS2403: " in errors_of(other, "drop", "--target", "replica", code=1)
    instance.terminate()
    assert instance.wait(SECONDS) == 0
    assert SECRET not in instance.output


def test_status_ends_with_1_when_the_source_cannot_be_asked(
    users: Database, target: Database, walsync_command: NewWalsync
) -> None:
    content = yaml.safe_load(configuration(users, target))
    content["source"]["dsn"] = f"postgresql://u:{SECRET}@127.0.0.1:{free_port()}/app"
    command = walsync_command(yaml.safe_dump(content), WALSYNC_TOKEN="")
    status = Status.from_json(output_of(command, "status", "--json", code=1).encode())
    assert status.source.last_error is not None
    assert status.source.last_error.code == "WS2002"
    assert "source: WS2002" in output_of(command, "status", code=1)


def test_drop_of_a_target_forgets_it_on_both_sides(replicating: Walsync, users: Database, target: Database) -> None:
    output_of(replicating, "run", "--until-caught-up")
    text = output_of(replicating, "drop", "--target", "replica")
    assert "removed the checkpoint of target replica" in text
    assert "removed the registration of target replica" in text
    assert target.execute("SELECT * FROM walsync.checkpoint") == []
    assert users.execute("SELECT * FROM walsync.target") == []
    assert target.execute("SELECT count(*) FROM public.users") == [(2,)]
    assert slots(users) == [users.name]
    users.execute("DELETE FROM public.users WHERE id = 1")
    output_of(replicating, "run", "--until-caught-up")
    assert target.execute("SELECT * FROM public.users") == [(2, "bob")]


def test_drop_forgets_a_target_that_is_no_longer_configured(
    replicating: Walsync, users: Database, target: Database, walsync_command: NewWalsync
) -> None:
    output_of(replicating, "run", "--until-caught-up")
    renamed = walsync_command(configuration(users, target, name="other"), WALSYNC_TOKEN="")
    text = errors_of(renamed, "run", code=2)
    assert "error WS5008: " in text
    assert "walsync drop --target replica" in text
    output_of(renamed, "drop", "--target", "replica")
    assert users.execute("SELECT * FROM walsync.target") == []


def test_drop_of_a_target_that_nobody_knows_is_refused(replicating: Walsync) -> None:
    text = errors_of(replicating, "drop", "--target", "nope", code=2)
    assert text.startswith("error WS1021: there is no target nope\n")
    assert "replica" in text


def test_drop_of_a_target_that_cannot_be_reached_says_so_and_goes_on(
    replicating: Walsync, users: Database, target: Database, walsync_command: NewWalsync
) -> None:
    output_of(replicating, "run", "--until-caught-up")
    content = yaml.safe_load(configuration(users, target))
    content["targets"][0]["dsn"] = f"postgresql://u:{SECRET}@127.0.0.1:{free_port()}/app"
    lost = walsync_command(yaml.safe_dump(content), WALSYNC_TOKEN="")
    assert "removed the registration" in output_of(lost, "drop", "--target", "replica")
    assert "keeps its checkpoint" in lost.stderr.read_text()
    assert users.execute("SELECT * FROM walsync.target") == []


def test_drop_removes_everything_from_the_source_and_can_be_repeated(
    replicating: Walsync, users: Database, target: Database
) -> None:
    output_of(replicating, "run", "--until-caught-up")
    output_of(replicating, "drop")
    assert slots(users) == []
    assert publications(users) == []
    assert users.execute("SELECT * FROM walsync.target") == []
    assert target.execute("SELECT * FROM walsync.checkpoint") == []
    assert target.execute("SELECT count(*) FROM public.users") == [(2,)]
    output_of(replicating, "drop")
    output_of(replicating, "run", "--until-caught-up")
    assert target.execute("SELECT count(*) FROM public.users") == [(2,)]


def test_drop_keeps_a_publication_that_walsync_did_not_make(replicating: Walsync, users: Database) -> None:
    users.execute("CREATE PUBLICATION walsync FOR TABLE public.users")
    output_of(replicating, "run", "--until-caught-up")
    assert "kept publication walsync" in output_of(replicating, "drop")
    assert publications(users) == ["walsync"]
