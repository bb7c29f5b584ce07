"""The configuration of a Postgres target."""

from typing import Literal

from pydantic import ValidationError, model_validator

from walsync.setting_types import Dsn, refusal
from walsync.source.settings import TablePattern
from walsync.target.settings import TargetSettings


class PostgresSettings(TargetSettings):
    """Tables keep their schema and name; the checkpoint stands in ``walsync.checkpoint``."""

    type: Literal["postgres"]
    """The kind of target."""

    dsn: Dsn
    """A libpq connection string or URL, such as ``postgresql://app@replica:5432/app``."""

    @model_validator(mode="after")
    def _check_names(self) -> "PostgresSettings":
        for index, entry in enumerate(self.tables or ()):
            try:
                wrong = entry.rename is not None and TablePattern(table=entry.rename).table_name is None
            except ValidationError:
                wrong = True
            if wrong:
                raise refusal(
                    "WS1022",
                    f"{entry.rename!r} does not name one table",
                    "write schema.table",
                    at=("tables", index, "rename"),
                )
        return self

    def name_of(self, schema: str, table: str) -> tuple[str, ...]:
        """Keep schema and name."""
        return schema, table

    def read_name(self, rename: str) -> tuple[str, ...]:
        """Read ``schema.table``."""
        pattern = TablePattern(table=rename)
        return pattern.schema_name, pattern.table_name or ""
