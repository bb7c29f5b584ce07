"""The configuration of a Postgres target."""

from typing import Literal

from walsync.settings import Secret
from walsync.target.settings import TargetSettings


class PostgresSettings(TargetSettings):
    """Tables keep their schema and name; the checkpoint stands in ``walsync.checkpoint``."""

    type: Literal["postgres"]
    """The kind of target."""

    dsn: Secret
    """A libpq connection string or URL, such as ``postgresql://app@replica:5432/app``."""

    def name_of(self, schema: str, table: str) -> str:
        """Keep schema and name."""
        return f"{schema}.{table}"
