"""The configuration of a Postgres target."""

from typing import Literal

from walsync.setting_types import Dsn
from walsync.target.settings import QualifiedTargetSettings


class PostgresSettings(QualifiedTargetSettings):
    """Tables keep their schema and name; the checkpoint stands in ``walsync.checkpoint``."""

    type: Literal["postgres"]
    """The kind of target."""

    dsn: Dsn
    """A libpq connection string or URL, such as ``postgresql://app@replica:5432/app``."""
