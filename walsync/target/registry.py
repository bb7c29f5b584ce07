"""The kinds of targets: one line each. A new kind is one folder beside this file and one line here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, Protocol, TypeAlias, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from walsync.target.base import Target
from walsync.target.d1.rest_target import make_target
from walsync.target.d1.settings import D1Settings
from walsync.target.file.settings import FileSettings
from walsync.target.file.target import FileTarget
from walsync.target.postgres.settings import PostgresSettings
from walsync.target.postgres.target import PostgresTarget
from walsync.target.settings import TargetSettings
from walsync.target.stdout.settings import StdoutSettings
from walsync.target.stdout.target import StdoutTarget
from walsync.target.surrealdb.settings import SurrealDBSettings
from walsync.target.surrealdb.target import SurrealDBTarget

_S = TypeVar("_S", bound=TargetSettings)
_S_contra = TypeVar("_S_contra", bound=TargetSettings, contravariant=True)


class Make(Protocol[_S_contra]):
    """Makes a target of a kind; connects to nothing yet. `collapse` is off where every change is written by itself."""

    def __call__(self, settings: _S_contra, slot: str, *, collapse: bool) -> Target:
        """Make it for the stream of `slot`."""
        ...


@dataclass(frozen=True, slots=True)
class Kind(Generic[_S]):
    """What a kind brings: the keys it knows, and how it is made."""

    settings: type[_S]
    make: Make[_S]


KINDS: Final[Mapping[str, Kind[Any]]] = {
    "postgres": Kind(PostgresSettings, PostgresTarget),
    "d1": Kind(D1Settings, make_target),
    "surrealdb": Kind(SurrealDBSettings, SurrealDBTarget),
    "file": Kind(FileSettings, FileTarget),
    "stdout": Kind(StdoutSettings, StdoutTarget),
}
"""`type` in the configuration file -> that kind."""


def open_target(settings: TargetSettings, *, slot: str, collapse: bool = True) -> Target:
    """Make the target that `settings` describe."""
    kind = next(kind for kind in KINDS.values() if isinstance(settings, kind.settings))
    return kind.make(settings, slot, collapse=collapse)


class _ByType:
    """Tells pydantic to choose the kind by `type`; its own discriminated unions need two kinds at least."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        return core_schema.tagged_union_schema(
            {name: handler.generate_schema(kind.settings) for name, kind in KINDS.items()}, discriminator="type"
        )


AnyTargetSettings: TypeAlias = Annotated[TargetSettings, _ByType()]
"""One entry of `targets`, of whichever kind its `type` names."""
