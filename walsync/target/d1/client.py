"""The way to a D1 database, whichever it is: a file here, the gateway Worker, or Cloudflare's REST API.

All of them take the same statements; they differ in how a request travels, and in what holds it together.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from walsync.target.base import Finding
from walsync.target.d1.failures import GuardRaised
from walsync.target.d1.request import Encoding, Request, Result, Statement
from walsync.target.d1.statements import CHECKPOINT

NOTHING: Final = Encoding()

_SELECT_CHECKPOINT: Final = (
    "SELECT target_id, system_identifier, timeline, CAST(epoch AS TEXT) AS epoch, lsn, open_commit_lsn,"
    f" last_change_lsn, upto FROM {CHECKPOINT} WHERE slot = ?1 AND target = ?2"
)


class Client(Protocol):
    """Sends requests to one database, one at a time.

    Every call may raise TargetUnavailable (the outcome is unknown), TargetRefused, or GuardRaised (a statement of the
    request stopped it).
    """

    statements: int
    """The most that one request may hold."""

    by_wire: bool
    """Whether it sends `Encoding.wire`."""

    request_bytes: int
    """Of changes in one request. As JSON they take up to six times as much, and a gateway takes 32 MB."""

    def exists(self) -> bool:
        """Tell whether there is a database; False only where the first request makes it."""
        ...

    async def batch(self, request: Request, shared: Encoding = NOTHING, *, create: bool = False) -> list[Result]:
        """Run the statements of `request`, then those of `shared`, which other targets send as well.

        Where the way is atomic all of them take effect, or none. `create` makes the database where it can be made.
        """
        ...

    async def checkpoint(self, slot: str, target: str) -> Sequence[Any] | None:
        """Read the row of the checkpoint, as `select_checkpoint` does; None where there is none."""
        ...

    def findings(self) -> Sequence[Finding]:
        """Find what would keep this way from carrying what is written; asks nobody."""
        ...

    async def close(self) -> None:
        """Give the connection back; no call follows."""
        ...


def select_checkpoint(slot: str, target: str) -> Statement:
    """Write the query for the row of the checkpoint."""
    return Statement(_SELECT_CHECKPOINT, (slot, target))


async def read_checkpoint(client: Client, slot: str, target: str) -> Sequence[Any] | None:
    """Read the row of the checkpoint by a query; None where there is none, no such table, or no database."""
    if not client.exists():
        return None
    try:
        (result,) = await client.batch([select_checkpoint(slot, target)])
    except GuardRaised:
        return None
    return result.rows[0] if result.rows else None
