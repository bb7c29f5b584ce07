"""Tables with a key of one column, of two and of none, and rounds of changes: what kills of the command interrupt."""

from fix_postgres import Database, Rows

CREATE = """
CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance numeric, note text);
CREATE TABLE moves (account int, at bigint, amount numeric, PRIMARY KEY (account, at));
CREATE TABLE lines (line text); ALTER TABLE lines REPLICA IDENTITY FULL;
ALTER TABLE accounts ALTER note SET STORAGE EXTERNAL;
INSERT INTO accounts SELECT i, 'owner ' || i, i, repeat('note ', 1000) FROM generate_series(1, 50) AS i
"""
ROUND = """
INSERT INTO moves SELECT i, {n} * 100 + i, i * 0.10 FROM generate_series(1, 50) AS i;
UPDATE accounts SET balance = balance + {n} WHERE id % 3 = {n} % 3;
UPDATE accounts SET id = id + 1000 WHERE id % 7 = {n} % 7 AND id < 1000;
UPDATE accounts SET id = id - 1000 WHERE id % 5 = {n} % 5 AND id > 1000 AND id - 1000 NOT IN (SELECT id FROM accounts);
DELETE FROM moves WHERE at % 11 = {n} % 11;
INSERT INTO lines SELECT 'line ' || i % 3 FROM generate_series(1, 5) AS i;
DELETE FROM lines WHERE ctid IN (SELECT ctid FROM lines WHERE line = 'line 1' LIMIT 1)
"""
QUERIES = {
    "accounts": "SELECT id, owner, balance, note FROM accounts ORDER BY 1",
    "moves": "SELECT account, at, amount FROM moves ORDER BY 1, 2",
    "lines": "SELECT line FROM lines ORDER BY 1",
}
"""What reads the same from a D1 database."""


def stored(source: Database) -> dict[str, Rows]:
    """Read the tables as a D1 database stores them."""
    return {
        "accounts": source.execute("SELECT id, owner, balance::text, note FROM accounts ORDER BY 1"),
        "moves": source.execute("SELECT account, at, amount::text FROM moves ORDER BY 1, 2"),
        "lines": source.execute("SELECT line FROM lines ORDER BY 1"),
    }
