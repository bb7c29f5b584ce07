"""COPY TO STDOUT in chunks of whole rows: in C and in Python alike, and errors are the server's."""

from contextlib import closing

import psycopg2
import pytest
from fix_postgres import Database
from psycopg2 import errors as pg

from walsync.postgres import Connection, connect
from walsync.source import copy_out
from walsync.source.copy_out import Chunk, CopyOut, cancellation, read_rows_in_python

ROWS = b"COPY (SELECT i, repeat('x', i % 50) FROM generate_series(1, 5000) AS i) TO STDOUT"


@pytest.fixture(params=[vars(copy_out)["read_rows"], read_rows_in_python], ids=["fastest", "python"])
def read_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_out, "read_rows", request.param)


def session(source: Database) -> "closing[Connection]":
    return closing(connect(source.dsn, application_name="test"))


def chunks(connection: Connection, statement: bytes, wanted: int) -> list[bytes]:
    copying = CopyOut(connection, statement)
    found = list(iter(lambda: copying.read(wanted), Chunk(b"", 0)))
    assert all(chunk.rows == chunk.lines.count(b"\n") for chunk in found)
    return [chunk.lines for chunk in found]


@pytest.mark.usefixtures("read_rows")
@pytest.mark.parametrize("wanted", [1, 1000, 10**6])
def test_chunks_are_whole_rows_and_all_of_them(source: Database, wanted: int) -> None:
    with session(source) as connection:
        found = chunks(connection, ROWS, wanted)
        assert all(chunk.endswith(b"\n") for chunk in found)
        assert all(len(chunk) < wanted + 60 for chunk in found)
        assert all(len(chunk) >= wanted for chunk in found[:-1])
        assert b"".join(found) == b"".join(b"%d\t%s\n" % (i, b"x" * (i % 50)) for i in range(1, 5001))
        with connection.cursor() as cursor:  # the connection is psycopg2's again
            cursor.execute("SELECT 1")
            assert cursor.fetchall() == [(1,)]


@pytest.mark.usefixtures("read_rows")
@pytest.mark.parametrize("size", [6_000, 100_000])
def test_a_row_larger_than_a_chunk_comes_whole(source: Database, size: int) -> None:
    with session(source) as connection:
        statement = f"COPY (SELECT repeat('x', i * {size}) FROM generate_series(1, 9) AS i) TO STDOUT"
        found = chunks(connection, statement.encode(), 1000)
    assert [len(chunk) for chunk in found] == [i * size + 1 for i in range(1, 10)]


@pytest.mark.usefixtures("read_rows")
def test_no_rows_are_no_chunks(source: Database) -> None:
    with session(source) as connection:
        assert chunks(connection, b"COPY (SELECT 1 WHERE false) TO STDOUT", 1000) == []


@pytest.mark.usefixtures("read_rows")
def test_what_the_server_refuses_is_its_own_error(source: Database) -> None:
    with session(source) as connection:
        with pytest.raises(pg.UndefinedTable, match="nowhere"):
            CopyOut(connection, b"COPY nowhere TO STDOUT")
        with pytest.raises(psycopg2.OperationalError):
            CopyOut(connection, b"SELECT 1")
        copying = CopyOut(connection, b"COPY (SELECT 1 / (900 - i) FROM generate_series(1, 1000) AS i) TO STDOUT")
        with pytest.raises(pg.DivisionByZero):
            list(iter(lambda: copying.read(100), Chunk(b"", 0)))
        assert b"".join(chunks(connection, b"COPY (SELECT 1) TO STDOUT", 100)) == b"1\n"


@pytest.mark.usefixtures("read_rows")
def test_a_session_that_is_ended_is_an_operational_error(source: Database) -> None:
    with session(source) as connection:
        copying = CopyOut(connection, b"COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT")
        source.execute("SELECT pg_terminate_backend(%s)", connection.info.backend_pid)
        with pytest.raises(psycopg2.OperationalError):
            list(iter(lambda: copying.read(10**6), Chunk(b"", 0)))


@pytest.mark.usefixtures("read_rows")
def test_a_copy_can_be_cancelled_from_outside(source: Database) -> None:
    with session(source) as connection:
        copying = CopyOut(connection, b"COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT")
        cancellation(connection)()
        with pytest.raises(pg.QueryCanceled):
            list(iter(lambda: copying.read(10**6), Chunk(b"", 0)))
