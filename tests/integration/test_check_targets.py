"""`walsync check` and the targets: every finding, provoked on real databases of each kind."""

import sqlite3
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from fix_check import PASSWORD, NewRole, configuration, problems, role_of, the_problem
from fix_postgres import Database
from fix_walsync import free_port

from walsync.check.finding import Severity
from walsync.demo.engines import PostgresServer
from walsync.target.surrealdb.settings import SurrealDBSettings
from walsync.target.surrealdb.target import SurrealDBTarget


def d1(path: Path, **keys: Any) -> Mapping[str, Any]:
    return {"name": "local", "type": "d1", "url": f"sqlite://{path}", **keys}


def surrealdb(path: Path, **keys: Any) -> Mapping[str, Any]:
    block = {"name": "graph", "type": "surrealdb", "url": f"surrealkv://{path}"}
    return {**block, "namespace": "app", "database": "app", **keys}


async def opened(block: Mapping[str, Any]) -> SurrealDBTarget:
    """Make the directory, and hold it."""
    target = SurrealDBTarget(SurrealDBSettings.model_validate(block), "other")
    await target._client.create()
    return target


def postgres(database: Database, **keys: Any) -> Mapping[str, Any]:
    return {"name": "replica", "type": "postgres", "dsn": database.dsn, **keys}


async def test_a_target_that_cannot_be_reached_is_found(users: Database) -> None:
    found = await the_problem(
        configuration(users.dsn, f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/x"), "WS4101"
    )
    assert found.where == "target replica"


async def test_a_target_that_is_the_source_is_found(users: Database) -> None:
    target = users.dsn.replace("127.0.0.1", "localhost")
    assert target != users.dsn
    found = await the_problem(configuration(users.dsn, target), "WS4904")
    assert "another database" in found.hint


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("CREATE TABLE public.users (id int PRIMARY KEY)", "WS4203"),
        ("CREATE TABLE public.users (id smallint PRIMARY KEY, name text)", "WS4204"),
        ("CREATE TABLE public.users (id int PRIMARY KEY, name text, more int NOT NULL)", "WS4205"),
        ("CREATE TABLE public.users (id int, name text)", "WS4206"),
        ("CREATE VIEW public.users AS SELECT 1 AS id, '' AS name", "WS4212"),
    ],
)
async def test_tables_that_rows_would_not_fit_are_found(
    users: Database, target: Database, statement: str, code: str
) -> None:
    target.execute(statement)
    found = await the_problem(configuration(users.dsn, target.dsn), code)
    assert found.where == "target replica"
    assert "public.users" in found.message


async def test_rights_that_a_target_s_role_lacks_are_named(
    users: Database, target: Database, new_role: NewRole
) -> None:
    dsn = new_role(target, "")
    found = await problems(configuration(users.dsn, dsn))
    assert {one.code for one in found if one.severity is Severity.ERROR} == {"WS4903"}
    assert [one.code for one in found if one.severity is Severity.WARNING] == ["WS4901"]
    target.execute("CREATE TABLE public.users (id int PRIMARY KEY, name text)")
    target.execute(f"GRANT CREATE ON DATABASE {target.name} TO {role_of(dsn)}")
    found = [one for one in await problems(configuration(users.dsn, dsn)) if one.severity is Severity.ERROR]
    assert [one.code for one in found] == ["WS4903"]
    assert f'GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON "public"."users" TO "{role_of(dsn)}"' in found[0].hint


async def test_a_role_that_may_write_is_enough_for_a_target(
    users: Database, target: Database, new_role: NewRole
) -> None:
    dsn = new_role(target, "")
    target.execute(f"GRANT CREATE ON DATABASE {target.name} TO {role_of(dsn)}")
    target.execute(f"GRANT CREATE ON SCHEMA public TO {role_of(dsn)}")
    target.execute(f"GRANT SET ON PARAMETER session_replication_role TO {role_of(dsn)}")
    assert await problems(configuration(users.dsn, dsn)) == []


