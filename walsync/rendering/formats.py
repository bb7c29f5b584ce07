"""The output formats by name, and the options that each one knows: one place for the command line and for targets."""

from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from walsync.errors import ConfigurationError
from walsync.rendering.base import Renderer
from walsync.rendering.choice import Choice, ChosenRenderer
from walsync.rendering.document import JsonRenderer
from walsync.rendering.reading import WIDTH, TextRenderer

JSON: Final = "json"
TEXT: Final = "text"

NUMBERS_AS_TEXT: Final = "numeric-data-types-as-string"
"""As wal2json's own option of this name."""

_WIDTH: Final = "width"
_TRUE: Final = frozenset({"", "true", "on", "yes", "1"})
_FALSE: Final = frozenset({"false", "off", "no", "0"})


def json_renderer(options: Mapping[str, str], *, snapshot: bool = False) -> JsonRenderer:
    """Make a renderer of walsync's own JSON; ConfigurationError WS1028 for an option that it does not have."""
    _refuse_unknown(JSON, options, (NUMBERS_AS_TEXT,))
    return JsonRenderer(numbers_as_text=_boolean(options, NUMBERS_AS_TEXT), snapshot=snapshot)


def text_renderer(options: Mapping[str, str], *, colour: bool = False) -> TextRenderer:
    """Make a renderer for people; ConfigurationError WS1028 for an option that it does not have."""
    _refuse_unknown(TEXT, options, (_WIDTH,))
    width = options.get(_WIDTH, str(WIDTH))
    if not width.isdecimal():
        _refuse(f"{_WIDTH} is a number of characters, not {width!r}", f"write -o {_WIDTH}=0 to cut nothing")
    return TextRenderer(colour=colour, width=int(width))


def chosen(renderer: Renderer, tables: Sequence[str], conditions: Sequence[str]) -> Renderer:
    """Show only some tables and rows; ConfigurationError WS1029 where that cannot be read."""
    return ChosenRenderer(renderer, Choice.parse(tables, conditions)) if tables or conditions else renderer


def _boolean(options: Mapping[str, str], name: str) -> bool:
    text = options.get(name, "false").lower()
    if text not in _TRUE | _FALSE:
        _refuse(f"{name} is true or false, not {text!r}", f"write -o {name}=true")
    return text in _TRUE


def _refuse_unknown(name: str, options: Mapping[str, str], known: Sequence[str]) -> None:
    for option in options:
        if option not in known:
            _refuse(f"format {name} has no option {option!r}", f"it has: {', '.join(known)}")


def _refuse(message: str, hint: str) -> NoReturn:
    raise ConfigurationError("WS1028", message, hint=hint)
