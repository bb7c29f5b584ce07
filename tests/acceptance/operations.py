"""What the writers of the acceptance run do to the tables of the zoo."""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from acceptance.zoo import KEYED, KEYLESS, TABLES, TRUNCATED_TOGETHER, Column, Table

from walsync.demo.workload import Operation, Transaction
from walsync.identifier import quote

FIRST_ROWS = 120
APPENDED_AT_ONCE = 20
TWO = 2

Key = tuple[str, ...]


def operations() -> list[Operation]:
    """Return all operations with their weights."""
    keyed: Sequence[tuple[float, Callable[[Table, Transaction, Random], None]]] = (
        (6, insert),
        (2, upsert),
        (8, update),
        (1, touch),
        (3, change_key),
        (1, swap_keys),
        (2, delete),
        (1, delete_and_insert),
        (0.3, update_all),
    )
    made = [Operation(weight, partial(run, table)) for table in KEYED for weight, run in keyed]
    for table in KEYLESS:
        made.append(Operation(8, partial(append, table)))
        if not table.append_only:
            made += [Operation(8, partial(update_any, table)), Operation(5, partial(delete_any, table))]
    made += [Operation(0.25, partial(truncate, names)) for names in TRUNCATED_TOGETHER]
    made += [Operation(6, swap_places), Operation(6, swap_guests), Operation(3, move_places)]
    return made


def fill(transaction: Transaction, random: Random) -> None:
    """Give every table its first rows."""
    for table in TABLES:
        for _ in range(min(FIRST_ROWS, table.rows)):
            (insert if table.key else append)(table, transaction, random)


def insert(table: Table, transaction: Transaction, random: Random) -> None:
    if transaction.query(f"SELECT count(*) FROM {table.sql}")[0][0] >= table.rows:
        delete(table, transaction, random)
    # Without a name ON CONFLICT covers all constraints, which a deferrable one does not allow.
    where = "" if table.name != "seats" else "(id)"
    _carefully(table, partial(_insert, table, f"ON CONFLICT {where} DO NOTHING"), transaction, random)


def upsert(table: Table, transaction: Transaction, random: Random) -> None:
    others = table.others
    settings = ", ".join(f"{_name(column)} = excluded.{_name(column)}" for column in others)
    key = ", ".join(_name(column) for column in table.key_columns)
    rest = f"ON CONFLICT ({key}) DO " + (f"UPDATE SET {settings}" if others else "NOTHING")
    _carefully(table, partial(_insert, table, rest), transaction, random)


def update(table: Table, transaction: Transaction, random: Random) -> None:
    """Change some columns of some rows; the others' large values are not sent."""
    for key in _pick(table, transaction, random, random.choice((1, 1, 1, 4))):
        if not table.others:
            touch(table, transaction, random)
            continue
        columns = random.sample(table.others, random.randint(1, min(3, len(table.others))))
        _carefully(table, partial(_set, table, columns, key), transaction, random)


def touch(table: Table, transaction: Transaction, random: Random) -> None:
    """Update rows to what they are."""
    column = _name(random.choice(table.columns))
    for key in _pick(table, transaction, random, 2):
        transaction.update(table.name, f"UPDATE {_table(table)} SET {column} = {column} WHERE {_is(table)}", *key)


def change_key(table: Table, transaction: Transaction, random: Random) -> None:
    """Move a row to another key, alone or with a change of its other columns."""
    for key in _pick(table, transaction, random, 1):
        also = random.sample(table.others, random.randint(0, min(2, len(table.others))))
        _carefully(None, partial(_set, table, [*table.key_columns, *also], key), transaction, random)


def swap_keys(table: Table, transaction: Transaction, random: Random) -> None:
    """Exchange the keys of two rows, by way of a third."""
    keys = _pick(table, transaction, random, TWO)
    if len(keys) == TWO:
        _carefully(None, partial(_swap_keys, table, keys), transaction, random)


def delete(table: Table, transaction: Transaction, random: Random) -> None:
    for key in _pick(table, transaction, random, random.choice((1, 1, 5))):
        transaction.delete(table.name, f"DELETE FROM {_table(table)} WHERE {_is(table)}", *key)


def delete_and_insert(table: Table, transaction: Transaction, random: Random) -> None:
    """Replace a row by another one of the same key."""

    for key in _pick(table, transaction, random, 1):
        _carefully(table, partial(_replace, table, key), transaction, random)


def update_all(table: Table, transaction: Transaction, random: Random) -> None:
    """Change every row of a table in one statement."""
    columns = [column for column in table.others if column.name not in table.guarded]
    if columns:
        column = random.choice(columns)
        sql = f"UPDATE {_table(table)} SET {_name(column)} = %s::{column.type}"
        transaction.update(table.name, sql, column.value(random))


def append(table: Table, transaction: Transaction, random: Random) -> None:
    for _ in range(random.randint(1, APPENDED_AT_ONCE if table.append_only else 2)):
        _insert(table, "", transaction, random)