@pytest.mark.parametrize(
    ("on_source", "on_target", "code", "hint"),
    [
        (
            "CREATE TYPE public.pair AS (a int, b int); CREATE TABLE public.t (id int PRIMARY KEY, p public.pair)",
            "",
            "WS4210",
            "CREATE TYPE public.pair",
        ),
        (
            "CREATE TYPE public.m AS ENUM ('ok', 'it''s'); CREATE TABLE public.t (id int PRIMARY KEY, m public.m)",
            "CREATE TYPE public.m AS ENUM ('ok')",
            "WS4211",
            "ALTER TYPE public.m ADD VALUE 'it''s'",
        ),
        (
            "CREATE TABLE public.t (id int PRIMARY KEY, n int)",
            "CREATE TABLE public.t (id int PRIMARY KEY, n int GENERATED ALWAYS AS (id + 1) STORED)",
            "WS4213",
            "DROP EXPRESSION",
        ),
        (
            "CREATE TABLE public.t (id int PRIMARY KEY, n int GENERATED ALWAYS AS (id + 1) STORED)",
            "CREATE TABLE public.t (id int PRIMARY KEY, n int)",
            "WS4214",
            'DROP COLUMN "n", ADD COLUMN "n" integer GENERATED ALWAYS AS',
        ),
    ],
    ids=["type", "label", "generated there", "generated here"],
)
async def test_columns_that_would_not_hold_the_same_are_found(
    source: Database, target: Database, on_source: str, on_target: str, code: str, hint: str
) -> None:
    source.execute(on_source)
    if on_target:
        target.execute(on_target)
    found = await the_problem(configuration(source.dsn, target.dsn, tables=["public.t"]), code)
    assert hint in found.hint


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"tables": ["public.nope"]}, "WS1023"),
        ({"match": {"name": "ann"}}, "WS1024"),
        ({"tables": ["public.users", {"table": "public.more", "rename": "public.users"}]}, "WS1025"),
    ],
    ids=str,
)
async def test_a_choice_of_tables_that_cannot_be_had_is_found(
    users: Database, target: Database, keys: Mapping[str, Any], code: str
) -> None:
    users.execute("CREATE TABLE public.more (id int PRIMARY KEY, name text)")
    found = await the_problem(configuration(users.dsn, postgres(target, **keys), tables=["public.*"]), code)
    assert found.where == "target replica"


async def test_tables_of_one_name_are_found_also_where_only_case_differs(source: Database, tmp_path: Path) -> None:
    source.execute('CREATE TABLE public.users (id int PRIMARY KEY); CREATE TABLE public."Users" (id int PRIMARY KEY)')
    tables = ["public.users", "public.Users"]
    await the_problem(configuration(source.dsn, d1(tmp_path / "local"), tables=tables), "WS1025")
    assert await problems(configuration(source.dsn, surrealdb(tmp_path / "graph"), tables=tables)) == []


async def test_a_source_that_is_away_does_not_make_a_target_s_choice_wrong(target: Database) -> None:
    dsn = f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/app"
    await the_problem(configuration(dsn, postgres(target, tables=["public.users"])), "WS2002")


async def test_rights_are_asked_for_the_names_that_tables_have_there(
    users: Database, target: Database, new_role: NewRole
) -> None:
    dsn = new_role(target, "")
    target.execute(f"GRANT CREATE ON DATABASE {target.name} TO {role_of(dsn)}")
    target.execute("CREATE SCHEMA other; CREATE TABLE other.people (id int PRIMARY KEY, name text)")
    target.execute(f"GRANT USAGE ON SCHEMA other TO {role_of(dsn)}")
    target.execute(f"GRANT SET ON PARAMETER session_replication_role TO {role_of(dsn)}")
    block = {**postgres(target), "dsn": dsn, "tables": [{"table": "public.users", "rename": "other.people"}]}
    found = await the_problem(configuration(users.dsn, block), "WS4903")
    target.execute(found.hint.removeprefix("on the target: "))
    assert await problems(configuration(users.dsn, block)) == []


async def test_an_encoding_that_lacks_characters_is_a_warning(
    users: Database, start_server: Callable[..., PostgresServer]
) -> None:
    server = start_server()
    with closing(psycopg2.connect(server.dsn())) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    found = await the_problem(configuration(users.dsn, server.dsn("latin")), "WS4905")
    assert found.severity is Severity.WARNING


