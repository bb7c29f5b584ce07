"""A free TCP port on 127.0.0.1 that stays ours while its server is stopped."""

import errno
import random
import socket

HOST = "127.0.0.1"

# Below the range from which Linux (32768), BSD and macOS (49152) take the local ports of outgoing connections: a client
# that tries to reach a stopped server on such a port can be given that very port and connect to itself.
FIRST_PORT, LAST_PORT = 20_000, 32_000
ATTEMPTS = 200


def free_port() -> int:
    """Return a port that nobody listens on now; whoever binds it still has to expect a rival."""
    for _ in range(ATTEMPTS):
        port = random.SystemRandom().randint(FIRST_PORT, LAST_PORT)
        if _is_free(port):
            return port
    raise OSError(errno.EADDRINUSE, f"no free port between {FIRST_PORT} and {LAST_PORT} on {HOST}")


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: TIME_WAIT is no rival
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
    return True