def update_any(table: Table, transaction: Transaction, random: Random) -> None:
    """Change one row of a table without a key, which may be equal to others."""
    column = random.choice(table.columns)
    sql = f"UPDATE {_table(table)} SET {_name(column)} = %s::{column.type} WHERE ctid = {_any_row(table)}"
    transaction.update(table.name, sql, column.value(random), str(random.random()))


def delete_any(table: Table, transaction: Transaction, random: Random) -> None:
    sql = f"DELETE FROM {_table(table)} WHERE ctid = {_any_row(table)}"
    transaction.delete(table.name, sql, str(random.random()))


def truncate(names: Sequence[str], transaction: Transaction, random: Random) -> None:
    restart = random.choice(("", " RESTART IDENTITY"))
    transaction.change("truncate", names[0], f"TRUNCATE {', '.join(names)}{restart}")


def swap_places(transaction: Transaction, random: Random) -> None:
    """Exchange unique values in one statement, which the deferrable constraint allows."""
    two = [int(key[0]) for key in _pick(_SEATS, transaction, random, TWO)]
    sql = (
        "UPDATE app.seats AS s SET place = o.place FROM app.seats AS o"
        " WHERE s.id = ANY (%s) AND o.id = ANY (%s) AND s.id <> o.id"
    )
    transaction.update("seats", sql, two, two)


def swap_guests(transaction: Transaction, random: Random) -> None:
    """Exchange unique values by way of a third."""
    rows = transaction.query(
        "SELECT id, guest FROM app.seats ORDER BY hashint4(id + %s) LIMIT 2", random.randint(0, 99)
    )
    if len(rows) == TWO:
        (one, guest), (other, other_guest) = rows
        for seat, value in ((one, None), (other, guest), (one, other_guest)):
            transaction.update("seats", "UPDATE app.seats SET guest = %s WHERE id = %s", value, seat)


def move_places(transaction: Transaction, random: Random) -> None:
    """Give every row the unique value that another one had."""
    transaction.update("seats", "UPDATE app.seats SET place = place + %s", random.choice((-1, 1)))


_SEATS = next(table for table in KEYED if table.name == "seats")


def _carefully(
    table: Table | None, work: Callable[[Transaction, Random], None], transaction: Transaction, random: Random
) -> None:
    """Do what may meet a constraint: in a savepoint, so that the transaction can go on."""
    if table is None or table.guarded:
        transaction.in_savepoint(work, random, keep=True)
    else:
        work(transaction, random)


def _insert(
    table: Table, rest: str, transaction: Transaction, random: Random, given: dict[str, str] | None = None
) -> None:
    given = given or {}
    names = ", ".join(_name(column) for column in table.columns)
    casts = ", ".join(f"%s::{column.type}" for column in table.columns)
    values = [given.get(column.name) or column.value(random) for column in table.columns]
    transaction.insert(table.name, f"INSERT INTO {_table(table)} ({names}) VALUES ({casts}) {rest}", *values)


def _set(table: Table, columns: Sequence[Column], key: Key, transaction: Transaction, random: Random) -> None:
    settings = ", ".join(f"{_name(column)} = %s::{column.type}" for column in columns)
    values = [column.value(random) for column in columns]
    sql = f"UPDATE {_table(table)} SET {settings} WHERE {_is(table)}"
    transaction.update(table.name, sql, *values, *key)


def _replace(table: Table, key: Key, transaction: Transaction, random: Random) -> None:
    transaction.delete(table.name, f"DELETE FROM {_table(table)} WHERE {_is(table)}", *key)
    values = dict(zip((column.name for column in table.key_columns), key, strict=True))
    _insert(table, "", transaction, random, values)


def _swap_keys(table: Table, keys: Sequence[Key], transaction: Transaction, random: Random) -> None:
    free = tuple(str(column.value(random)) for column in table.key_columns)
    settings = ", ".join(f"{_name(column)} = %s::{column.type}" for column in table.key_columns)
    sql = f"UPDATE {_table(table)} SET {settings} WHERE {_is(table)}"
    for new, old in ((free, keys[0]), (keys[0], keys[1]), (keys[1], free)):
        transaction.update(table.name, sql, *new, *old)


def _pick(table: Table, transaction: Transaction, random: Random, number: int) -> list[Key]:
    names = [_name(column) for column in table.key_columns]
    texts = ", ".join(f"{name}::text" for name in names)
    sql = f"SELECT {texts} FROM {_table(table)} ORDER BY hashtext(concat(%s::text, {texts})) LIMIT %s"
    return transaction.query(sql, str(random.random()), number)


def _is(table: Table) -> str:
    return " AND ".join(f"{_name(column)} = %s::{column.type}" for column in table.key_columns)


def _any_row(table: Table) -> str:
    return f"(SELECT ctid FROM {_table(table)} ORDER BY hashtext(ctid::text || %s) LIMIT 1)"


def _table(table: Table) -> str:
    return table.sql.replace("%", "%%")


def _name(column: Column) -> str:
    return quote(column.name).replace("%", "%%")
