"""The server that prints values for the tests of `test_values_*.py`; one database for all of them."""

import contextlib
from collections.abc import Callable, Iterator

import pytest
from fix_postgres import Database
from property.value_families import SETUP

from walsync.demo.engines import PostgresServer
from walsync.postgres import Connection, connect

# It has contrib and XML, which the servers from the wheel lack.
VERSION = 17


@pytest.fixture(scope="session")
def values_session(postgres_servers: Callable[[int], PostgresServer]) -> Iterator[Connection]:
    """Return a session as walsync opens it, in a database with all the types."""
    database = Database(postgres_servers(VERSION))
    with contextlib.ExitStack() as stack:
        stack.callback(database.drop)
        session = stack.enter_context(contextlib.closing(connect(database.dsn, application_name="walsync test")))
        for statement in SETUP:
            with session.cursor() as cursor:
                cursor.execute(statement)
        yield session
