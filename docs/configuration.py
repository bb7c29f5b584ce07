"""Writes docs/configuration.md from the settings' own types, bounds, defaults and docstrings: `make fix` runs it."""  # noqa: INP001 - a script

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import SecretStr, StringConstraints
from pydantic.fields import FieldInfo

from walsync.config import Config
from walsync.config_file import PLACES
from walsync.setting_types import Dsn, Seconds, Size
from walsync.settings import Settings
from walsync.target.registry import KINDS
from walsync.target.settings import TargetSettings

_HEAD: Final = f"""\
# Configuration

<!-- Generated from the settings in walsync/ by docs/configuration.py. `make fix` writes it anew. -->

Every key of the file, with its bound and default. [conf/walsync.yaml](../conf/walsync.yaml) is a file with all of them
to copy from; `walsync config` prints what was understood, with secrets masked; `walsync config --json-schema` prints a
JSON Schema for editors; `walsync check` tries it. An unknown key is an error that names the nearest known one.

- The file is looked for at `-c FILE`, `$WALSYNC_CONFIG`, {", ".join(f"`{place}`" for place in PLACES)}.
- `${{NAME}}` is replaced by the environment's value, and is an error when it is not set; `${{NAME:-default}}` takes the
  default when it is not set or empty; `$${{` is a literal `${{`. They work in values, not in keys, and are filled in
  after the YAML is parsed: no value can change the structure. Inside `{{ }}` and `[ ]` put them in quotes.
- A **size** is `64MB`, with B, kB, MB, GB and TB as powers of 1024, as in postgresql.conf. A **duration** is `25s`,
  with ms, s, m, h and d. A **DSN** is a libpq connection string or URL. A **secret** is masked wherever it is shown.
- **Bold** keys have to be there.
"""
_SIZES: Final = (("TB", 1024**4), ("GB", 1024**3), ("MB", 1024**2), ("kB", 1024))
_SHARED: Final[tuple[tuple[Any, str], ...]] = ((Size, "size"), (Seconds, "duration"), (Dsn, "DSN"))
_PLAIN: Final[Mapping[Any, str]] = {str: "text", int: "integer", float: "number", bool: "boolean", SecretStr: "secret"}

_PLURALS: Final = {"text": "texts", "entry": "entries"}


def document() -> str:
    """Write the whole reference."""
    parts = [_HEAD]
    for name, field in Config.model_fields.items():
        parts.append(f"## {name}\n{_prose(field.description or '')}\n")
        if name == "targets":
            parts.extend(_targets())
        else:
            parts.extend(_section(name, next(_models(field.annotation))))
    return "\n".join(parts)


def _targets() -> Iterator[str]:
    yield _table(TargetSettings, TargetSettings.model_fields)
    yield from _entries("targets[]", TargetSettings)
    for kind, known in KINDS.items():
        model = known.settings
        own = {name: field for name, field in model.model_fields.items() if name not in TargetSettings.model_fields}
        yield f"### targets[] of type {kind}\n{_prose(model.__doc__ or '')} [More](targets.md).\n"
        yield _table(model, own)
        yield from _own_entries(f"targets[] of type {kind}", model)


def _own_entries(place: str, model: type[TargetSettings]) -> Iterator[str]:
    """Describe what a kind of target may say of a table besides what all kinds may."""
    (shared,) = _models(TargetSettings.model_fields["tables"].annotation)
    for inner in _models(model.model_fields["tables"].annotation):
        own = {name: field for name, field in inner.model_fields.items() if name not in shared.model_fields}
        if own:
            yield f"### tables[] of {place}\n{_prose(inner.__doc__ or '')}\n"
            yield _table(inner, own)


def _section(place: str, model: type[Settings]) -> Iterator[str]:
    yield _table(model, model.model_fields)
    yield from _entries(place, model)


def _entries(place: str, model: type[Settings]) -> Iterator[str]:
    """Describe the blocks inside a block, such as an entry of `tables`."""
    for name, field in model.model_fields.items():
        for inner in _models(field.annotation):
            path = f"{place}.{name}[]"
            yield f"### {path}\n{_prose(inner.__doc__ or '')} A plain text stands for `{{table: text}}`.\n"
            yield from _section(path, inner)


def _table(model: type[Settings], fields: Mapping[str, FieldInfo]) -> str:
    rows = "".join(_row(model, name, field) for name, field in fields.items())
    return f"| key | type | default | meaning |\n|---|---|---|---|\n{rows}"


def _row(model: type[Settings], name: str, field: FieldInfo) -> str:
    if not field.description:
        raise SystemExit(f"{model.__name__}.{name} has no docstring")
    key = f"**`{name}`**" if field.is_required() else f"`{name}`"
    default = "" if field.is_required() else _default(field)
    kind = ", ".join((_type(field.annotation, field.metadata), *_bounds(field)))
    if model is TargetSettings and name == "type":
        kind = ", ".join(f"`{known}`" for known in KINDS)
    return f"| {key} | {_cell(kind)} | {default} | {_cell(_prose(field.description))} |\n"


def _type(annotation: Any, metadata: Sequence[Any] = ()) -> str:  # noqa: ANN401
    found = next((name for alias, name in _SHARED if get_args(alias)[1] in metadata), _PLAIN.get(annotation, ""))
    arguments = get_args(annotation)
    match get_origin(annotation):
        case _ if found:
            pass
        case None:
            found = "entry" if issubclass(annotation, Settings) else str(annotation.__name__)
        case origin if origin is Annotated:
            found = _type(arguments[0], arguments[1:])
        case origin if origin in {Union, UnionType}:
            found = " or ".join(_type(one, metadata) for one in arguments if one is not NoneType)
        case origin if origin is Literal:
            found = " or ".join(f"`{one}`" for one in arguments)
        case origin if issubclass(origin, Mapping):
            found = f"mapping to {_type(arguments[1])}"
        case _:
            found = f"list of {_PLURALS[_type(arguments[0])]}"
    return found


def _bounds(field: FieldInfo) -> Iterator[str]:
    size = get_args(Size)[1] in field.metadata
    for one in field.metadata:
        match one:
            case annotated_types.Ge():
                yield f"at least {_size(one.ge) if size else one.ge}"
            case annotated_types.Gt():
                yield f"above {one.gt}"
            case annotated_types.Le():
                yield f"at most {_size(one.le) if size else one.le}"
            case annotated_types.Lt():
                yield f"below {one.lt}"
            case annotated_types.MinLen() | StringConstraints(min_length=1):
                yield "not empty"
            case StringConstraints(pattern=str()):
                yield f"`{one.pattern}`"
            case _:
                pass  # what else stands there checks or converts; the docstring says what it wants


def _default(field: FieldInfo) -> str:
    match field.get_default(call_default_factory=True, validated_data={}):
        case None | () | "":
            return ""
        case SecretStr() as secret:
            return "" if not secret.get_secret_value() else "a secret"
        case value if get_args(Size)[1] in field.metadata:
            return f"`{_size(value)}`"
        case float() as value if get_args(Seconds)[1] in field.metadata:
            return f"`{value:g}s`"
        case value:
            return f"`{value}`" if value != {} else ""


def _size(value: Any) -> str:  # noqa: ANN401
    return next((f"{value // unit}{name}" for name, unit in _SIZES if value >= unit and value % unit == 0), str(value))


def _models(annotation: Any) -> Iterator[type[Settings]]:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _prose(text: str) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(document(), encoding="utf-8")
