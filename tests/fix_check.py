"""What the tests of `walsync check` share: a configuration, roles, and the doctor's findings."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from fix_postgres import Database
from psycopg2.extensions import make_dsn

from walsync.check.doctor import examine
from walsync.check.finding import Finding, Severity
from walsync.check.reasons import REASONS
from walsync.config import Config

PASSWORD = "hunter2-very-secret"

NewRole = Callable[..., str]


def configuration(
    source: str,
    *targets: str | Mapping[str, Any],
    tables: Sequence[Any] = ("public.users",),
    http: Mapping[str, str] | None = None,
    **keys: str,
) -> Config:
    """Make a configuration; a target is a block of the file, or the DSN of a Postgres target called replica."""
    return Config.model_validate(
        {
            "source": {"dsn": source, "tables": list(tables), "slot": f"check_{uuid.uuid4().hex[:12]}", **keys},
            "targets": [
                {"name": "replica", "type": "postgres", "dsn": one} if isinstance(one, str) else dict(one)
                for one in targets
            ],
            "http": http or {"listen": ""},
        }
    )


async def problems(config: Config) -> list[Finding]:
    """Return what the doctor finds, without what is as it should be."""
    report = await examine(config)
    assert PASSWORD not in repr(report)
    return [finding for finding in report.findings if finding.severity is not Severity.OK]


async def the_problem(config: Config, code: str) -> Finding:
    """Return the one problem that there is, which says everything that a finding has to say."""
    found = await problems(config)
    assert [finding.code for finding in found] == [code], found
    assert found[0].message
    assert found[0].hint
    assert found[0].why == REASONS[code]
    return found[0]


@pytest.fixture
def users(source: Database) -> Database:
    """Return the source with one table that can be replicated."""
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY, name text)")
    return source


@pytest.fixture
def new_role(source: Database, target: Database) -> Iterator[NewRole]:
    """Make roles: `new_role(source, "REPLICATION")` returns the DSN of one."""
    made: list[tuple[Database, str]] = []

    def make(database: Database, options: str = "REPLICATION") -> str:
        name = f"role_{uuid.uuid4().hex[:12]}"
        database.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' {options}")
        made.append((database, name))
        return make_dsn(database.dsn, user=name, password=PASSWORD)

    assert source.server is not target.server
    yield make
    for database, name in made:
        database.execute(f"DROP OWNED BY {name} CASCADE")
        database.execute(f"DROP ROLE {name}")


def role_of(dsn: str) -> str:
    """Return the name of a role that `new_role` made."""
    return dsn.partition("user=")[2].partition(" ")[0]
