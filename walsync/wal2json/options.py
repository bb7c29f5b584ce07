"""wal2json's options: every one with its own name and default, read from ``name=value`` as the plugin reads them.

What is wrong gets the plugin's own sentence. `partition-root` is newer than 2.6, and not here.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeAlias, TypeVar

from walsync.errors import ConfigurationError
from walsync.wal2json.lists import Pattern, read_names, read_numbers, read_patterns

_NEWEST_FORMAT: Final = 2
_OLDEST_FORMAT: Final = 1
_ACTIONS: Final = ("insert", "update", "delete", "truncate")
_MOST: Final = 2**31

_T = TypeVar("_T")

Pairs: TypeAlias = Iterable[tuple[str, str | None]]
"""Options in the order given; None for one without a value."""


@dataclass(frozen=True, slots=True)
class Options:
    """Every option, named as wal2json names it with ``_`` for ``-``; the defaults are the plugin's.

    `add_tables` is None for all tables; empty, nothing is added.
    """

    format_version: int = 1
    include_xids: bool = False
    include_timestamp: bool = False
    include_lsn: bool = False
    include_origin: bool = False
    include_schemas: bool = True
    include_types: bool = True
    include_type_oids: bool = False
    include_typmod: bool = True
    include_domain_data_type: bool = False
    include_column_positions: bool = False
    include_not_null: bool = False
    include_default: bool = False
    include_pk: bool = False
    include_transaction: bool = True
    pretty_print: bool = False
    write_in_chunks: bool = False
    numeric_data_types_as_string: bool = False
    actions: frozenset[str] = frozenset(_ACTIONS)
    filter_tables: tuple[Pattern, ...] = ()
    add_tables: tuple[Pattern, ...] | None = None
    filter_origins: frozenset[int] = frozenset()
    filter_msg_prefixes: frozenset[bytes] = frozenset()
    add_msg_prefixes: frozenset[bytes] = frozenset()

    def shows_table(self, schema: str, name: str) -> bool:
        """Tell whether changes of this table are printed: filtered first, then added."""
        if any(pattern.matches(schema, name) for pattern in self.filter_tables):
            return False
        return self.add_tables is None or any(pattern.matches(schema, name) for pattern in self.add_tables)

    def shows_message(self, prefix: str) -> bool:
        """Tell whether messages with this prefix are printed: filtered first, then added."""
        name = prefix.encode()
        return name not in self.filter_msg_prefixes and (not self.add_msg_prefixes or name in self.add_msg_prefixes)


def parse(pairs: Pairs) -> Options:
    """Read options, later ones over earlier ones; ConfigurationError WS1030 with the plugin's sentence."""
    options = Options()
    for name, value in pairs:
        changed: Any
        if name in _READERS:
            changed = _READERS[name](options, value)
        elif name in _BOOLEANS:
            changed = value is None or _boolean(name, value)
        elif name == "include-unchanged-toast":
            raise _wrong(f'parameter "{name}" was deprecated')
        else:
            raise _wrong(f'option "{name}" = "{"(null)" if value is None else value}" is unknown')
        options = replace(options, **{name.replace("-", "_"): changed})
    return options


def _list(name: str, value: str, read: Callable[[str], list[_T]]) -> list[_T]:
    try:
        return read(value)
    except ValueError:
        raise _unparsable(name, value) from None


def _unparsable(name: str, value: str) -> ConfigurationError:
    return _wrong(f'could not parse value "{value}" for parameter "{name}"')


def _wrong(sentence: str) -> ConfigurationError:
    return ConfigurationError("WS1030", sentence, hint="docs/wal2json.md lists the options and what they take")


def _boolean(name: str, value: str) -> bool:
    # Postgres' own rule: any beginning of a word, in any case, that is not a beginning of two; and 1 and 0.
    word = value.lower()
    if word and ("true".startswith(word) or "yes".startswith(word) or word in ("on", "1")):
        return True
    if word and ("false".startswith(word) or "no".startswith(word) or word in ("of", "off", "0")):
        return False
    raise _unparsable(name, value)


def _format_version(_options: Options, value: str | None) -> int:
    if value is None:
        return _NEWEST_FORMAT
    try:
        version = int(value)
    except ValueError:
        raise _unparsable("format-version", value) from None
    if not -_MOST <= version < _MOST:
        raise _unparsable("format-version", value)
    if version > _NEWEST_FORMAT:
        raise _wrong(f"client sent format_version={version} but we only support format {_NEWEST_FORMAT} or lower")
    if version < _OLDEST_FORMAT:
        raise _wrong(f"client sent format_version={version} but we only support format {_OLDEST_FORMAT} or higher")
    return version


def _actions(options: Options, value: str | None) -> frozenset[str]:
    if value is None:
        return options.actions
    chosen = [name.decode() for name in _list("actions", value, read_names)]
    for action in chosen:
        if action not in _ACTIONS:
            raise _unparsable("actions", action)
    return frozenset(chosen)


def _filter_tables(options: Options, value: str | None) -> tuple[Pattern, ...]:
    # The plugin adds to the list that it has; without a value it forgets it.
    return () if value is None else (*options.filter_tables, *_list("filter-tables", value, read_patterns))


def _add_tables(_options: Options, value: str | None) -> tuple[Pattern, ...]:
    return () if value is None else tuple(_list("add-tables", value, read_patterns))


def _filter_origins(options: Options, value: str | None) -> frozenset[int]:
    return frozenset() if value is None else options.filter_origins.union(_list("filter-origins", value, read_numbers))


def _filter_msg_prefixes(options: Options, value: str | None) -> frozenset[bytes]:
    known = options.filter_msg_prefixes
    return frozenset() if value is None else known.union(_list("filter-msg-prefixes", value, read_names))


def _add_msg_prefixes(options: Options, value: str | None) -> frozenset[bytes]:
    known = options.add_msg_prefixes
    return frozenset() if value is None else known.union(_list("add-msg-prefixes", value, read_names))


_READERS: Final[dict[str, Callable[[Options, str | None], object]]] = {
    "format-version": _format_version,
    "actions": _actions,
    "filter-tables": _filter_tables,
    "add-tables": _add_tables,
    "filter-origins": _filter_origins,
    "filter-msg-prefixes": _filter_msg_prefixes,
    "add-msg-prefixes": _add_msg_prefixes,
}

_BOOLEANS: Final = frozenset(field.name.replace("_", "-") for field in fields(Options)) - _READERS.keys()
