import os
from collections.abc import Callable, Mapping
from pathlib import Path
from traceback import format_exception

import pytest
from pydantic import ValidationError

from walsync.config import Config, InvalidConfiguration, Problem, load
from walsync.http.settings import HttpSettings
from walsync.settings import Settings
from walsync.source.settings import TableSettings
from walsync.target.postgres.settings import PostgresSettings

SECRET = "hunter2-very-secret"
SHIPPED = Path(__file__).parents[2] / "conf" / "walsync.yaml"

SOURCE_DSN = f"postgresql://u:{SECRET}@db/app"
SOURCE = f'source: {{dsn: "{SOURCE_DSN}", tables: [public.users]}}\n'
TARGETS = f'targets: [{{name: replica, type: postgres, dsn: "postgresql://u:{SECRET}@replica/app"}}]\n'
TWICE = TARGETS.rstrip("]\n") + ", {name: replica, type: postgres, dsn: 'host=x'}]\n"
VALID = SOURCE + TARGETS

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "walsync.yaml"
        path.write_text(text)
        return path

    return write


def problems_of(path: Path | None, environ: Mapping[str, str] | None = None) -> tuple[Problem, ...]:
    with pytest.raises(InvalidConfiguration) as raised:
        load(path, environ or {})
    everything = f"{raised.value} {raised.value!r} {raised.value.problems!r} {''.join(format_exception(raised.value))}"
    assert SECRET not in everything
    return raised.value.problems


def the_problem_of(path: Path | None, environ: Mapping[str, str] | None = None) -> Problem:
    found = problems_of(path, environ)
    assert len(found) == 1, found
    return found[0]


def test_a_small_file_is_completed_with_the_defaults(write: Write) -> None:
    config = load(write(VALID), {})
    assert (config.source.slot, config.source.publication) == ("walsync", "walsync")
    assert config.backlog.max_bytes == config.batch.idle_checkpoint_bytes == 64 * 1024**2
    assert (config.batch.transactions, config.batch.idle_checkpoint_seconds) == (0, 60)
    assert config.http.address == ("127.0.0.1", 8787)
    assert config.http.token.get_secret_value() == ""
    [target] = config.targets
    assert isinstance(target, PostgresSettings)
    assert target.dsn.get_secret_value() == f"postgresql://u:{SECRET}@replica/app"


def test_the_configuration_cannot_be_changed(write: Write) -> None:
    config = load(write(VALID), {})
    with pytest.raises(ValidationError):
        config.source.slot = "other"


def test_no_secret_stands_in_repr_or_dump(write: Write) -> None:
    config = load(write(VALID + f"http: {{token: {SECRET}, webhook_secret: {SECRET}}}\n"), {})
    assert config.http.token.get_secret_value() == SECRET
    for text in (repr(config), str(config), str(config.model_dump(mode="json")), str(config.model_dump())):
        assert SECRET not in text
    assert config.model_dump(mode="json")["source"]["dsn"] == "user=u password=**** dbname=app host=db"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"A": "one"}, "one"),
        ({"A": "no: [structure]\n- here"}, "no: [structure]\n- here"),
        ({"A": "${B}", "B": "not again"}, "${B}"),
    ],
)
def test_a_variable_is_filled_in_after_parsing(write: Write, environ: Mapping[str, str], expected: str) -> None:
    config = load(write(VALID + "http: {token: '${A}'}\n"), environ)
    assert config.http.token.get_secret_value() == expected


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("'${A:-dflt}'", {}, "dflt"),
        ("'${A:-dflt}'", {"A": ""}, "dflt"),
        ("'${A:-dflt}'", {"A": "set"}, "set"),
        ("'${A:-}'", {}, ""),
        ("'${A}'", {"A": ""}, ""),
        ("'x${A}y${B:-b}z'", {"A": "a"}, "xaybz"),
        ("'$${A} and $A'", {"A": "a"}, "${A} and $A"),
        ("'$${A}${A}'", {"A": "a"}, "${A}a"),
    ],
)
def test_variables_have_defaults_and_can_be_escaped(
    write: Write, text: str, environ: Mapping[str, str], expected: str
) -> None:
    assert load(write(VALID + f"http: {{token: {text}}}\n"), environ).http.token.get_secret_value() == expected


def test_a_variable_may_be_a_number(write: Write) -> None:
    config = load(
        write(VALID + "batch: {transactions: '${N}'}\nbacklog:\n  max_bytes: ${SIZE}\n"), {"N": "7", "SIZE": "1GB"}
    )
    assert config.batch.transactions == 7
    assert config.backlog.max_bytes == 1024**3


def test_a_missing_variable_is_named_with_its_key(write: Write) -> None:
    found = the_problem_of(write(VALID + "http:\n  token: ${WALSYNC_TOKEN}\n"))
    assert found.code == "WS1006"
    assert "WALSYNC_TOKEN" in found.message
    assert found.where.endswith("walsync.yaml:4: http.token")
    assert "${WALSYNC_TOKEN:-}" in found.hint


