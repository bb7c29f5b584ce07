"""What the plugin's records become by each difference that docs/wal2json.md lists; everything else stays as it is.

An edit of a text works on any form of the record. One of the structure reads the record, with numbers as they are
written, and writes it again without white space.
"""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from wal2json_cases.case import Recording

Records: TypeAlias = list[bytes]
Change: TypeAlias = dict[str, Any]
Edit: TypeAlias = Callable[[Change], Change | None]

OF_NOW = ("columnpositions", "columnoptionals", "columndefaults", "position", "optional", "default")


class Number(str):
    """A number, as its text."""

    __slots__ = ()


def loads(record: bytes) -> Any:  # noqa: ANN401
    """Read JSON without touching a number."""
    return json.loads(record.decode(), parse_int=Number, parse_float=Number, parse_constant=_refuse)


def dumps(value: Any) -> str:  # noqa: ANN401
    """Write JSON as the compact form is written."""
    match value:
        case Number():
            return str(value)
        case list():
            return "[" + ",".join(map(dumps, value)) + "]"
        case dict():
            return "{" + ",".join(f"{dumps(name)}:{dumps(inner)}" for name, inner in value.items()) + "}"
        case _:
            return json.dumps(value, ensure_ascii=False)


def compact(record: bytes) -> bytes:
    """Take the white space out of a record."""
    return dumps(loads(record)).encode()


def join_chunks(records: Sequence[bytes]) -> Records:
    """Put the pieces of write-in-chunks together again, each transaction in one record."""
    joined: Records = []
    inside = False
    for record in records:
        if inside:
            joined[-1] += record
        else:
            joined.append(record)
        inside = (inside or record.endswith(b"[")) and not record.lstrip(b"\t").startswith(b"]")
    return joined


def empties(records: Sequence[bytes]) -> Records:
    """Return the transactions without a change: one record in format 1, a pair in format 2."""
    alone = [record for record in records if b'"change"' in record and loads(record)["change"] == []]
    return alone + [first + second for first, second in _pairs(records)]


def without_empties(records: Sequence[bytes]) -> Records:
    """Leave out the transactions without a change."""
    gone = set(empties(records))
    kept: Records = []
    for record in records:
        if record.startswith(b'{"action":"C"') and kept and kept[-1].startswith(b'{"action":"B"'):
            kept.pop()
        elif record not in gone:
            kept.append(record)
    return kept


def edit_theirs(name: str, records: Records, arguments: Sequence[str], recording: Recording) -> Records:
    """Turn what the plugin writes into what is expected of walsync, as far as one difference goes."""
    if name in TEXTS:
        return [TEXTS[name](record, arguments, recording) for record in records]
    if name in STRUCTURES:
        edit = STRUCTURES[name](arguments)
        return [written for record in records if (written := _edited(record, edit)) is not None]
    return records


def edit_both(name: str, theirs: Records, ours: Records, arguments: Sequence[str]) -> tuple[Records, Records]:
    """Take what cannot be equal out of both, where it is neither's alone."""
    match name:
        case "pk-beside-full-or-index":
            # 2.5 has none there in format 1; format 2 has it in both.
            return theirs, [_without(record, ("pk",)) if b'"change"' in record else record for record in ours]
        case "catalogue-of-now":
            return [_without(record, OF_NOW) for record in theirs], [_without(record, OF_NOW) for record in ours]
        case "row-filter":
            shown = [f"{kind[0].upper()} {_key(change)}" for record in ours for kind, change in _changes(record)]
            assert shown == arguments[0].split(", ")
            return ours, ours
        case _:
            return theirs, ours


def _names_of_types(record: bytes, names: Sequence[str], _recording: Recording) -> bytes:
    for name in names:
        record = record.replace(name.encode(), dumps(name).encode())
    return record


def _defaults(record: bytes, _arguments: Sequence[str], recording: Recording) -> bytes:
    rows = recording.database.execute("SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef")
    for (default,) in rows:
        record = record.replace(f'"{default}"'.encode(), dumps(default).encode())
    return record


