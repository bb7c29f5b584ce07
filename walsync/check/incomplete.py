"""Fills in variables that are not set, so that `check` can look at everything that does not depend on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from walsync.config import Config, InvalidConfiguration, Problem, load
from walsync.settings import Secret, Settings

_FILLER: Final = "variable_that_is_not_set"


def complete(
    error: InvalidConfiguration, path: Path | None, environ: Mapping[str, str]
) -> tuple[Config | None, Sequence[Problem]]:
    """Load a file again of which nothing but variables was missing; else None, and what else is wrong with it."""
    names = [problem.variable for problem in error.problems]
    if not all(names):
        return None, ()
    try:
        return load(path, {**environ, **dict.fromkeys(names, _FILLER)}), ()
    except InvalidConfiguration as further:
        known = {problem.where for problem in error.problems}
        return None, [problem for problem in further.problems if problem.where not in known]


def is_complete(settings: Settings) -> bool:
    """Tell whether a block of the configuration has no part that was filled in."""
    values = (value for _, value in settings)
    return not any(
        _FILLER in (value.get_secret_value() if isinstance(value, Secret) else repr(value)) for value in values
    )
