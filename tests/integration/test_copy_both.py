"""Why walsync reads its own frames: psycopg2's cursor confirms what nobody has stored, and a transaction is lost."""

from collections.abc import Callable
from contextlib import closing

import psycopg2
import psycopg2.extras
import pytest
from fix_postgres import Database
from fix_walsync import eventually

from walsync.demo.engines import PostgresServer
from walsync.errors import SourceUnavailable
from walsync.lsn import LSN
from walsync.pgoutput.decoder import Decoder
from walsync.pgoutput.message import Commit, Insert
from walsync.row import read_tuple
from walsync.source.session import identify, open_replication
from walsync.source.slot import create
from walsync.source.stream import Keepalive, Stream, WalData

SECONDS = 30.0
SLOT = "walsync"
FIRST = 1_000
ROWS, FILLER = 20_000, 1_900  # more than the socket's buffers hold: the server is still sending when it is asked
READS = 1_000


class Scenario:
    """Three transactions: T2 writes first and commits last, so its changes stand below the commits of T0 and T1.

    The consumer has stored T0 and confirmed it; it has read T1, whose target is away; it is reading T2 when a keepalive
    comes. The header LSN of T2's rows is below what was confirmed.
    """

    def __init__(self, source: Database) -> None:
        self.source = source
        source.execute("CREATE TABLE t (id int PRIMARY KEY, filler text)")
        source.execute("CREATE PUBLICATION walsync FOR TABLE t")
        replication = open_replication(source.dsn, "test")
        self.identity = identify(replication)
        self.start = create(replication, SLOT).consistent_point
        replication.close()
        large = source.connect()
        large.autocommit = False
        with large.cursor() as cursor:
            cursor.execute(
                "INSERT INTO t SELECT i, repeat('x', %s) FROM generate_series(%s, %s) AS i", (FILLER, FIRST, ROWS)
            )
        source.execute("INSERT INTO t VALUES (0)")
        source.execute("INSERT INTO t VALUES (1)")
        large.commit()

    def confirmed(self) -> LSN:
        rows = self.source.execute("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s", SLOT)
        return LSN.parse(rows[0][0])

    def slot_is_free(self) -> bool:
        return self.source.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", SLOT) == [(False,)]

    def wait_for_free_slot(self) -> None:
        eventually(self.slot_is_free, SECONDS, "the slot to be free")

    def open_ours(self) -> Stream:
        return Stream.open(
            self.source.dsn,
            identity=self.identity,
            slot=SLOT,
            publication="walsync",
            start=self.confirmed(),
            application_name="test",
        )

    def first_id_after_restart(self) -> bytes:
        """Start again where the slot stands, and return the first row that comes."""
        self.wait_for_free_slot()
        decoder = Decoder()
        with closing(self.open_ours()) as stream:

            def ids() -> list[bytes]:
                messages = [decoder.decode(frame.payload) for frame in stream.read() if isinstance(frame, WalData)]
                return [_id(message) for message in messages if isinstance(message, Insert)]

            return eventually(ids, SECONDS, "a row")[0]


def _id(insert: Insert) -> bytes:
    value = read_tuple(insert.new)[0]
    assert isinstance(value, bytes)
    return value


@pytest.fixture
def scenario(start_server: Callable[..., PostgresServer], new_database: Callable[..., Database]) -> Scenario:
    return Scenario(new_database(start_server(18)))


def test_the_stock_cursor_loses_a_transaction_that_was_read_but_not_stored(scenario: Scenario) -> None:
    connection = psycopg2.connect(scenario.source.dsn, connection_factory=psycopg2.extras.LogicalReplicationConnection)
    with closing(connection), connection.cursor() as cursor:
        options = {"proto_version": "1", "publication_names": "walsync"}
        cursor.start_replication(SLOT, options=options, status_interval=1)
        decoder = Decoder()
        stored: list[LSN] = []

        def has_read_the_first_row_of_t2() -> bool:
            frame = cursor.read_message()
            message = None if frame is None else decoder.decode(frame.payload)
            if isinstance(message, Commit) and not stored:
                stored.append(message.end_lsn)
                cursor.send_feedback(flush_lsn=message.end_lsn, force=True)  # type: ignore[no-untyped-call]
            return isinstance(message, Insert) and int(_id(message)) >= FIRST

        eventually(has_read_the_first_row_of_t2, SECONDS, "T0, T1 and a row of T2")
        # Ask the server where it is, as the server itself asks at any time. Its answer stands between rows of T2.
        cursor.send_feedback(reply=True, force=True)  # type: ignore[no-untyped-call]
        assert scenario.confirmed() <= stored[0]

        def confirms_by_itself() -> bool:
            arrived = [cursor.read_message() for _ in range(READS)]
            return arrived[-1] is None and scenario.confirmed() > stored[0]

        eventually(confirms_by_itself, SECONDS, "the cursor to confirm what nobody told it to")
    assert scenario.first_id_after_restart() != b"1"


def test_our_own_frames_confirm_nothing_but_what_was_stored(scenario: Scenario) -> None:
    decoder = Decoder()
    commits: list[LSN] = []
    with closing(scenario.open_ours()) as stream:

        def has_read_everything() -> bool:
            for frame in stream.read():
                if isinstance(frame, WalData) and isinstance(message := decoder.decode(frame.payload), Commit):
                    commits.append(message.end_lsn)
                    if len(commits) == 1:
                        stream.confirm(message.end_lsn)
                        stream.send_status(ask=True)
            return len(commits) == 3 and scenario.confirmed() == commits[0]

        eventually(
            lambda: any(has_read_everything() for _ in range(READS)),
            SECONDS,
            "three transactions, the first of them confirmed",
        )
        stream.send_status(ask=True)
        eventually(lambda: any(isinstance(frame, Keepalive) for frame in stream.read()), SECONDS, "a keepalive")
        stream.send_status()
    assert scenario.first_id_after_restart() == b"1"
    assert scenario.confirmed() == commits[0]


def test_a_stream_that_the_server_ends_says_why(scenario: Scenario) -> None:
    with closing(scenario.open_ours()) as stream:
        scenario.source.execute("SELECT pg_terminate_backend(%s)", stream.pid)
        with pytest.raises(SourceUnavailable, match="administrator command"):
            eventually(lambda: bool(stream.read()) and False, SECONDS, "the end of the stream")
