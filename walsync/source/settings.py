"""The configuration of the source: which database, which slot and publication, which tables."""

import re
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from walsync.setting_types import Dsn, Seconds, Size, refusal
from walsync.settings import Settings

_NAME_BYTES: Final = 63  # NAMEDATALEN - 1
_SEGMENT_BYTES: Final = 16 * 1024**2
_SLOT: Final = re.compile(r"[a-z0-9_]{1,50}")
_PART: Final = r'"(?:[^"\0]|"")+"|[^."\s\0](?:[^."\0]*[^."\s\0])?'
_TABLE: Final = re.compile(rf"({_PART})\.({_PART})")


def _check_slot(slot: str) -> str:
    if _SLOT.fullmatch(slot) is None:
        raise refusal(
            "WS1013",
            f"{slot!r} is no slot's name: 1 to 50 lower case letters, digits and underscores",
            "Postgres allows 63; walsync keeps 13 for names derived from it, such as walsync_hold",
        )
    return slot


def _check_publication(publication: str) -> str:
    if not 1 <= len(publication.encode()) <= _NAME_BYTES or "\0" in publication:
        raise refusal("WS1014", "a publication's name has 1 to 63 bytes", "leave it out to take the name walsync")
    return publication


def _unquote(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


class TablePattern(Settings):
    """A table, or all tables of a schema, by name."""

    table: str
    """``schema.table``, or ``schema.*`` for every table of the schema; as the catalogue spells it, case matters. A
    part that contains a dot or a quote is written in double quotes."""

    @field_validator("table")
    @classmethod
    def _check_table(cls, table: str) -> str:
        match = _TABLE.fullmatch(table)
        if match is None or any(len(_unquote(part).encode()) > _NAME_BYTES for part in match.groups()):
            raise refusal(
                "WS1015",
                f"{table!r} does not name a table",
                'write schema.table or schema.*, such as public.users; quote a part that has a dot: public."a.b"',
            )
        return table

    @property
    def schema_name(self) -> str:
        """The schema, unquoted."""
        return _unquote(_parts(self.table)[0])

    @property
    def table_name(self) -> str | None:
        """The table, unquoted; None for every table of the schema."""
        part = _parts(self.table)[1]
        return None if part == "*" else _unquote(part)


class TableSettings(TablePattern):
    """One entry of `tables`: a table, all tables of a schema, or a part of a table's columns and rows."""

    columns: tuple[str, ...] | None = None
    """The columns to replicate; all when left out. Must contain the replica identity. Postgres 15 or later."""

    where: str | None = None
    """An SQL condition on columns of the replica identity, evaluated on the source. Postgres 15 or later."""

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if columns is not None and (not columns or len(set(columns)) < len(columns)):
            raise refusal("WS1015", "a list of columns is empty or names one twice", "leave `columns` out to take all")
        return columns

    @model_validator(mode="after")
    def _check_wildcard(self) -> "TableSettings":
        if self.where is not None and not self.where.strip():
            raise refusal("WS1015", "the condition is empty", "leave `where` out to take all rows", at=("where",))
        if self.table_name is None and (self.columns is not None or self.where is not None):
            raise refusal(
                "WS1015", "`columns` and `where` belong to one table, not to schema.*", "give that table its own entry"
            )
        return self


def _parts(table: str) -> tuple[str, str]:
    match = _TABLE.fullmatch(table)
    if match is None:
        raise ValueError("not a table's name")
    return match[1], match[2]


def _complete(entry: object) -> object:
    return {"table": entry} if isinstance(entry, str) else entry


def _check_tables(tables: tuple[TableSettings, ...]) -> tuple[TableSettings, ...]:
    first: dict[tuple[str, str | None], int] = {}
    for index, entry in enumerate(tables):
        earlier = first.setdefault((entry.schema_name, entry.table_name), index)
        if earlier != index:
            raise refusal(
                "WS1015",
                f"{entry.table} is named twice (first as tables[{earlier}])",
                "keep one entry; one for schema.* and one for a table of it may stand side by side",
                at=(index,),
            )
    return tables


def _check_max_slot_lag(limit: int) -> int:
    if 0 < limit < _SEGMENT_BYTES:
        raise refusal(
            "WS1019", "less than 16MB, a segment of WAL, frees nothing", "write what the disk can spare, or 0: no limit"
        )
    return limit


OnMaxSlotLag: TypeAlias = Literal["hold", "release"]
"""What to do with a target for which more WAL is kept than `max_slot_lag`."""


class SourceSettings(Settings):
    """The database that changes are read from."""

    dsn: Dsn
    """A libpq connection string or URL of the source database, such as ``postgresql://walsync@db:5432/app``."""

    slot: Annotated[str, AfterValidator(_check_slot)] = "walsync"
    """The replication slot, created when absent; lower case letters, digits and ``_``, at most 50."""

    failover: bool = True
    """Whether standbys that are set up for it copy the slot, so that it is there after a failover; Postgres 17 or
    later. True unless a standby must not have it."""

    publication: Annotated[str, AfterValidator(_check_publication)] = "walsync"
    """The publication, created when absent and kept equal to `tables`."""

    tables: Annotated[
        tuple[Annotated[TableSettings, BeforeValidator(_complete, json_schema_input_type=str | TableSettings)], ...],
        Field(min_length=1),
        AfterValidator(_check_tables),
    ]
    """What to replicate, at least one entry. A table's own entry goes before its schema's ``schema.*``."""

    max_slot_lag: Annotated[Size, Field(ge=0), AfterValidator(_check_max_slot_lag)] = 0
    """How much WAL the source may keep for one target; 0, or from 16MB on. 0: any amount. More than is written during
    the snapshot of a target."""

    on_max_slot_lag: OnMaxSlotLag = "hold"
    """What happens past it. ``hold``: the WAL is kept, and /status and the log say so (WS2501). ``release``: the target
    that keeps most is given up if that frees WAL, and gets a new snapshot by itself when it is back."""

    heartbeat_seconds: Annotated[Seconds, Field(ge=0)] = 0.0
    """How often to commit a logical message on the source, whatever happens there; 0: never. Needed only where the slot
    of an idle database stands still although others of the cluster are written to."""
