"""What ALTER ROLE and ALTER DATABASE set never reaches the text of values."""

import contextlib
import uuid
from collections.abc import Iterator

import psycopg2
import pytest
from fix_postgres import Database
from psycopg2.extensions import make_dsn

from walsync.postgres import Connection, connect

SETTINGS = {
    "datestyle": "German, DMY",
    "intervalstyle": "iso_8601",
    "bytea_output": "escape",
    "timezone": "'Asia/Kolkata'",
    "extra_float_digits": "-5",
    "search_path": "odd, public",
}
VALUES = """
SELECT '2024-02-29'::date::text, '2024-02-29 12:00:00.5+00'::timestamptz::text,
       '1 year -2 days 03:04:05'::interval::text,
       '\\x5c00ff'::bytea::text, (0.1::float8 + 0.2)::text, 0.123456::float4::text, 'odd.mood'::regtype::text,
       '[2024-02-29 12:00:00+00,)'::tstzrange::text
"""
EXPECTED = (
    "2024-02-29",
    "2024-02-29 12:00:00.5+00",
    "1 year -2 days +03:04:05",
    "\\x5c00ff",
    "0.30000000000000004",
    "0.123456",
    "odd.mood",
    '["2024-02-29 12:00:00+00",)',
)


@pytest.fixture
def role(source: Database) -> Iterator[str]:
    """A role for which everything is set otherwise."""
    name = f"odd_{uuid.uuid4().hex[:12]}"
    source.execute("CREATE SCHEMA odd")
    source.execute("CREATE TYPE odd.mood AS ENUM ('sad')")
    source.execute(f"CREATE ROLE {name} LOGIN")
    source.execute(f"GRANT USAGE ON SCHEMA odd TO {name}")
    yield name
    source.execute(f"DROP OWNED BY {name}")
    source.execute(f"DROP ROLE {name}")


def printed(session: Connection, *before: str) -> tuple[str, ...]:
    with contextlib.closing(session), session.cursor() as cursor:
        for statement in before:
            cursor.execute(statement)
        cursor.execute(VALUES)
        return tuple(cursor.fetchall()[0])


@pytest.mark.parametrize("owner", ["ROLE {role}", "DATABASE {database}", "ROLE {role} IN DATABASE {database}"])
def test_settings_of_a_role_or_database_never_leak_into_values(source: Database, role: str, owner: str) -> None:
    for name, value in SETTINGS.items():
        source.execute(f"ALTER {owner.format(role=role, database=source.name)} SET {name} = {value}")
    dsn = make_dsn(source.dsn, user=role)
    # psycopg2 sets an ISO datestyle by itself; the other settings bite where nobody pins them.
    odd = printed(psycopg2.connect(dsn), "RESET datestyle")
    assert [one for one in odd if one in EXPECTED] == []
    assert printed(connect(dsn, application_name="walsync test")) == EXPECTED