@pytest.mark.parametrize("text", ["${", "${A", "${}", "${1A}", "${A-b}", "${A:-${B}}", "${A B}"])
def test_a_dollar_brace_that_is_no_variable_is_refused(write: Write, text: str) -> None:
    found = the_problem_of(write(VALID + f"http: {{token: '{text}'}}\n"), {"A": "a", "B": "b"})
    assert (found.code, found.where.split(": ")[1]) == ("WS1007", "http.token")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "no.yaml"
    assert the_problem_of(missing).code == "WS1002"
    assert the_problem_of(None, {"WALSYNC_CONFIG": str(missing)}).where == str(missing)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "walsync.yaml"
    path.write_bytes(b"source: \xff\xfe")
    assert the_problem_of(path).code == "WS1002"
    assert the_problem_of(tmp_path).code == "WS1002"


def test_without_a_file_the_places_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = the_problem_of(None)
    assert found.code == "WS1001"
    for place in ("-c FILE", "$WALSYNC_CONFIG", "/config/walsync.yaml", "./conf/walsync.yaml", "./walsync.yaml"):
        assert place in found.message


def test_the_places_are_tried_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    (tmp_path / "walsync.yaml").write_text(VALID + "batch: {transactions: 1}")
    assert load(None, {}).batch.transactions == 1
    (tmp_path / "conf" / "walsync.yaml").write_text(VALID + "batch: {transactions: 2}")
    assert load(None, {}).batch.transactions == 2
    (tmp_path / "named.yaml").write_text(VALID + "batch: {transactions: 3}")
    assert load(None, {"WALSYNC_CONFIG": "named.yaml"}).batch.transactions == 3
    (tmp_path / "given.yaml").write_text(VALID + "batch: {transactions: 4}")
    assert load(Path("given.yaml"), {"WALSYNC_CONFIG": "named.yaml"}).batch.transactions == 4


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("source:\n  dsn: a: b\n", 2),
        ("source: [1, 2\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
        (f"http:\n  token: @{SECRET}\n", 2),
        (f"http:\n  token: *{SECRET}\n", 2),
        (f"http:\n  token: !{SECRET} x\n", 2),
        (f"http:\n  token: !{SECRET}\n", 2),
        ("? [a, b]\n: c\n", 1),
        ("a: !!python/object:os.system x\n", 1),
        ("<<: 5\n", 1),
    ],
)
def test_what_is_not_yaml_is_refused_with_its_line(write: Write, text: str, line: int) -> None:
    found = problems_of(write(text))[0]
    assert found.code == "WS1003"
    assert f"walsync.yaml:{line}" in found.where


def test_control_characters_and_endless_nesting_are_refused(write: Write) -> None:
    assert the_problem_of(write("a: \x01")).code == "WS1003"
    assert the_problem_of(write("[" * 1500)).code == "WS1003"


def test_a_file_that_contains_itself_is_refused(write: Write) -> None:
    assert {found.code for found in problems_of(write("source: &a {source: *a}\n" + TARGETS))} <= {"WS1008", "WS1009"}


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "just text\n", "~\n"])
def test_a_file_without_keys_is_refused(write: Write, text: str) -> None:
    assert the_problem_of(write(text)).code == "WS1004"


def test_a_key_that_stands_twice_is_refused_with_both_lines(write: Write) -> None:
    found = the_problem_of(write(VALID + "http:\n  listen: ''\n  token: x\n  listen: ''\n"))
    assert found.code == "WS1005"
    assert found.where.endswith("walsync.yaml:6: http.listen")
    assert "line 4" in found.message


def test_scalars_are_what_they_look_like(write: Write) -> None:
    target = TARGETS.replace("replica,", "no,")
    config = load(
        write(SOURCE.replace("[public.users]", "[{table: public.t, columns: [on, 1e3, 012, 2024-01-01]}]") + target), {}
    )
    assert config.targets[0].name == "no"
    assert config.source.tables[0].columns == ("on", "1e3", "012", "2024-01-01")


def test_anchors_and_merge_keys_work(write: Write) -> None:
    text = SOURCE + (
        "targets:\n"
        "  - &base {name: one, type: postgres, dsn: 'postgresql://a/app'}\n"
        "  - {<<: *base, name: two}\n"
        "  - {<<: *base, name: three, dsn: 'postgresql://b/app'}\n"
    )
    assert [target.name for target in load(write(text), {}).targets] == ["one", "two", "three"]


def test_null_and_empty_switch_http_off(write: Write) -> None:
    for listen in ("", "null", "~", '""'):
        assert load(write(VALID + f"http: {{listen: {listen}}}\n"), {}).http.address is None


