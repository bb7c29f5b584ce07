"""A file target prints in wal2json's formats what `walsync tail` prints, which asks the catalogue itself."""

from collections.abc import Callable
from pathlib import Path

import yaml
from fix_postgres import Database
from fix_walsync import Walsync

CREATE = """
CREATE SCHEMA "Other s";
CREATE TYPE mood AS ENUM ('sad', 'very "happy"');
CREATE TYPE "Other s"."Mood 2" AS ENUM ('x');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN price AS numeric(5, 2) CHECK (value > 0);
CREATE DOMAIN "Other s".code AS varchar(3);
CREATE TABLE odd (
    gone int, second varchar(20) NOT NULL DEFAULT 'a "quoted" \\ text', first bigint, mood mood,
    other "Other s"."Mood 2", moods mood[], others "Other s"."Mood 2"[], pair pair,
    price price, prices numeric(7, 3)[], code "Other s".code,
    at timestamptz(3) DEFAULT now(), span interval day to second, bits bit(3), c "char", n name, r int4range, j jsonb,
    twice bigint GENERATED ALWAYS AS (first * 2) STORED, PRIMARY KEY (first, second));
ALTER TABLE odd DROP COLUMN gone;
CREATE TABLE "Other s".log (id int GENERATED ALWAYS AS IDENTITY, line text);
ALTER TABLE "Other s".log REPLICA IDENTITY FULL
"""
CHANGE = """
INSERT INTO odd (first, mood, other, moods, others, pair, price, prices, code, span, bits, c, n, r, j)
VALUES (1, 'sad', 'x', '{"very \\"happy\\"",NULL}', '{x}', '(1,"b c")', 1.10, '{1.500,NaN}', 'abc', '1 day', b'101',
        'c', 'n', '[1,5)', '{"a": 1.0}');
UPDATE odd SET first = 2, mood = NULL;
INSERT INTO "Other s".log (line) VALUES ('a'), (NULL);
UPDATE "Other s".log SET line = 'b' WHERE line IS NULL;
DELETE FROM "Other s".log WHERE id = 1;
DELETE FROM odd;
TRUNCATE odd, "Other s".log
"""
EVERYTHING = {
    "include-xids": "true",
    "include-timestamp": "true",
    "include-lsn": "true",
    "include-type-oids": "true",
    "include-column-positions": "true",
    "include-not-null": "true",
    "include-default": "true",
    "include-pk": "true",
}


FORMS = [(version, options) for version in (1, 2) for options in ({}, EVERYTHING, {"include-typmod": "0"})]


def test_a_file_has_what_tail_prints(source: Database, walsync_command: Callable[..., Walsync], tmp_path: Path) -> None:
    source.execute(CREATE)
    paths = [tmp_path / f"{number}.jsonl" for number in range(len(FORMS))]
    keys = {"type": "file", "format": "wal2json"}
    content = {
        "source": {"dsn": source.dsn, "slot": source.name, "tables": ["public.*", '"Other s".*']},
        "targets": [
            {**keys, "name": path.stem, "path": str(path), "format_version": version, "options": options}
            for path, (version, options) in zip(paths, FORMS, strict=True)
        ],
        "http": {"listen": ""},
    }
    walsync = walsync_command(yaml.safe_dump(content))
    assert walsync.run("run", "--until-caught-up", "--timeout", "30s") == 0
    copied = [path.stat().st_size for path in paths]
    for number in range(len(FORMS)):
        source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", f"{source.name}_{number}")
    for statement in CHANGE.split(";\n"):
        source.execute(statement)
    assert walsync.run("run", "--until-caught-up", "--timeout", "30s") == 0
    for number, (version, options) in enumerate(FORMS):
        walsync.stdout.write_bytes(b"")
        given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        where = ("--slot", f"{source.name}_{number}", "--until-caught-up")
        assert walsync.run("tail", *where, "--format", "wal2json", "--format-version", str(version), *given) == 0
        printed = walsync.stdout.read_bytes()
        assert len(printed.splitlines()) > 6
        assert paths[number].read_bytes()[copied[number] :].splitlines() == printed.splitlines()
