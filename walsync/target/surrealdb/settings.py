"""The configuration of a SurrealDB target."""

from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, StringConstraints

from walsync.setting_types import refusal
from walsync.target.settings import TargetSettings

SURREALKV: Final = "surrealkv://"
MEMORY: Final = "mem://"


def _check_url(url: str) -> str:
    if url.startswith(("ws://", "wss://", "http://", "https://")):
        raise refusal(
            "WS1027",
            "a SurrealDB server cannot be a target yet",
            "keep it embedded: surrealkv:///var/lib/walsync/graph",
        )
    path = url.removeprefix(SURREALKV)
    if url != MEMORY and not (url.startswith(SURREALKV) and _names_a_directory(path)):
        raise refusal(
            "WS1026",
            "not the address of an embedded SurrealDB",
            "write surrealkv:// and an absolute path, such as surrealkv:///var/lib/walsync/graph, or mem://",
        )
    return url


def _names_a_directory(path: str) -> bool:
    # The engine would read what follows a question mark as its own settings.
    return PurePosixPath(path).is_absolute() and PurePosixPath(path).name != "" and not set("?#\0") & set(path)


Name = Annotated[str, StringConstraints(min_length=1)]


class SurrealDBSettings(TargetSettings):
    """A table is a table of records; the checkpoint stands in ``_walsync:checkpoint``."""

    type: Literal["surrealdb"]
    """The kind of target."""

    url: Annotated[str, AfterValidator(_check_url)]
    """``surrealkv:///an/absolute/path``, a directory that the engine inside walsync makes and holds; or ``mem://``, in
    memory, for trying things out: it is gone with the process."""

    namespace: Name
    """SurrealDB's namespace; created when absent."""

    database: Name
    """SurrealDB's database in it; created when absent."""