def _strings(record: bytes, pair: Sequence[str], _recording: Recording) -> bytes:
    return record.replace(f'"{pair[0]}"'.encode(), f'"{pair[1]}"'.encode())


def _qualified(record: bytes, names: Sequence[str], _recording: Recording) -> bytes:
    for name in names:
        record = record.replace(f'"{name}"'.encode(), f'"public.{name}"'.encode())
    return record


TEXTS: dict[str, Callable[[bytes, Sequence[str], Recording], bytes]] = {
    "type-name-json": _names_of_types,
    "default-json": _defaults,
    "message-bytes": lambda record, _arguments, _recording: record.replace(b"\xff", "\ufffd".encode()),
    "stray-comma": lambda record, _arguments, _recording: record.replace(b"[,{", b"[{").replace(
        b"[\n\t\t,{", b"[\n\t\t{"
    ),
    "stale-schema-name": _strings,
    "stale-type-name": _strings,
    "search-path": _qualified,
}


def _drop_table(arguments: Sequence[str]) -> Edit:
    return lambda change: None if change["table"] == arguments[0] else change


def _drop_truncate(arguments: Sequence[str]) -> Edit:
    return lambda change: None if (change.get("action"), change["table"]) == ("T", arguments[0]) else change


def _drop_actions(arguments: Sequence[str]) -> Edit:
    gone = {arguments[0], arguments[0][0].upper(), "T"}
    return lambda change: None if gone & {change.get("kind"), change.get("action")} else change


def _name_root(arguments: Sequence[str]) -> Edit:
    leaf, root = arguments
    return lambda change: {**change, "table": root if change["table"] == leaf else change["table"]}


def _drop_column(arguments: Sequence[str]) -> Edit:
    (name,) = arguments

    def edit(change: Change) -> Change:
        if "columns" in change:
            return {**change, "columns": [column for column in change["columns"] if column["name"] != name]}
        if name not in change.get("columnnames", ()):
            return change
        place = change["columnnames"].index(name)
        return {
            key: value[:place] + value[place + 1 :] if key.startswith("column") else value
            for key, value in change.items()
        }

    return edit


STRUCTURES: dict[str, Callable[[Sequence[str]], Edit]] = {
    "not-published": _drop_table,
    "actions-not-published": _drop_actions,
    "materialized-view": _drop_table,
    "truncated-root": _drop_truncate,
    "via-root": _name_root,
    "generated-columns": _drop_column,
    "column-list": _drop_column,
}

OF_BOTH = ("pk-beside-full-or-index", "catalogue-of-now", "row-filter")
DIFFERENCES = {*TEXTS, *STRUCTURES, *OF_BOTH}


def _edited(record: bytes, edit: Edit) -> bytes | None:
    content = loads(record)
    if "change" in content:
        edited = [edit(change) if "table" in change else change for change in content["change"]]
        return dumps({**content, "change": [change for change in edited if change is not None]}).encode()
    if "table" not in content:
        return record
    changed = edit(content)
    return None if changed is None else dumps(changed).encode()


def _without(record: bytes, names: Sequence[str]) -> bytes:
    def strip(value: Any) -> Any:  # noqa: ANN401
        match value:
            case dict():
                return {name: strip(inner) for name, inner in value.items() if name not in names}
            case list():
                return [strip(inner) for inner in value]
            case _:
                return value

    return dumps(strip(loads(record))).encode()


def _changes(record: bytes) -> list[tuple[str, Change]]:
    content = loads(record)
    if "change" in content:
        return [(change["kind"], change) for change in content["change"]]
    return [(content["action"], content)] if "table" in content else []


def _key(change: Change) -> str:
    """Return the first value of a row."""
    if "action" in change:
        return str((change.get("columns") or change["identity"])[0]["value"])
    return str((change.get("columnvalues") or change["oldkeys"]["keyvalues"])[0])


def _pairs(records: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return [
        pair
        for pair in pairwise(records)
        if pair[0].startswith(b'{"action":"B"') and pair[1].startswith(b'{"action":"C"')
    ]


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")
