"""What every target's block of the configuration has, whatever its kind."""

from typing import Annotated

from pydantic import StringConstraints

from walsync.settings import Settings


class TargetSettings(Settings):
    """One entry of `targets`; each kind adds its own keys and a literal `type`."""

    type: str
    """The kind of target."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    """The target's name in the registry, in metrics and in messages; unique; lower case, digits, ``_`` and ``-``."""
