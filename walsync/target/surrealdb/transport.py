"""Which way leads to a database: a connection to a server, or the engine inside this process."""

from walsync.target.surrealdb.embedded import open_embedded
from walsync.target.surrealdb.engine import Engine
from walsync.target.surrealdb.settings import SurrealDBSettings
from walsync.target.surrealdb.wire import open_wire


async def open_engine(settings: SurrealDBSettings, create: bool) -> Engine | None:  # noqa: FBT001 - OpenEngine
    """Open the way that the settings name; None where there is no database and none is to be made."""
    return await (open_wire if settings.is_server else open_embedded)(settings, create)
