"""What the settings of every step have in common: frozen, documented under each field, and no unknown keys."""

from pydantic import BaseModel, ConfigDict, SecretStr

Secret = SecretStr
"""A value that shows as ``**********`` everywhere; `get_secret_value()` where it is used, and nowhere else."""


class Settings(BaseModel):
    """One block of the configuration file; the text under a field is its meaning, bound and default."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, hide_input_in_errors=True
    )