@pytest.mark.parametrize(
    ("listen", "address"),
    [("10.0.0.1:80", ("10.0.0.1", 80)), ("[::1]:8787", ("::1", 8787)), ("localhost:0", ("localhost", 0))],
)
def test_addresses_are_read(listen: str, address: tuple[str, int]) -> None:
    assert HttpSettings(listen=listen).address == address


@pytest.mark.parametrize("listen", ["8787", ":8787", "localhost", "a:b", "a:65536", "::1:80", "http://a:1"])
def test_what_is_no_address_is_refused(write: Write, listen: str) -> None:
    found = the_problem_of(write(VALID + f"http: {{listen: '{listen}'}}\n"))
    assert (found.code, found.where.split(": ")[1]) == ("WS1017", "http.listen")


@pytest.mark.parametrize(
    ("text", "code", "key", "hint"),
    [
        (SOURCE + TARGETS.replace("dsn", "dns"), "WS1008", "targets[0].dns", "did you mean dsn?"),
        (VALID.replace("tables", "tabels"), "WS1008", "source.tabels", "did you mean tables?"),
        (VALID + "sorce: {}\n", "WS1008", "sorce", "did you mean source?"),
        (VALID + "http: {xyz: 1}\n", "WS1008", "http.xyz", "known here: listen, token, webhook_secret"),
        (VALID.replace("public.users", "{table: a.b, cols: [c]}"), "WS1008", "source.tables[0].cols", "columns"),
        (SOURCE, "WS1009", "targets", "conf/walsync.yaml"),
        (TARGETS, "WS1009", "source", "conf/walsync.yaml"),
        (SOURCE + "targets: [{type: postgres, dsn: 'host=x'}]", "WS1009", "targets[0].name", "conf/walsync.yaml"),
        (SOURCE + "targets: [{name: a, dsn: x}]", "WS1010", "targets[0].type", "types known here: "),
        (SOURCE + "targets: [{name: a, type: postgers}]", "WS1010", "targets[0].type", "did you mean postgres?"),
        (SOURCE + "targets: [{name: a, type: oracle}]", "WS1010", "targets[0].type", "types known here: "),
        (SOURCE + TWICE, "WS1011", "targets[1].name", "its own name"),
        (VALID.replace("@db/app", "%zz@db/app"), "WS1012", "source.dsn", "%40"),
        (VALID.replace("@db/app", "@[db/app"), "WS1012", "source.dsn", "%40"),
        (VALID.replace("@db/app", "@db:port/app"), "WS1012", "source.dsn", "%40"),
        (VALID.replace(SOURCE_DSN, ""), "WS1012", "source.dsn", "postgresql://"),
        (SOURCE + TARGETS.replace("postgresql://", "postgress://"), "WS1012", "targets[0].dsn", "postgresql://"),
        (VALID.replace("@db/app", "@db/app?replication=database"), "WS1012", "source.dsn", "remove"),
        (VALID.replace("tables", "slot: Main, tables"), "WS1013", "source.slot", "walsync_hold"),
        (VALID.replace("tables", f"slot: {'s' * 51}, tables"), "WS1013", "source.slot", "63"),
        (VALID.replace("tables", "slot: '', tables"), "WS1013", "source.slot", "63"),
        (VALID.replace("tables", f"publication: {'ä' * 32}, tables"), "WS1014", "source.publication", "leave it out"),
        (VALID.replace("public.users", "users"), "WS1015", "source.tables[0].table", "schema.table"),
        (VALID.replace("public.users", "a.b.c"), "WS1015", "source.tables[0].table", "quote"),
        (VALID.replace("public.users", "public.users, a.b, public.users"), "WS1015", "source.tables[2]", "keep one"),
        (VALID.replace("public.users", "{table: a.b, columns: []}"), "WS1015", "source.tables[0].columns", "leave"),
        (VALID.replace("public.users", "{table: a.b, columns: [x, x]}"), "WS1015", "source.tables[0].columns", "leave"),
        (VALID.replace("public.users", "{table: a.b, where: ' '}"), "WS1015", "source.tables[0].where", "leave"),
        (VALID.replace("public.users", "{table: a.*, where: id > 0}"), "WS1015", "source.tables[0]", "its own entry"),
        (VALID.replace("[public.users]", "[]"), "WS1016", "source.tables", "at least one"),
        (SOURCE + "targets: []", "WS1016", "targets", "at least one"),
        (VALID + "backlog: {max_bytes: 64 megs}\n", "WS1018", "backlog.max_bytes", "64MB"),
        (VALID + "batch: {idle_checkpoint_seconds: soon}\n", "WS1018", "batch.idle_checkpoint_seconds", "25s"),
        (VALID + "backlog: {max_bytes: 1kB}\n", "WS1019", "backlog.max_bytes", "conf/walsync.yaml"),
        (VALID + "batch: {transactions: -1}\n", "WS1019", "batch.transactions", "conf/walsync.yaml"),
        (VALID + "batch: {transactions: many}\n", "WS1019", "batch.transactions", "conf/walsync.yaml"),
        (VALID + "batch: [transactions]\n", "WS1019", "batch", "conf/walsync.yaml"),
        (SOURCE + "targets: [replica]\n", "WS1019", "targets[0]", "conf/walsync.yaml"),
        (SOURCE + TARGETS.replace("name: replica", "name: 'A b'"), "WS1019", "targets[0].name", "conf/walsync.yaml"),
        (SOURCE + TARGETS.replace("@replica/app", "@db/app"), "WS1020", "targets[0].dsn", "another database"),
        (SOURCE + TARGETS.replace("u:", "other:").replace("@replica/", "@DB:5432/"), "WS1020", "targets[0].dsn", ""),
    ],
)  # fmt: skip
def test_every_mistake_has_its_code_key_and_hint(write: Write, text: str, code: str, key: str, hint: str) -> None:
    found = [one for one in problems_of(write(text)) if one.code == code]
    assert len(found) == 1, found
    assert found[0].where.endswith(f": {key}")
    assert hint in found[0].hint


