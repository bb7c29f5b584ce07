"""What every target's block of the configuration has, whatever its kind: its name, and its part of the source."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError, model_validator

from walsync.setting_types import refusal
from walsync.settings import Settings
from walsync.source.settings import OnMaxSlotLag, TablePattern


def _as_tuple(values: object) -> object:
    return (values,) if isinstance(values, str) else values


MatchValues = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_tuple, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]
"""One value or a list of them, as Postgres prints them: ``eu``, ``7``, ``t``."""


class TargetTableSettings(TablePattern):
    """One entry of a target's `tables`."""

    rename: Annotated[str, StringConstraints(min_length=1)] | None = None
    """The table's name on this target; on Postgres ``schema.table``."""

    match: Mapping[str, MatchValues] = {}
    """Only rows whose columns have one of these values, added to the target's own `match`. The columns must be part
    of the replica identity: a row that no longer matches is deleted here."""


_T = TypeVar("_T", bound=TargetTableSettings)


def complete(entry: object) -> object:
    """Let the name of a table stand for an entry."""
    return {"table": entry} if isinstance(entry, str) else entry


def check_entries(entries: tuple[_T, ...] | None) -> tuple[_T, ...] | None:
    """Refuse what no entry of `tables` can mean."""
    for index, entry in enumerate(entries or ()):
        if entry.table_name is None and entry.rename is not None:
            raise refusal(
                "WS1022",
                "`rename` gives one table its name, not schema.*",
                "give that table its own entry",
                at=(index,),
            )
    return entries


class TargetSettings(Settings):
    """One entry of `targets`; each kind adds its own keys and a literal `type`."""

    names_ignore_case: ClassVar[bool] = False
    """Whether this kind takes two tables whose names differ by case only for one."""

    type: str
    """The kind of target."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    """The target's name in the registry, in metrics and in messages; unique; lower case, digits, ``_`` and ``-``."""

    tables: Annotated[
        tuple[
            Annotated[TargetTableSettings, BeforeValidator(complete, json_schema_input_type=str | TargetTableSettings)],
            ...,
        ]
        | None,
        AfterValidator(check_entries),
    ] = None
    """The part of `source.tables` that this target gets, as ``schema.table``, ``schema.*`` or with `rename` and
    `match`; all when left out."""

    match: Mapping[str, MatchValues] = {}
    """Only rows whose columns have one of these values, such as ``{region: eu}``, in all tables of this target."""

    on_max_slot_lag: OnMaxSlotLag | None = None
    """``hold`` or ``release``; what `source.on_max_slot_lag` says when left out."""

    def name_of(self, schema: str, table: str) -> tuple[str, ...]:
        """Name a source table that is not renamed: ``users``, and ``other__users`` for a schema beside public."""
        return (table if schema == "public" else f"{schema}__{table}",)

    def read_name(self, rename: str) -> tuple[str, ...]:
        """Take the name that `rename` gives."""
        return (rename,)


class QualifiedTargetSettings(TargetSettings):
    """Where tables keep their schema and name."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
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
