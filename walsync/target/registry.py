"""The kinds of targets: one line each. A new kind is one folder beside this file and one line here."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from walsync.target.postgres.settings import PostgresSettings
from walsync.target.settings import TargetSettings

KINDS: Final[Mapping[str, type[TargetSettings]]] = {
    "postgres": PostgresSettings,
}
"""`type` in the configuration file -> the settings of that kind."""


class _ByType:
    """Tells pydantic to choose the kind by `type`; its own discriminated unions need two kinds at least."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        return core_schema.tagged_union_schema(
            {kind: handler.generate_schema(settings) for kind, settings in KINDS.items()}, discriminator="type"
        )


AnyTargetSettings: TypeAlias = Annotated[TargetSettings, _ByType()]
"""One entry of `targets`, of whichever kind its `type` names."""
