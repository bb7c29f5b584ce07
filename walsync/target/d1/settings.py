"""The configuration of a Cloudflare D1 target, which names one of three ways to its database."""

from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints, model_validator

from walsync.setting_types import refusal
from walsync.settings import Secret
from walsync.target.settings import TargetSettings

_EMBEDDED: Final = "sqlite://"
_GATEWAY: Final = ("https://", "http://")
_LOOPBACK: Final = ("127.", "localhost", "::1")
_API: Final = "https://api.cloudflare.com/client/v4"

_REST_KEYS: Final = ("account_id", "database_id", "api_token")
_GATEWAY_KEYS: Final = ("url", "database", "secret")

_EXAMPLES: Final = (
    "url: sqlite:///absolute/path; or url: https://..., database: DB_WEUR and secret; or account_id, database_id and"
    " api_token"
)

_Id = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z-]{1,64}$")]


def _check_url(url: str | None) -> str | None:
    if url is None:
        return None
    if url.startswith(_GATEWAY):
        return _check_http(url)
    path = url.removeprefix(_EMBEDDED)
    if path == url or not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise refusal(
            "WS1026",
            "neither the URL of a file nor of a gateway",
            "write an absolute path, sqlite:///var/lib/walsync/local.sqlite, or https://gateway.example.workers.dev",
        )
    return f"{_EMBEDDED}/{path.lstrip('/')}"  # others write an absolute path with four: SQLite would read a host


def _check_http(url: str) -> str:
    try:
        parts = urlsplit(url)
        named = parts.hostname is not None and parts.port != 0
    except ValueError:
        named = False
    if not named or parts.username or parts.password or parts.query or parts.fragment:
        raise refusal(
            "WS1051", "not the address of a gateway", "write https://gateway.example.workers.dev, and nothing after it"
        )
    return url


def _check_api_url(url: str) -> str:
    parts = urlsplit(_check_http(url))
    if parts.scheme == "http" and not (parts.hostname or "").startswith(_LOOPBACK):
        raise refusal("WS1051", "the token would travel unencrypted", "write https://")
    return url


class D1Settings(TargetSettings):
    """``public.users`` becomes the table ``users``; the checkpoint stands in ``_walsync_checkpoint``."""

    names_ignore_case: ClassVar[bool] = True

    type: Literal["d1"]
    """The kind of target."""

    url: Annotated[str | None, AfterValidator(_check_url)] = None
    """A database in a file: ``sqlite:///`` and its absolute path, created when absent. Or the gateway Worker's
    address: ``https://``."""

    database: Annotated[str, StringConstraints(pattern=r"^DB_[A-Z0-9_]{1,60}$")] | None = None
    """By gateway: the name of the Worker's binding, such as ``DB_WEUR``."""

    secret: Secret | None = None
    """By gateway: the value of its WALSYNC_SECRET."""

    account_id: _Id | None = None
    """By REST: the Cloudflare account."""

    database_id: _Id | None = None
    """By REST: the database's id, as ``wrangler d1 list`` prints it."""

    api_token: Secret | None = None
    """By REST: an API token with the right D1:Edit. Its targets share the 1200 requests that it has in 5 minutes."""

    api_url: Annotated[str, AfterValidator(_check_api_url)] = _API
    """By REST: where Cloudflare's API is."""

    @model_validator(mode="after")
    def _check_way(self) -> "D1Settings":
        given = {name for name in (*_GATEWAY_KEYS, *_REST_KEYS) if getattr(self, name) is not None}
        embedded = self.url is not None and self.url.startswith(_EMBEDDED)
        wanted = set(_REST_KEYS) if self.url is None else {"url"} if embedded else set(_GATEWAY_KEYS)
        if not given:
            raise refusal("WS1052", "it does not say where the database is", f"write {_EXAMPLES}")
        for name in sorted(wanted - given):
            raise refusal("WS1052", f"{name} is missing", f"write {_EXAMPLES}", at=(name,))
        for name in sorted(given - wanted):
            raise refusal("WS1052", f"{name} does not go with the other keys", f"write {_EXAMPLES}", at=(name,))
        for name in ("secret", "api_token"):
            value = getattr(self, name)
            if value is not None and not value.get_secret_value():
                raise refusal("WS1052", f"{name} is empty", "set the variable that it is taken from", at=(name,))
        return self

    @property
    def path(self) -> Path:
        """The file of an embedded database."""
        return Path((self.url or "").removeprefix(_EMBEDDED))
