"""A TCP proxy in front of a server that cuts, refuses, holds and counts, to try what a network does to a connection.

A direction is named by where the bytes go: "to_server" or "to_client".
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Literal, Self

import pytest
from fix_postgres import Database
from psycopg2.extensions import parse_dsn

from walsync.demo.engines import free_port

Direction = Literal["to_server", "to_client"]

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536
JOIN_SECONDS = 10


class _Link:
    """One client's connection and the one that the proxy opened to the server for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.sockets = {"to_server": (client, server), "to_client": (server, client)}
        self.is_cut = False

    def cut(self) -> None:
        """End both connections, which wakes both pumps, reading or writing; what was sent before still arrives."""
        self.is_cut = True
        for end in self.sockets["to_server"]:
            with contextlib.suppress(OSError):  # it may have ended by itself
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in self.sockets["to_server"]:
            end.close()


class Proxy:
    """Forwards 127.0.0.1:port to a server until it is told otherwise; every verb works at any time, from any thread."""

    def __init__(self, host: str, port: int) -> None:
        self.host = HOST
        self.port = free_port()
        self._server = (host, port)
        self._changed = threading.Condition(threading.RLock())  # guards what follows
        self._listener: socket.socket | None = None
        self._links: set[_Link] = set()
        self._threads: list[threading.Thread] = []
        self._held: set[Direction] = set()
        self._bytes_left: dict[Direction, int] = {}
        self._watches: dict[Direction, tuple[bytes, Callable[[], None]]] = {}
        self.accept()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def dsn(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """Return the address of a database of the server behind, by way of the proxy."""
        return f"postgresql://{user}@{self.host}:{self.port}/{database}"

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        with self._changed:
            return len(self._links)

    @property
    def is_due(self) -> bool:
        """Whether something is still to happen at some byte."""
        with self._changed:
            return bool(self._bytes_left or self._watches)

    def cut(self) -> None:
        """Cut all connections now: both sides see the end, held bytes are lost. New connections are taken."""
        with self._changed:
            for link in self._links:
                link.cut()
            self._changed.notify_all()

    def refuse(self) -> None:
        """Refuse new connections; those that are open go on."""
        with self._changed:
            listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close alone does not
            listener.close()

    def go_away(self) -> None:
        """Refuse new connections and cut those that are open, until `accept`."""
        self.refuse()
        self.cut()

    def accept(self) -> None:
        """Take new connections again, on the same port."""
        with self._changed:
            if self._listener is None:
                self._listener = socket.create_server((self.host, self.port))
                self._run(self._accept, self._listener)

    def hold(self, *directions: Direction) -> None:
        """Forward nothing in these directions, or in neither when none is named; connections stay open."""
        with self._changed:
            self._held.update(directions or ("to_server", "to_client"))

    def resume(self) -> None:
        """Forward again what was held."""
        with self._changed:
            self._held.clear()
            self._changed.notify_all()

    def cut_after(self, byte_count: int, direction: Direction) -> None:
        """Forward so many more bytes in a direction, counted over all connections, then cut."""
        with self._changed:
            self._bytes_left[direction] = byte_count

    def on_bytes(self, direction: Direction, pattern: bytes, action: Callable[[], None]) -> None:
        """Call `action` once, after what comes before this pattern and before it; it has to come in one piece.

        `proxy.cut` as the action loses a request before the server has it; `lambda: proxy.hold("to_client")` lets it
        through and loses the response, once the test has seen its effect and cuts.
        """
        with self._changed:
            self._watches[direction] = (pattern, action)

    def calm(self) -> None:
        """Forget what was to happen at some byte."""
        with self._changed:
            self._bytes_left.clear()
            self._watches.clear()

    def close(self) -> None:
        """Cut everything and end."""
        self.go_away()
        for thread in self._threads:
            thread.join(JOIN_SECONDS)
            assert not thread.is_alive(), f"{thread.name} did not end"

    def _run(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, name=f"proxy-{self.port}-{work.__name__}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # refuse() closed it
                return
            self._connect(client, listener)

    def _connect(self, client: socket.socket, listener: socket.socket) -> None:
        try:
            server = socket.create_connection(self._server)
        except OSError:  # the server is away: the client sees its connection end
            client.close()
            return
        link = _Link(client, server)
        with self._changed:
            if self._listener is not listener:  # refused meanwhile, and nothing would cut it
                link.close()
                return
            self._links.add(link)
            self._run(self._pump_both, link)

    def _pump_both(self, link: _Link) -> None:
        back = threading.Thread(target=self._pump, args=(link, "to_client"), daemon=True)
        back.start()
        self._pump(link, "to_server")
        back.join()
        with self._changed:
            self._links.discard(link)
        link.close()

    def _pump(self, link: _Link, direction: Direction) -> None:
        reader, writer = link.sockets[direction]
        with contextlib.suppress(OSError):  # a reset by either side ends the link, as an end of stream does
            while (chunk := reader.recv(CHUNK_BYTES)) and all(
                self._forward(link, direction, writer, part) for part in self._parts(direction, chunk)
            ):
                pass
        link.cut()

    def _forward(self, link: _Link, direction: Direction, writer: socket.socket, chunk: bytes) -> bool:
        """Send a chunk when it may go; return whether the link goes on."""
        with self._changed:
            self._changed.wait_for(lambda: link.is_cut or direction not in self._held)
            if link.is_cut:
                return False
            left = self._bytes_left.get(direction)
            if left is not None:
                chunk = chunk[:left]
                self._bytes_left[direction] = left - len(chunk)
        writer.sendall(chunk)
        if left is not None and len(chunk) == left:
            with self._changed:
                self._bytes_left.pop(direction, None)  # calm() may have come first
            self.cut()
            return False
        return True

    def _parts(self, direction: Direction, chunk: bytes) -> Iterator[bytes]:
        """Give a chunk whole, or in two with the action between them where somebody waits for its bytes."""
        with self._changed:
            pattern, action = self._watches.get(direction, (b"", None))
            at = -1 if action is None else chunk.find(pattern)
            if at >= 0:
                del self._watches[direction]
        if action is None or at < 0:
            yield chunk
            return
        yield chunk[:at]
        action()
        yield chunk[at:]


NewLine = Callable[[Database], Proxy]


@pytest.fixture
def new_proxy() -> Iterator[Callable[[str, int], Proxy]]:
    """Put proxies in front of servers: `new_proxy(server.host, server.port)`."""
    with contextlib.ExitStack() as stack:
        yield lambda host, port: stack.enter_context(Proxy(host, port))


@pytest.fixture
def line_to(new_proxy: Callable[[str, int], Proxy]) -> NewLine:
    """Put proxies in front of databases."""
    return lambda database: new_proxy(*address(database))


def address(database: Database) -> tuple[str, int]:
    parts = parse_dsn(database.dsn)
    return parts["host"], int(parts.get("port", 5432))
