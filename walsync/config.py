"""The configuration: one YAML file and the environment become one frozen `Config`, or one error that lists all faults.

It composes the settings of the steps; what a key means stands in the step's own ``settings.py``.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, get_args

from psycopg2.extensions import parse_dsn
from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from walsync.backlog.settings import BacklogSettings, BatchSettings
from walsync.config_file import Document, InvalidConfiguration, KeyPath, Problem, dotted, find, read
from walsync.errors import ConfigurationError
from walsync.http.settings import HttpSettings
from walsync.setting_types import check_dsn, refusal
from walsync.settings import Secret, Settings
from walsync.snapshot.settings import SnapshotSettings
from walsync.source.settings import SourceSettings
from walsync.target.postgres.settings import PostgresSettings
from walsync.target.registry import KINDS, AnyTargetSettings
from walsync.target.settings import TargetSettings

__all__ = ["Config", "InvalidConfiguration", "Problem", "find", "load", "refuse_what_needs_a_restart"]

_EXPLAINED: Final = "conf/walsync.yaml explains each key"

_SIMILAR: Final = 0.6
"""difflib's own default: below it a suggestion misleads more often than it helps."""


def _check_targets(targets: tuple[TargetSettings, ...]) -> tuple[TargetSettings, ...]:
    first: dict[str, int] = {}
    for index, target in enumerate(targets):
        earlier = first.setdefault(target.name, index)
        if earlier != index:
            raise refusal(
                "WS1011",
                f"the name {target.name} is taken by targets[{earlier}]",
                "give each target its own name: checkpoints and metrics are kept under it",
                at=(index, "name"),
            )
    return targets


class Config(Settings):
    """Everything an operator decides; frozen, and its repr shows no secret."""

    source: SourceSettings
    """The database that changes are read from."""

    targets: Annotated[tuple[AnyTargetSettings, ...], Field(min_length=1), AfterValidator(_check_targets)]
    """The databases that are kept in step, at least one."""

    backlog: BacklogSettings = BacklogSettings()
    """What was read and is not yet durable in every target."""

    snapshot: SnapshotSettings = SnapshotSettings()
    """How the first copy of a table is read."""

    batch: BatchSettings = BatchSettings()
    """How much a target takes at once."""

    http: HttpSettings = HttpSettings()
    """/metrics, /health, /ready and /status."""

    @property
    def bounded_batch(self) -> BatchSettings:
        """`batch`, with checkpoints early enough that a target without changes stays well within `max_slot_lag`."""
        limit = self.source.max_slot_lag
        if not limit:
            return self.batch
        idle_bytes = min(self.batch.idle_checkpoint_bytes, limit // 4)
        return self.batch.model_copy(update={"idle_checkpoint_bytes": idle_bytes})

    @model_validator(mode="after")
    def _check_databases(self) -> "Config":
        source = _database(self.source.dsn)
        for index, target in enumerate(self.targets):
            if isinstance(target, PostgresSettings) and _database(check_dsn(target.dsn, at=_dsn_of(index))) == source:
                raise refusal(
                    "WS1020",
                    "the target is the source database itself",
                    "rows would be copied onto themselves: name another database",
                    at=_dsn_of(index),
                )
        return self


def _dsn_of(index: int) -> KeyPath:
    return ("targets", index, "dsn")


def _database(dsn: Secret) -> tuple[str, ...]:
    """Name the database that a DSN leads to, as far as the text tells; `check` asks the servers themselves."""
    parts = parse_dsn(dsn.get_secret_value())
    host = parts.get("host") or parts.get("hostaddr") or parts.get("service") or "localhost"
    return host.lower(), parts.get("port", "5432"), parts.get("dbname") or parts.get("user") or ""


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Find, read and check the configuration; raises InvalidConfiguration with every problem at once."""
    document = read(find(path, environ), environ)
    try:
        return Config.model_validate(document.content)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    raise InvalidConfiguration(_problems(document, details))


def refuse_what_needs_a_restart(present: Config, wanted: Config) -> None:
    """Refuse, with ConfigurationError, what a running instance cannot take; other targets and tables it can."""
    for key, was, is_ in (
        ("source.dsn", present.source.dsn, wanted.source.dsn),
        ("source.slot", present.source.slot, wanted.source.slot),
        ("source.failover", present.source.failover, wanted.source.failover),
        ("source.publication", present.source.publication, wanted.source.publication),
        ("http", present.http, wanted.http),
    ):
        if was != is_:
            raise ConfigurationError(
                "WS1033", f"{key} cannot change while walsync runs", hint="restart walsync, or put it back"
            )


def _problems(document: Document, details: Sequence[ErrorDetails]) -> list[Problem]:
    # pydantic calls a list too short when its entries are merely wrong.
    kept = [
        detail
        for detail in details
        if detail["type"] != "too_short" or not any(_is_inside(other["loc"], detail["loc"]) for other in details)
    ]
    return [_problem(document, detail) for detail in sorted(kept, key=lambda detail: document.line(_key_path(detail)))]


def _is_inside(inner: KeyPath, outer: KeyPath) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _problem(document: Document, detail: ErrorDetails) -> Problem:
    """Turn pydantic's finding into ours; the value itself never enters the text."""
    key_path = _key_path(detail)
    code, message, hint = _explain(detail, key_path)
    if code == "WS1010":
        key_path = (*key_path, "type")
    return Problem(code, document.where(key_path), message, hint)


def _explain(detail: ErrorDetails, key_path: KeyPath) -> tuple[str, str, str]:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "refused":
            found = context["code"], context["message"], context["hint"]
        case "extra_forbidden":
            found = "WS1008", "unknown key", _nearest(str(key_path[-1]), _keys(detail["loc"]), "keys")
        case "missing":
            found = "WS1009", "this key has to be there", _EXPLAINED
        case "union_tag_not_found":
            found = "WS1010", "a target has a type", _nearest("", KINDS, "types")
        case "union_tag_invalid":
            found = "WS1010", "unknown type of target", _nearest(str(context["tag"]), KINDS, "types")
        case "too_short":
            found = "WS1016", "the list is empty", f"name at least one of the {dotted(key_path)}"
        case _:
            text = detail["msg"].removeprefix("Input ")
            found = "WS1019", text[:1].lower() + text[1:], _EXPLAINED
    return found


def _key_path(detail: ErrorDetails) -> KeyPath:
    """Name the key as the file does: pydantic puts a target's type between its index and its key."""
    loc = detail["loc"]
    inside = loc[:2] + loc[3:] if loc[:1] == ("targets",) else loc
    return inside + tuple(detail.get("ctx", {}).get("at", ()))


def _nearest(word: str, known: Iterable[str], noun: str) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=_SIMILAR)
    return (f"did you mean {near[0]}? " if near else "") + f"the {noun} known here: {', '.join(names)}"


def _keys(loc: KeyPath) -> Iterable[str]:
    """List the keys that are known beside the unknown one at `loc`."""
    model: type[Settings] = Config
    for part in loc[:-1]:
        if part in KINDS and model is TargetSettings:
            model = KINDS[str(part)].settings
        elif part in model.model_fields:
            model = next(_models(model.model_fields[str(part)].annotation), model)
    return model.model_fields


def _models(annotation: Any) -> Iterator[type[Settings]]:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
