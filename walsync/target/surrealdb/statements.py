"""What SurrealDB is asked, as SurrealQL that an operator can read. Values are always parameters.

Each text is one request. Inside BEGIN and COMMIT it is one transaction, which any error or THROW rolls back.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

OURS: Final = "walsync:"
STALE: Final = "stale"
GONE: Final = "gone"
DENIED: Final = "denied"
MISSING: Final = "missing"
TRIED: Final = "tried"
"""What our own THROWs say, after OURS; MISSING is followed by a space and the number of the row."""

STORE: Final = "_walsync"
"""The table of what walsync stores about itself: checkpoints, and which tables are complete."""

STAGE: Final = "_walsync_stage"
"""The table of rows that a copy has read and not put into their place yet."""

DEFINE_STORE: Final = f"DEFINE TABLE IF NOT EXISTS {STORE}; DEFINE TABLE IF NOT EXISTS {STAGE}"

MARK: Final = "_walsync"
"""A field that a record has for a moment, so that it does not equal the one that takes its place."""

PROBE: Final = "probe"

TRY_TO_WRITE: Final = f"""
BEGIN;
LET $written = (UPSERT $probe CONTENT {{ probe: 1 }} RETURN VALUE probe);
IF $written != [1] {{ THROW '{OURS}{DENIED}' }};
IF (SELECT VALUE probe FROM $probe) != [1] {{ THROW '{OURS}{DENIED}' }};
IF (DELETE $probe RETURN BEFORE) = [] {{ THROW '{OURS}{DENIED}' }};
THROW '{OURS}{TRIED}';
COMMIT;
"""
"""Writes a record, reads it back and deletes it, and takes all that back: who may not do so gets empty answers, and no
error."""

DESCRIBE: Final = "INFO FOR DB STRUCTURE"
DESCRIBE_NAMESPACE: Final = "INFO FOR NS STRUCTURE"
DESCRIBE_ROOT: Final = "INFO FOR ROOT STRUCTURE"

READ: Final = "SELECT * FROM ONLY $record"

_FENCE: Final = f"""
LET $stored = (SELECT * FROM ONLY $checkpoint);
IF $stored = NONE {{ THROW '{OURS}{GONE}' }};
IF [$stored.epoch, $stored.timeline] != [$epoch, $timeline] {{ THROW '{OURS}{STALE}' }};
"""
"""Holds the checkpoint for the rest of the transaction: of two that write it, one commits."""


def _touch(moves: str = "") -> str:
    return f"""
LET $moved = (UPDATE $checkpoint SET {moves}epoch = $epoch, timeline = $timeline, at = time::now() RETURN VALUE epoch);
IF $moved = [] {{ THROW '{OURS}{DENIED}' }};
"""


_TOUCH: Final = _touch()
"""A role that may not write gets no error: an empty answer is the only sign of it."""

# Once a transaction has deleted a record, every scan that passes it loses the next one (2.3.10, both stores): of five
# records one is left by DELETE t:1; DELETE t. What has to be looked for is therefore looked for before anything is
# written; the program names by itself what the request has written since.
_LOOKS: Final[Mapping[str, str]] = {
    "emptied": "LET $ended = (SELECT VALUE id FROM $emptied);",
    "held": f"""
LET $equal = array::map($held, |$one| {{ number: $one.number, wanted: $one.last - $one.first,
    found: array::slice((SELECT VALUE id FROM $one.records LIMIT $one.last), $one.first) }});
LET $missing = (SELECT VALUE number FROM $equal WHERE array::len(found) < wanted);
IF $missing != [] {{ THROW '{OURS}{MISSING} ' + <string> $missing[0] }};
LET $gone = array::flatten($equal.found);
""",
}
"""What the parts of a step need to be looked for: all records of a table, and some of a table without a key.

A function, and no subquery of $parent: 3.x does not find what that asks for.
"""


def _relate(rows: str) -> str:
    """Write edges: UPSERT makes none, and the ends of one that is there cannot be changed."""
    return f"""
FOR $row IN ${rows} {{
    LET $edge = $row.id; LET $from = $row.in; LET $to = $row.out;
    DELETE $edge RETURN NONE;
    RELATE $from->$edge->$to CONTENT $row RETURN NONE;
}};
"""


# Rows that are filled from others are read before anything is written. object::entries keeps names as they are, which
# PATCH does not (it takes a dot for a step into an object), and replaces whole values, which MERGE does not. 3.0 tells
# all fields but the id of a record that the transaction itself has written, and says that it does not exist.
def _fill(moves: str, filled: str) -> str:
    return f"""
LET $missing = (SELECT VALUE number FROM ${moves} WHERE base.* IN [NONE, record::id(base)]);
IF $missing != [] {{ THROW '{OURS}{MISSING} ' + <string> $missing[0] }};
LET ${filled} = (SELECT VALUE
    object::from_entries(array::concat(object::entries(base.*), object::entries(row))) FROM ${moves});
