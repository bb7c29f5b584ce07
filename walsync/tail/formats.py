"""The renderer that a name and ``-o name=value`` stand for; where a format is added, it is added here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from walsync import wal2json
from walsync.rendering.base import Renderer
from walsync.rendering.formats import JSON, TEXT, chosen, json_renderer, text_renderer
from walsync.source.description import from_stream
from walsync.wal2json.options import Pairs
from walsync.wal2json.renderer import Describe

WAL2JSON: Final = "wal2json"
FORMATS: Final = (WAL2JSON, JSON, TEXT)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a renderer may ask for: the source's catalogue, and whether a person looks at a terminal."""

    describe: Describe
    origin_id: Callable[[str], int]
    colour: bool = False


NOWHERE: Final = Surroundings(lambda relation: from_stream(relation, lambda _oid: None), lambda _name: 0)
"""No source at all, to try options out."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A format with its options, and the tables and rows to show; all when empty."""

    name: str
    options: Pairs = ()
    tables: Sequence[str] = field(default=())
    conditions: Sequence[str] = field(default=())


def make_renderer(choice: Choice, surroundings: Surroundings) -> Renderer:
    """Make the renderer; ConfigurationError for options that the format does not have."""
    return chosen(_renderer(choice, surroundings), choice.tables, choice.conditions)


def _renderer(choice: Choice, surroundings: Surroundings) -> Renderer:
    if choice.name == WAL2JSON:
        options = wal2json.parse(choice.options)
        return wal2json.Renderer(options, surroundings.describe, surroundings.origin_id)
    plain = {name: value or "" for name, value in choice.options}
    return json_renderer(plain) if choice.name == JSON else text_renderer(plain, colour=surroundings.colour)
