"""A table that has to be written row by row must not take others along that cannot be."""

from collections.abc import Callable

import pytest
from fix_postgres import Database
from fix_walsync import Walsync

CONFIG = """
source: {{dsn: "{source}", slot: {slot}, tables: ["public.*"]}}
targets: [{{name: replica, type: postgres, dsn: "{target}"}}]
http: {{listen: ""}}
"""
SEATS = "CREATE TABLE seats (id int PRIMARY KEY, place int UNIQUE {})"
EXCHANGE_PLACES = "UPDATE seats SET place = 3 - place"  # 1 and 2: only a check at the end of the statement allows it


@pytest.fixture
def catch_up(source: Database, target: Database, walsync_command: Callable[..., Walsync]) -> Callable[[], None]:
    """Bring the target up to where the source is."""
    walsync = walsync_command(CONFIG.format(source=source.dsn, slot=source.name, target=target.dsn))

    def catch_up() -> None:
        assert walsync.run("run", "--until-caught-up", "--timeout", "30s") == 0, walsync.output

    return catch_up


def test_one_truncate_of_tables_with_and_without_a_key_does_not_divide_an_exchange_of_unique_values(
    source: Database, target: Database, catch_up: Callable[[], None]
) -> None:
    source.execute(SEATS.format("DEFERRABLE"))
    source.execute("CREATE TABLE bag (a int); ALTER TABLE bag REPLICA IDENTITY FULL; INSERT INTO bag VALUES (1)")
    source.execute("INSERT INTO seats VALUES (1, 1), (2, 2)")
    source.execute("CREATE TABLE jobs (id int PRIMARY KEY); INSERT INTO jobs VALUES (1)")
    target.execute(SEATS.format(""))
    catch_up()

    source.execute(f"{EXCHANGE_PLACES}; TRUNCATE jobs, bag; INSERT INTO jobs VALUES (2); INSERT INTO bag VALUES (3)")
    catch_up()

    assert target.execute("SELECT * FROM seats ORDER BY id") == [(1, 2), (2, 1)]
    assert target.execute("SELECT * FROM jobs") == [(2,)]
    assert target.execute("SELECT * FROM bag") == [(3,)]


def test_a_table_that_refuses_its_rows_together_goes_the_serial_road_alone(
    source: Database, target: Database, catch_up: Callable[[], None]
) -> None:
    source.execute(SEATS.format("DEFERRABLE"))
    source.execute("INSERT INTO seats VALUES (1, 1), (2, 2)")
    source.execute(
        "CREATE TABLE guests (id int PRIMARY KEY, name text UNIQUE); INSERT INTO guests VALUES (1, 'a'), (2, 'b')"
    )
    target.execute(SEATS.format(""))
    # A column of its own forbids to delete and insert its rows, so only the order of the source leads to the end.
    target.execute("CREATE TABLE guests (id int PRIMARY KEY, name text UNIQUE, remark text)")
    catch_up()

    source.execute(
        f"{EXCHANGE_PLACES}; UPDATE guests SET name = NULL WHERE id = 1;"
        " UPDATE guests SET name = 'a' WHERE id = 2; UPDATE guests SET name = 'b' WHERE id = 1"
    )
    catch_up()

    assert target.execute("SELECT * FROM seats ORDER BY id") == [(1, 2), (2, 1)]
    assert target.execute("SELECT id, name FROM guests ORDER BY id") == [(1, "b"), (2, "a")]