"""


# docs/adr/0014: of a record that is written twice 2.3 keeps the first write in its files, with UPSERT anywhere between.
def _store(record: str, content: str) -> str:
    """Write a record that may be there, without a savepoint."""
    return (
        f"IF (UPDATE {record} CONTENT {content} RETURN VALUE true) = []"
        f" {{ CREATE {record} CONTENT {content} RETURN NONE }}"
    )


_STORE_ROW: Final = _store("$row.id", "$row")
_UPSERT_ROW: Final = "UPSERT $row.id CONTENT $row RETURN NONE"
_TELL_APART: Final = f"UPDATE $row.id MERGE {{ {MARK}: rand::uuid() }} RETURN NONE"
# Of a record whose key is an array 2.3 takes `$row.id.*` to be that array.
_OLD_ROW: Final = "LET $id = $row.id; LET $old = $id.*"
_STORED_EQUALS: Final = "$old = $row"
_MAY_EQUAL: Final = "$old != NONE AND (object::len($old) != object::len($row) OR $old = $row)"


def _put(rows: str, put: str) -> str:
    return f"FOR $row IN ${rows} {{ {put} }};"


# New rows are most of all rows: one INSERT is faster than a statement for each (20 % for rows of 170 bytes, 2.3.10).
def _put_or_insert(rows: str, put: str) -> str:
    return f"""
IF (SELECT VALUE id FROM ${rows}.id) = [] {{ INSERT ${rows} RETURN NONE }} ELSE {{ {_put(rows, put)} }};
"""


# The engine stores nothing where the new record equals the stored one, and to it 1.10 equals 1.1, and 0 equals -0.
# Something else is written first there. It is a field more: a record of other values might not be one that the owner's
# definitions allow. The quick comparison finds no equal where the two differ in fields that are absent to the engine.
def _put_exactly(rows: str, put: str) -> str:
    return _put(rows, f"{_OLD_ROW}; IF {_STORED_EQUALS} {{ {_TELL_APART} }}; {put}")


def _put_exactly_whatever_is_absent(rows: str, put: str) -> str:
    return _put(rows, f"{_OLD_ROW}; IF {_MAY_EQUAL} {{ {_TELL_APART} }}; {put}")


def _parts(put: str) -> dict[str, str]:
    return {
        "moves": _fill("moves", "filled"),
        "compared_moves": _fill("compared_moves", "compared_filled"),
        "edge_moves": _fill("edge_moves", "edge_filled"),
        "truncated": "FOR $table IN $truncated { DELETE $table RETURN NONE };",
        "emptied": "DELETE $ended RETURN NONE;",
        "held": "DELETE $gone RETURN NONE;",
        "deleted": "DELETE $deleted RETURN NONE;",
        "filled": _put("filled", put),
        "compared_filled": _put_exactly_whatever_is_absent("compared_filled", put),
        "rows": _put("rows", put),
        "compared": _put_exactly("compared", put),
        "edge_filled": _relate("edge_filled"),
        "edges": _relate("edges"),
    }


class _Texts(NamedTuple):
    """The parts of the first step and of those after it, in order; each is there only if it has something to do.

    Each reads a parameter of its own: the engine copies one as a whole whenever one of its fields is asked for.
    """

    first: Mapping[str, str]
    later: Mapping[str, str]


_OLD: Final = _Texts({**_parts(_STORE_ROW), "rows": _put_or_insert("rows", _STORE_ROW)}, _parts(_STORE_ROW))

# Of a record that the transaction itself has written 3.0 tells all but the id. No way to new rows is faster there.
_NEW: Final = _Texts(
    _parts(_UPSERT_ROW),
    {**_parts(_UPSERT_ROW), "compared": _put_exactly_whatever_is_absent("compared", _UPSERT_ROW)},
)
_NEW_MAJOR: Final = 3

_PARAMETER: Final = re.compile(
    r"\$((?:compared_|edge_)?(?:moves|filled)|truncated|emptied|ended|held|equal|gone|deleted|rows|compared|edges)\b"
)


def apply(steps: Sequence[Collection[str]], major: int) -> str:
    """Write the steps whose parts are named, for an engine; the parameter of the second step's rows is ``$rows1``."""
    texts = _NEW if major >= _NEW_MAJOR else _OLD
    return "\n".join(
        _PARAMETER.sub(rf"$\g<1>{number}", text)
        for first, later in ((_LOOKS, _LOOKS), texts)
        for number, parts in enumerate(steps)
        for part, text in (later if number else first).items()
        if part in parts
    )


def write(steps: Sequence[Collection[str]], major: int) -> str:
    """Write a slice of a batch and its checkpoint: all of it or nothing."""
    return f"""
BEGIN;
{_FENCE}
IF [$stored.lsn, $stored.open_commit_lsn, $stored.last_change_lsn] != $before {{ THROW '{OURS}{STALE}' }};
{apply(steps, major)}
{_touch("lsn = $after[0], open_commit_lsn = $after[1], last_change_lsn = $after[2], ")}
COMMIT;
"""


def attempt(steps: Sequence[Collection[str]], major: int) -> str:
    """Write the rows without the commit: it finds the one that the engine refuses."""
    return f"""
BEGIN;
{apply(steps, major)}
THROW '{OURS}{TRIED}';
COMMIT;
"""


