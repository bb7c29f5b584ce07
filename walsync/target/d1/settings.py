"""The configuration of a Cloudflare D1 target."""

from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator

from walsync.setting_types import refusal
from walsync.target.settings import TargetSettings

_EMBEDDED: Final = "sqlite://"
_GATEWAY: Final = ("https://", "http://")


def _check_url(url: str) -> str:
    if url.startswith(_GATEWAY):
        raise refusal(
            "WS1027",
            "D1 databases at Cloudflare are not available yet",
            "use a file: sqlite:///var/lib/walsync/local.sqlite",
        )
    path = url.removeprefix(_EMBEDDED)
    if path == url or not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise refusal(
            "WS1026", "not the URL of a file", "write an absolute path: sqlite:///var/lib/walsync/local.sqlite"
        )
    return url


class D1Settings(TargetSettings):
    """``public.users`` becomes the table ``users``; the checkpoint stands in ``_walsync_checkpoint``."""

    names_ignore_case: ClassVar[bool] = True

    type: Literal["d1"]
    """The kind of target."""

    url: Annotated[str, AfterValidator(_check_url)]
    """Where the database is: ``sqlite:///`` and the absolute path of a file, which is created when absent."""

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.url.removeprefix(_EMBEDDED))
