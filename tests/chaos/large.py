"""Transactions of thousands of rows, on the ledger."""

from random import Random
from typing import Final

from walsync.demo.workload import Operation, Transaction

_MOST_ROWS: Final = 3_000


def operations() -> list[Operation]:
    """Return what is done to the ledger, and how often beside the others."""
    return [Operation(0.4, _write_many), Operation(0.2, _move_many), Operation(0.2, _delete_many)]


def _write_many(transaction: Transaction, random: Random) -> None:
    """Write thousands of rows, new ones and others."""
    first = random.randint(1, _MOST_ROWS)
    transaction.insert(
        "ledger",
        "INSERT INTO app.ledger SELECT i, i %% 97, repeat(md5(i::text), %s) FROM generate_series(%s, %s) AS i"
        " ON CONFLICT (id) DO UPDATE SET amount = ledger.amount + 1",
        random.choice((0, 1, 4)),
        first,
        first + random.randint(100, _MOST_ROWS),
    )


def _move_many(transaction: Transaction, random: Random) -> None:
    """Give many rows other keys, which are free."""
    transaction.update(
        "ledger",
        "UPDATE app.ledger SET id = id + 100000 WHERE id <= %s AND id + 100000 NOT IN (SELECT id FROM app.ledger)",
        random.randint(1, _MOST_ROWS),
    )


def _delete_many(transaction: Transaction, random: Random) -> None:
    transaction.delete("ledger", "DELETE FROM app.ledger WHERE id > %s", random.choice((3_000, 50_000)))
