"""sql/role.sql is what an administrator runs: with exactly that, and no more, walsync works."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from fix_postgres import Database

from walsync.config import load
from walsync.service import run

ROLE_SQL = Path(__file__).parents[2] / "sql" / "role.sql"


@pytest.fixture
def restricted(source: Database) -> Iterator[str]:
    source.execute("CREATE TABLE public.users (id int PRIMARY KEY, name text)")
    source.execute("CREATE TABLE public.posts (id int PRIMARY KEY, title text)")
    source.execute("INSERT INTO public.users VALUES (1, 'ann')")
    source.execute(ROLE_SQL.read_text())
    parts = urlsplit(source.dsn)
    host = parts.netloc.rpartition("@")[2]
    yield urlunsplit(parts._replace(netloc=f"walsync:change%20me@{host}"))
    source.execute("DROP PUBLICATION walsync")
    source.execute("DROP OWNED BY walsync CASCADE")
    source.execute("DROP ROLE walsync")


async def test_the_role_of_role_sql_can_do_everything_that_run_needs(
    restricted: str, target: Database, source: Database, tmp_path: Path
) -> None:
    path = tmp_path / "walsync.yaml"
    path.write_text(
        f"""
        source: {{dsn: "{restricted}", slot: "role_{os.getpid()}", tables: [public.users, public.posts]}}
        targets: [{{name: replica, type: postgres, dsn: "{target.dsn}"}}]
        http: {{listen: ""}}
        """
    )
    config = load(path, os.environ)
    assert await run(config, until_caught_up=True, timeout=60) == 0
    source.execute("UPDATE public.users SET name = 'bob'")
    assert await run(config, until_caught_up=True, timeout=60) == 0
    assert target.execute("SELECT * FROM public.users") == [(1, "bob")]