def test_all_mistakes_come_in_one_report_in_the_order_of_the_file(write: Write) -> None:
    text = (
        "source:\n  slot: NO\n  dsn: 'host=a'\n  tables: [nope]\n"
        "targets:\n  - name: a\n    type: postgres\n    dns: x\n  - type: what\n"
        "htp: {}\n"
    )
    found = [(one.code, one.where.rsplit(": ", 1)[1]) for one in problems_of(write(text))]
    assert found == [
        ("WS1013", "source.slot"),
        ("WS1015", "source.tables[0].table"),
        ("WS1009", "targets[0].dsn"),
        ("WS1008", "targets[0].dns"),
        ("WS1010", "targets[1].type"),
        ("WS1008", "htp"),
    ]


def test_a_report_of_several_problems_reads_as_one_error(write: Write) -> None:
    with pytest.raises(InvalidConfiguration, match=r"^WS1009: .*source.* \(and 1 more\) \(hint: ") as raised:
        load(write("{}"), {})
    assert (raised.value.exit_code, raised.value.code) == (2, "WS1009")


@pytest.mark.parametrize(
    ("written", "schema", "table"),
    [
        ("public.users", "public", "users"),
        ("Public.Üsers", "Public", "Üsers"),
        ("media.*", "media", None),
        ('"a.b"."c.d"', "a.b", "c.d"),
        ('s."say ""hi"""', "s", 'say "hi"'),
        ('s."*"', "s", "*"),
        ("s.my table", "s", "my table"),
    ],
)
def test_tables_are_named_as_in_the_catalogue(written: str, schema: str, table: str | None) -> None:
    settings = TableSettings(table=written)
    assert (settings.schema_name, settings.table_name) == (schema, table)


def test_the_shipped_file_loads_with_and_without_its_variables() -> None:
    assert load(SHIPPED, {}).targets[0].name == "replica"
    environ = {
        "WALSYNC_SOURCE_DSN": "host=source dbname=app",
        "WALSYNC_TARGET_DSN": "host=target dbname=app",
        "WALSYNC_TOKEN": "t",
        "WALSYNC_WEBHOOK_SECRET": "w",
    }
    config = load(SHIPPED, environ)
    assert config.source.dsn.get_secret_value() == "host=source dbname=app"
    assert config.http.webhook_secret.get_secret_value() == "w"


def test_the_shipped_file_states_the_defaults() -> None:
    config = load(SHIPPED, {})
    assert config.backlog == type(config.backlog)()
    assert config.batch == type(config.batch)()
    assert config.http == type(config.http)()
    assert (config.source.slot, config.source.publication) == ("walsync", "walsync")


def test_the_shipped_file_names_every_key() -> None:
    text = SHIPPED.read_text()
    keys = {field for model in _models(Settings) for field in model.model_fields}
    assert {key for key in keys if f"{key}: " not in text and f"{key}:\n" not in text} == set()


def test_every_key_is_documented_in_the_schema() -> None:
    schema = Config.model_json_schema()
    for name, definition in [("Config", schema), *schema["$defs"].items()]:
        for key, content in definition["properties"].items():
            assert "$ref" in content or content.get("description"), f"{name}.{key}"


def test_loading_does_not_look_at_the_process_environment(write: Write) -> None:
    assert "PATH" in os.environ
    assert the_problem_of(write(VALID + "http: {token: '${PATH}'}\n")).code == "WS1006"


def _models(base: type[Settings]) -> list[type[Settings]]:
    return [base, *(model for child in base.__subclasses__() for model in _models(child))]