@pytest.mark.parametrize(
    ("existing", "code"),
    [
        ("CREATE TABLE users (id INTEGER PRIMARY KEY) STRICT", "WS4203"),
        ("CREATE TABLE users (id INTEGER PRIMARY KEY, name INTEGER) STRICT", "WS4204"),
        ("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, more TEXT NOT NULL) STRICT", "WS4205"),
        ("CREATE TABLE users (id INTEGER, name TEXT) STRICT", "WS4206"),
        ("CREATE VIEW users AS SELECT 1 AS id, '' AS name", "WS4212"),
        ("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT AS ('x') STORED) STRICT", "WS4213"),
        ("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)", "WS4504"),
        ("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE) STRICT", "WS4505"),
    ],
)
async def test_tables_of_a_d1_database_that_rows_would_not_fit_are_found(
    users: Database, tmp_path: Path, existing: str, code: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "local")) as database:
        database.execute(existing)
    found = await the_problem(configuration(users.dsn, d1(tmp_path / "local")), code)
    assert found.where == "target local"


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("CREATE TABLE public.t (id int PRIMARY KEY, {})", "WS4501"),
        ("CREATE TABLE public._cf_t (id int PRIMARY KEY)", "WS4502"),
        ('CREATE TABLE public.t (id int PRIMARY KEY, name text, "Name" text)', "WS4503"),
    ],
)
async def test_tables_that_d1_cannot_hold_are_found(
    source: Database, tmp_path: Path, statement: str, code: str
) -> None:
    source.execute(statement.format(", ".join(f"c{number} int" for number in range(100))))
    await the_problem(configuration(source.dsn, d1(tmp_path / "local"), tables=["public.*"]), code)


async def test_a_d1_file_that_cannot_be_used_is_found(
    users: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await the_problem(configuration(users.dsn, d1(tmp_path / "absent" / "local")), "WS4101")
    (tmp_path / "text").write_text("not a database" * 100)
    await the_problem(configuration(users.dsn, d1(tmp_path / "text")), "WS4506")
    # Every Python that can run the tests has a later one.
    (tmp_path / "local").touch()
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 0))
    await the_problem(configuration(users.dsn, d1(tmp_path / "local")), "WS4507")


@pytest.mark.parametrize(
    ("existing", "code"),
    [
        ("DEFINE TABLE users SCHEMAFULL", "WS4606"),
        ("DEFINE TABLE users TYPE RELATION", "WS4607"),
        ("DEFINE TABLE users DROP", "WS4607"),
    ],
)
async def test_tables_of_a_surrealdb_database_that_would_lose_values_are_found(
    users: Database, tmp_path: Path, existing: str, code: str
) -> None:
    block = surrealdb(tmp_path / "graph")
    engine = await opened(block)
    await engine._client.do(existing, {})
    await engine.close()
    found = await the_problem(configuration(users.dsn, block), code)
    assert found.where == "target graph"


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("CREATE TABLE public._walsync (id int PRIMARY KEY)", "WS4604"),
        ("CREATE TABLE public.t (id int, id_ int, PRIMARY KEY (id, id_))", "WS4605"),
    ],
)
async def test_tables_that_surrealdb_cannot_hold_are_found(
    source: Database, tmp_path: Path, statement: str, code: str
) -> None:
    source.execute(statement)
    await the_problem(configuration(source.dsn, surrealdb(tmp_path / "graph"), tables=["public.*"]), code)


async def test_a_surrealdb_directory_that_cannot_be_used_is_found(
    users: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    await the_problem(configuration(users.dsn, surrealdb(tmp_path / "file" / "graph")), "WS4603")
    block = surrealdb(tmp_path / "graph")
    engine = await opened(block)
    await the_problem(configuration(users.dsn, block), "WS4601")
    await engine.close()
    assert await problems(configuration(users.dsn, block)) == []
    monkeypatch.setitem(sys.modules, "surrealdb._surrealdb_ext", None)
    await the_problem(configuration(users.dsn, block), "WS4602")
