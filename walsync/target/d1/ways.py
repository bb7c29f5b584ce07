"""Chooses the way to a D1 database by what its settings name."""

from walsync.target.d1.client import Client
from walsync.target.d1.embedded import EmbeddedClient
from walsync.target.d1.gateway import GatewayClient
from walsync.target.d1.settings import D1Settings


def open_client(settings: D1Settings) -> Client:
    """Make the client of an atomic way; it connects to nothing yet."""
    about = f"target {settings.name}"
    if settings.url is not None and settings.database is not None and settings.secret is not None:
        return GatewayClient(settings.url, settings.database, settings.secret, about)
    return EmbeddedClient(settings.path, about)