REGISTER: Final = f"""
BEGIN;
LET $stored = (SELECT * FROM ONLY $checkpoint);
IF $stored != NONE AND ($stored.target_id != $content.target_id OR $stored.epoch > $epoch
    OR ($stored.epoch = $epoch AND $stored.timeline != $timeline)) {{ THROW '{OURS}{STALE}' }};
{_store("$checkpoint", "$content")};
{_TOUCH}
COMMIT;
"""

CLAIM: Final = f"""
BEGIN;
LET $stored = (SELECT * FROM ONLY $checkpoint);
IF $stored = NONE {{ THROW '{OURS}{GONE}' }};
IF $stored.epoch > $epoch OR ($stored.epoch = $epoch AND $stored.timeline != $timeline) {{ THROW '{OURS}{STALE}' }};
{_TOUCH}
COMMIT;
"""
"""Writes in every case: an abandoned write that is still under way then fails at its COMMIT."""

TABLE_STATES: Final = f"SELECT * FROM {STORE} WHERE kind = 'table_state' AND slot = $slot AND target = $target"

FORGET: Final = f"""
BEGIN;
DELETE {STORE} WHERE slot = $slot AND target = $target RETURN NONE;
DELETE {STAGE} WHERE slot = $slot AND target = $target RETURN NONE;
COMMIT;
"""

IS_EMPTY: Final = "RETURN count((SELECT VALUE id FROM $table LIMIT 1)) = 0"


def copy_rows(*, edges: bool) -> str:
    """Write a chunk of a copy into a table that was empty; nothing says yet that it is complete."""
    return f"""
BEGIN;
{_FENCE}
DELETE $state_id RETURN NONE;
INSERT {"RELATION " if edges else ""}$rows RETURN NONE;
{_TOUCH}
COMMIT;
"""


STORE_STATE: Final = f"""
BEGIN;
{_FENCE}
{_store("$state_id", "$state")};
{_TOUCH}
COMMIT;
"""

CLEAR_STAGES: Final = f"""
BEGIN;
{_FENCE}
DELETE {STAGE} WHERE slot = $slot AND target = $target RETURN NONE;
{_TOUCH}
COMMIT;
"""

CLEAR_STAGE: Final = f"""
BEGIN;
{_FENCE}
DELETE {STAGE} WHERE of = $state_id RETURN NONE;
{_TOUCH}
COMMIT;
"""

STAGE_ROWS: Final = f"""
BEGIN;
{_FENCE}
CREATE {STAGE} CONTENT {{ slot: $slot, target: $target, of: $state_id, rows: $rows }} RETURN NONE;
{_TOUCH}
COMMIT;
"""
"""A chunk of a copy whose table still has its old rows."""


def switch(neighbours: int, *, edges: bool) -> str:
    """Let the old rows give way to the new ones in one transaction; nothing says yet that they are complete.

    Deleting a record deletes the edges that lead to it: those of the tables ``$edges0`` and so on are put back.
    """
    # (3.0 forgets the WHERE of a SELECT inside FOR ... IN.)
    kept = "\n".join(f"LET $kept{number} = (SELECT * FROM $edges{number});" for number in range(neighbours))
    back = "\n".join(_relate(f"kept{number}") for number in range(neighbours))
    put = (
        f"FOR $rows IN $chunks {{ {_relate('rows')} }};"
        if edges
        else "FOR $rows IN $chunks { INSERT $rows RETURN NONE };"
    )
    return f"""
BEGIN;
{_FENCE}
LET $chunks = (SELECT VALUE rows FROM {STAGE} WHERE of = $state_id);
{kept}
DELETE $table RETURN NONE;
{put}
{back}
DELETE {STAGE} WHERE of = $state_id RETURN NONE;
DELETE $state_id RETURN NONE;
{_TOUCH}
COMMIT;
"""


def name(text: str) -> str:
    r"""Quote a name: between backticks anything may stand, with a backslash before ` and \ themselves."""
    if "\0" in text:
        raise ValueError("a name cannot contain a NUL character")
    return "`" + text.replace("\\", "\\\\").replace("`", "\\`") + "`"


def define(kind: str, named: str) -> str:
    """Make a table, a database or a namespace that is absent."""
    return f"DEFINE {kind.upper()} IF NOT EXISTS {name(named)}"


def try_out(statement: str) -> str:
    """Execute a statement and take it back."""
    return f"BEGIN; {statement}; THROW '{OURS}{TRIED}'; COMMIT"


def prepare(definitions: Iterable[str]) -> str:
    """Make the tables that are absent (3.x fails on one that is not defined), and forget all states but those kept.

    What an interrupted copy has left is removed.
    """
    defined = "\n".join(f"{each};" for each in definitions)
    return f"""
BEGIN;
{_FENCE}
{defined}
DELETE {STORE} WHERE kind = 'table_state' AND slot = $slot AND target = $target AND table NOTINSIDE $kept RETURN NONE;
DELETE {STAGE} WHERE slot = $slot AND target = $target RETURN NONE;
{_TOUCH}
COMMIT;
"""
