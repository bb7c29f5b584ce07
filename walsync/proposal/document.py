"""Writes the walsync.yaml of a proposal, with a comment where a newcomer would ask. Pure."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from psycopg2.extensions import make_dsn, parse_dsn

from walsync.proposal.survey import Found, Survey

SOURCE_PASSWORD: Final = "WALSYNC_SOURCE_PASSWORD"  # noqa: S105 - the variable's name

_SECRET: Final = re.compile("password|passfile|sslkey")
_NAMES: Final = {
    "postgresql": "replica",
    "postgres": "replica",
    "sqlite": "local",
    "surrealkv": "graph",
    "mem": "graph",
}
"""What a target is called, by the scheme of its address."""

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")


@dataclass(frozen=True, slots=True)
class ProposedTarget:
    """A block of `targets`, in the order in which its keys are written, and the variables that it needs."""

    keys: Mapping[str, str]
    variables: tuple[str, ...] = ()


def source_dsn(dsn: str, role: str) -> str:
    """Write the address for `role`; its password comes from the environment."""
    return _address(dsn, SOURCE_PASSWORD, user=role)


def propose_targets(urls: Sequence[str]) -> list[ProposedTarget]:
    """Make a block for each address, under names of their own; ValueError where no kind of target has such a one."""
    proposed: list[ProposedTarget] = []
    for url in urls:
        base = _NAMES.get(url.partition("://")[0])
        if base is None:
            raise ValueError("write postgresql://..., sqlite:///path or surrealkv:///path")
        number = sum(one.keys["name"].startswith(base) for one in proposed) + 1
        proposed.append(_propose(base if number == 1 else f"{base}{number}", url))
    return proposed


def _propose(name: str, url: str) -> ProposedTarget:
    match _NAMES[url.partition("://")[0]]:
        case "local":
            return ProposedTarget({"name": name, "type": "d1", "url": url})
        case "graph":
            keys = {"name": name, "type": "surrealdb", "url": url, "namespace": "app", "database": "app"}
            return ProposedTarget(keys)
        case _:
            variable = f"WALSYNC_{name.upper()}_PASSWORD"
            if "password" not in parse_dsn(url):
                return ProposedTarget({"name": name, "type": "postgres", "dsn": url})
            return ProposedTarget({"name": name, "type": "postgres", "dsn": _address(url, variable)}, (variable,))


def write(survey: Survey, chosen: Sequence[Found], *, dsn: str, targets: Sequence[ProposedTarget]) -> str:
    """Write the file; every variable that it names has to be set where walsync runs."""
    return "\n".join(_lines(survey, chosen, dsn, targets)) + "\n"


def _lines(survey: Survey, chosen: Sequence[Found], dsn: str, targets: Sequence[ProposedTarget]) -> Iterator[str]:
    yield "# What walsync replicates: `walsync check` tries it, `walsync run` does it. Every key: conf/walsync.yaml."
    yield "# ${NAME} is taken from the environment: no password stands in this file."
    yield ""
    yield "source:"
    yield f"  dsn: {_scalar(dsn, escape=False)}"
    yield "  # The replication slot, which holds the server's WAL: `walsync run` makes it, `walsync drop` removes it."
    yield f"  slot: {survey.slot}"
    yield "  # The publication. It has to publish exactly these tables."
    yield f"  publication: {survey.publication}"
    yield "  tables:"
    for found in chosen:
        yield f"    - {_scalar(found.name)}{_about(found)}"
    yield from _left_out(survey, chosen)
    yield ""
    yield "targets:"
    for target in targets:
        yield from _block(target.keys, prefix="  ")
    yield "  # More of them, side by side; each keeps its own position:"
    proposed = {target.keys["type"] for target in targets}
    for example in _EXAMPLES:
        if example["type"] not in proposed:
            yield from _block(example, prefix="  # ")
    yield ""
    yield "http:"
    yield "  # /health, /ready, /status and /metrics. Set a token before you listen beyond this host."
    yield '  listen: "127.0.0.1:8787"'
    yield '  token: "${WALSYNC_TOKEN:-}"'


_EXAMPLES: Final = (
    {"name": "replica", "type": "postgres", "dsn": "postgresql://app:${WALSYNC_REPLICA_PASSWORD}@replica:5432/app"},
    {"name": "local", "type": "d1", "url": "sqlite:///var/lib/walsync/local.sqlite"},
    {
        "name": "graph",
        "type": "surrealdb",
        "url": "surrealkv:///var/lib/walsync/graph",
        "namespace": "app",
        "database": "app",
    },
)


def _about(found: Found) -> str:
    parts = []
    if found.rows:
        parts.append(f"about {found.rows:,} rows")
    if not found.table.key:
        parts.append("no key: each change looks for its row by all columns")
    return f"  # {'; '.join(parts)}" if parts else ""


def _left_out(survey: Survey, chosen: Sequence[Found]) -> Iterator[str]:
    names = {found.name for found in chosen}
    for found in survey.tables:
        for problem in found.problems:
            yield f"    # - {_scalar(found.name)}"
            yield f"    #   {_one_line(problem.message)}"
            yield f"    #   {_one_line(problem.hint)}"
        if not found.problems and found.name not in names:
            yield f"    # - {_scalar(found.name)}"
    for name, kind in survey.others:
        yield f"    # {_one_line(name)} cannot be replicated: {kind}, its changes are not in the WAL"


def _block(keys: Mapping[str, str], *, prefix: str) -> Iterator[str]:
    for number, (key, value) in enumerate(keys.items()):
        yield f"{prefix}{'  ' if number else '- '}{key}: {_scalar(value, escape=False)}"


def _address(dsn: str, variable: str, **changes: str) -> str:
    parts = {key: value for key, value in parse_dsn(dsn).items() if _SECRET.search(key) is None}
    parts.setdefault("host", "localhost")
    return f"{_escape(make_dsn(**{**parts, **changes}))} password='${{{variable}}}'"


def _scalar(text: str, *, escape: bool = True) -> str:
    """Write a value of YAML; `escape` keeps a ``${`` in it from being taken for a variable."""
    text = _escape(text) if escape else text
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _escape(text: str) -> str:
    return text.replace("${", "$${")


def _one_line(text: str) -> str:
    return " ".join(text.split())
