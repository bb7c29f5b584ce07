"""Every command of README and docs is run as it stands there, or says above itself why not; links lead somewhere."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from fix_documents import COMMANDS, DOCUMENTS, REPOSITORY, Block, blocks, clone, fits, loose_commands, masked, run
from fix_postgres import Database
from fix_walsync import free_port

from walsync.config import InvalidConfiguration, load
from walsync.demo.engines import PostgresServer

SECONDS = 120
EXAMPLE = "docker/source.sql"
REST = {
    "source": {"dsn": "postgresql://db/app", "tables": ["public.users"]},
    "targets": [{"name": "replica", "type": "postgres", "dsn": "postgresql://replica/app"}],
}


def to_run(path: Path) -> list[tuple[Block, Block | None]]:
    """List the blocks that are run, each with what it has to print."""
    found = blocks(path.read_text(encoding="utf-8"))
    following = itertools.chain(found[1:], [None])
    return [
        (one, after if after is not None and after.follows and not after.language else None)
        for one, after in zip(found, following, strict=False)
        if one.language == "sh" and not one.is_excused
    ]


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


RUN = [path for path in DOCUMENTS if to_run(path)]


def test_readme_and_getting_started_have_commands_that_are_run() -> None:
    assert {REPOSITORY / "README.md", REPOSITORY / "docs" / "getting-started.md"} <= set(RUN)


def test_readme_quotes_the_recorded_demo() -> None:
    found = blocks((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    [at] = [number for number, one in enumerate(found) if "make demo" in one.text]
    recorded = (REPOSITORY / "docs" / "demo.md").read_text(encoding="utf-8").splitlines()
    quoted = found[at + 1].text.splitlines()
    assert quoted
    assert [line for line in quoted if line not in recorded] == [], "docs/demo.md has another run"


@pytest.mark.parametrize("path", RUN, ids=name_of)
def test_the_commands_of_a_document_print_what_it_says(
    path: Path, start_server: Callable[..., PostgresServer], target: Database, tmp_path: Path
) -> None:
    source = start_server(18)
    clone(tmp_path)
    environment = {"ADMIN_DSN": source.dsn(), "REPLICA_DSN": target.dsn}
    parts = to_run(path)
    commands = [block.text for block, _ in parts]
    if not any(EXAMPLE in command for command in commands):
        run([f'psql "$ADMIN_DSN" -f {EXAMPLE}'], tmp_path, environment, timeout=SECONDS)  # a database that has tables
    printed = run(commands, tmp_path, environment, port=free_port(), timeout=SECONDS)
    for (block, expected), text in zip(parts, printed, strict=True):
        if expected is not None:
            assert fits(masked(expected.text), masked(text)), f"{name_of(path)}:{block.line} printed:\n{text}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_no_command_stands_where_nothing_runs_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    neither = [one.line for one in blocks(text) if one.language in COMMANDS - {"sh"} and not one.is_excused]
    assert neither == [], "only ```sh is run; write it so, or put <!-- not run: REASON --> above"
    assert loose_commands(text) == [], "commands belong into ```sh"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_a_configuration_in_a_document_is_one(path: Path, tmp_path: Path) -> None:
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.language == "yaml" and not block.is_excused:
            missing = {key: REST[key] for key in REST if f"{key}:" not in block.text.splitlines()}
            file = tmp_path / "walsync.yaml"
            file.write_text(f"{block.text}\n{yaml.safe_dump(missing)}")
            variables = re.findall(r"\$\{(\w+)\}", block.text)
            try:
                load(file, dict.fromkeys(variables, "host=of-a-document"))
            except InvalidConfiguration as error:
                pytest.fail(f"{name_of(path)}:{block.line}: {[str(one) for one in error.problems]}")


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), link
        assert not anchor or anchor in anchors(there), link


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_blocks_are_found_with_what_excuses_and_follows_them() -> None:
    run_and_printed = "```sh\nx\n```\n\n```\nout\n```\n"
    text = f"a\n<!-- not run: why -->\n{run_and_printed}text\n```\nother\n```\n<!-- not run: -->\n```sh\ny\n```"
    found = [(one.language, one.text, one.is_excused, one.follows) for one in blocks(text)]
    assert found == [
        ("sh", "x", True, False),
        ("", "out", False, True),
        ("", "other", False, False),
        ("sh", "y", False, False),
    ]


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("at 0/1A, 2 B", "at FF/2,  17.5 kB", True),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("a\n...", "a\nb\nc", True),
        ("a\n...\nd", "a\nb\nc", False),
        ("rows 5", "rows 6", False),
        ("a", "a\nb", False),
    ],
)
def test_what_is_printed_is_compared_but_for_what_always_differs(expected: str, printed: str, *, same: bool) -> None:
    assert fits(masked(expected), masked(printed)) is same
