"""What the plugin and walsync make of the same WAL: a file of SQL, run once, read through both.

Lines before ``-- record`` prepare. ``-- publication: ...`` says what to publish, all tables else. ``-- differs: name:
arguments`` names a difference that docs/wal2json.md lists. ``-- in: other`` runs the next statement in a second
session. A statement ends with the line that ends with a semicolon.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from fix_postgres import Connection, Database
from fix_walsync import eventually

from walsync import wal2json
from walsync.lsn import LSN
from walsync.pgoutput.decoder import Decoder
from walsync.pgoutput.message import Type
from walsync.postgres import OUTPUT_SETTINGS
from walsync.relation import Relation
from walsync.source.describe import Describer
from walsync.source.description import TableDescription
from walsync.source.stream import Keepalive
from walsync.tail.source import Source, opened
from walsync.transaction.assembler import Assembler
from walsync.transaction.change import Transaction

FOLDER = Path(__file__).parent
PUBLICATION = "tailed"
EVERYTHING = "FOR ALL TABLES"
SECONDS = 30

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Case:
    """One file; a statement comes with the name of its session."""

    name: str
    publication: str
    differences: Mapping[str, Sequence[str]]
    setup: Sequence[tuple[str, str]]
    recorded: Sequence[tuple[str, str]]

    @classmethod
    def read(cls, path: Path) -> "Case":
        """Read a file."""
        head, _, tail = path.read_text(encoding="utf-8").partition("-- record\n")
        publication, differences = EVERYTHING, {}
        for line in head.splitlines():
            if line.startswith("-- publication: "):
                publication = line.removeprefix("-- publication: ")
            elif line.startswith("-- differs: "):
                name, *arguments = line.removeprefix("-- differs: ").split(": ")
                differences[name] = arguments
        return cls(path.stem, publication, differences, list(_statements(head)), list(_statements(tail)))

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Recording:
    """The transactions that walsync read, and the slots that it and the plugin can read again, up to `end`."""

    database: Database
    slot: str
    pgoutput_slot: str
    end: str
    transactions: Sequence[Transaction]
    describe: Callable[[Relation], TableDescription]
    origin_id: Callable[[str], int]

    def theirs(self, options: Pairs) -> list[bytes]:
        """Return what the plugin writes."""
        given = [text for pair in options for text in pair]
        rows = self.database.execute(
            "SELECT data FROM pg_logical_slot_peek_binary_changes(%s, %s, NULL, VARIADIC %s)",
            self.slot,
            self.end,
            given,
        )
        return [bytes(data) for (data,) in rows]

    def ours(self, options: Pairs) -> list[bytes]:
        """Return what walsync writes."""
        renderer = wal2json.Renderer(wal2json.parse(options), self.describe, self.origin_id)
        return [record for transaction in self.transactions for record in renderer.render(transaction)]


@contextlib.contextmanager
def recorded(case: Case, database: Database) -> Iterator[Recording]:
    """Run a case, and read its WAL through pgoutput, over the wire."""
    plugin_slot, slot = f"{database.name}_w", f"{database.name}_p"
    run(database, case.setup)
    database.execute(f"CREATE PUBLICATION {PUBLICATION} {case.publication}")
    database.execute("SELECT pg_create_logical_replication_slot(%s, 'wal2json')", plugin_slot)
    database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", slot)
    run(database, case.recorded)
    ((end,),) = database.execute("SELECT pg_current_wal_lsn()::text")
    # The plugin writes what the session's settings say; walsync pins them. The search_path stays what it is.
    for name, value in OUTPUT_SETTINGS.items():
        if name != "search_path":
            database.execute("SELECT set_config(%s, %s, false)", name, value)
    describer = Describer(database.dsn, "test")
    try:
        transactions, types = read(Source(database.dsn, PUBLICATION, slot), LSN.parse(end))

        def describe(relation: Relation) -> TableDescription:
            return describer.describe(relation, lambda oid: (types[oid].schema, types[oid].name))

        yield Recording(database, plugin_slot, slot, end, transactions, describe, describer.origin_id)
    finally:
        describer.close()
        for name in (plugin_slot, slot):
            # Whoever has read it may have gone a moment ago, and the server not have noticed.
            eventually(lambda name=name: _is_free(database, name), SECONDS, f"slot {name} to be free")  # type: ignore[misc]
            database.execute("SELECT pg_drop_replication_slot(%s)", name)


def _is_free(database: Database, slot: str) -> bool:
    return database.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", slot) == [(False,)]


def read(source: Source, end: LSN) -> tuple[list[Transaction], dict[int, Type]]:
    """Read everything that committed before a position; nothing is acknowledged."""
    decoder, assembler = Decoder(), Assembler()
    transactions: list[Transaction] = []
    deadline = time.monotonic() + SECONDS
    with opened(source) as stream:
        while time.monotonic() < deadline:
            for frame in stream.stream.read():
                if isinstance(frame, Keepalive):
                    transaction = assembler.keepalive(frame.wal_end, frame.server_time)
                else:
                    transaction = assembler.feed(decoder.decode(frame.payload), frame.data_start, len(frame.payload))
                if transaction is not None:
                    transactions.append(transaction)
            if transactions and transactions[-1].end_lsn >= end:
                return transactions, assembler.types
            stream.stream.send_status(ask=True)
    raise AssertionError(f"the server has not sent everything up to {end} within {SECONDS} s")


def run(database: Database, statements: Sequence[tuple[str, str]]) -> None:
    """Run statements in their sessions."""
    sessions: dict[str, Connection] = {}
    for session, statement in statements:
        if session not in sessions:
            sessions[session] = database.connect()
        try:
            with sessions[session].cursor() as cursor:
                cursor.execute(statement)
        except psycopg2.Error as error:
            raise AssertionError(f"{statement}: {error}") from error
    for opened_session in sessions.values():
        opened_session.close()


def _statements(text: str) -> Iterator[tuple[str, str]]:
    session, lines = "main", []
    for line in text.splitlines():
        if line.startswith("-- in: "):
            session = line.removeprefix("-- in: ")
        elif not line.startswith("--"):
            lines.append(line)
            if line.endswith(";"):
                yield session, "\n".join(lines)
                session, lines = "main", []


CASES = [Case.read(path) for path in sorted(FOLDER.glob("*.sql"))]
