"""The configuration of a SurrealDB target."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from walsync.setting_types import Seconds, refusal
from walsync.settings import Secret
from walsync.target.settings import MatchValues, TargetSettings, TargetTableSettings, check_entries, complete

SURREALKV: Final = "surrealkv://"
MEMORY: Final = "mem://"

_SERVER: Final = ("ws", "wss")
_PATH: Final = "/rpc"
_USER_HINT: Final = "name username and password, or for a record access: access and credentials"


def _check_url(url: str) -> str:
    path = url.removeprefix(SURREALKV)
    embedded = url == MEMORY or (url.startswith(SURREALKV) and _names_a_directory(path))
    if not embedded and not _names_a_server(url):
        raise refusal(
            "WS1026",
            "not the address of a SurrealDB",
            "write wss://host/rpc or ws://host:8000/rpc for a server; for an engine inside walsync surrealkv:// and an"
            " absolute path, such as surrealkv:///var/lib/walsync/graph, or mem://",
        )
    return url


def _names_a_directory(path: str) -> bool:
    # The engine would read what follows a question mark as its own settings.
    return PurePosixPath(path).is_absolute() and PurePosixPath(path).name != "" and not set("?#\0") & set(path)


def _names_a_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    # A user in the address would stand in logs; the keys for it are masked.
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    return plain and parts.scheme in _SERVER and bool(parts.hostname) and port != 0 and parts.path == _PATH


def _check_edge(edge: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    if edge and set(edge) != {"in", "out"}:
        raise refusal("WS1055", "an edge has two ends", "name the columns of both: edge: {in: user_id, out: group_id}")
    return edge


Level: TypeAlias = Literal["root", "namespace", "database"]

Name = Annotated[str, StringConstraints(min_length=1)]


class SurrealDBTableSettings(TargetTableSettings):
    """What else may be said of a table on SurrealDB."""

    nulls: Literal["keep", "none"] = "keep"
    """What stands where a column is NULL: ``keep``, a field with NULL; or ``none``, no field at all."""

    schemafull: bool = False
    """Whether the table is defined as SCHEMAFULL, with a field of the column's type for each column."""

    links: Mapping[str, MatchValues] = {}
    """Fields that lead to another record, and the columns of the foreign key that says which: ``{author: author_id}``.
    A field that is named like its only column takes that column's place."""

    edge: Annotated[Mapping[str, MatchValues], AfterValidator(_check_edge)] = {}
    """Makes the rows edges of a graph, from one record to another: the columns of two foreign keys, such as
    ``{in: user_id, out: group_id}``."""


class SurrealDBSettings(TargetSettings):
    """A table is a table of records; the checkpoint stands in ``_walsync:checkpoint``."""

    type: Literal["surrealdb"]
    """The kind of target."""

    tables: Annotated[
        tuple[
            Annotated[
                SurrealDBTableSettings, BeforeValidator(complete, json_schema_input_type=str | SurrealDBTableSettings)
            ],
            ...,
        ]
        | None,
        AfterValidator(check_entries),
    ] = None
    """The part of `source.tables` that this target gets, as ``schema.table``, ``schema.*`` or with `rename`, `match`
    and more; all when left out."""

    url: Annotated[str, AfterValidator(_check_url)]
    """``wss://host/rpc`` or ``ws://host:8000/rpc``, a server; ``surrealkv:///an/absolute/path``, a directory that the
    engine inside walsync makes and holds; or ``mem://``, in memory, for trying things out: it is gone with the
    process."""

    namespace: Name
    """SurrealDB's namespace; created when absent."""

    database: Name
    """SurrealDB's database in it; created when absent."""

    username: str = ""
    """A server's user, who needs the role EDITOR or OWNER."""

    password: Secret = Secret("")
    """That user's password."""

    level: Level = "root"
    """Where that user is defined: ON ROOT, in the namespace or in the database."""

    access: str = ""
    """The name of a record access of the database, to sign in by instead of a user."""

    credentials: Mapping[str, Secret] = {}
    """The variables of that access, such as name and pass."""

    ca_file: str = ""
    """A file of certificates (PEM) to trust besides the system's, for wss://; empty: none."""

    request_timeout_seconds: Annotated[Seconds, Field(gt=0)] = 300.0
    """How long a server may work on one request before the connection is given up; above 0."""

    @property
    def is_server(self) -> bool:
        """Whether it is reached through a connection."""
        return self.url.startswith(_SERVER)

    @property
    def signs_in_at(self) -> Level | Literal["record"]:
        """Where who signs in is defined."""
        return "record" if self.access else self.level

    @model_validator(mode="after")
    def _check_sign_in(self) -> "SurrealDBSettings":
        user = bool(self.username or self.password.get_secret_value())
        record = bool(self.access or self.credentials)
        if not self.is_server:
            if user or record:
                raise _refuse("the engine inside walsync asks for no user", "remove it", at="url")
        elif user == record:
            raise _refuse("a server asks for one user", _USER_HINT, at="username")
        elif user and not (self.username and self.password.get_secret_value()):
            raise _refuse("username and password go together", _USER_HINT, at="username")
        elif record and not (self.access and self.credentials):
            raise _refuse("access and credentials go together", _USER_HINT, at="access")
        return self


def _refuse(message: str, hint: str, *, at: str) -> Exception:
    return refusal("WS1050", message, hint, at=(at,))
