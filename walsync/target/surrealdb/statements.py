"""What SurrealDB is asked, as SurrealQL that an operator can read. Values are always parameters.

Each text is one request. Inside BEGIN and COMMIT it is one transaction, which any error or THROW rolls back.
"""

from collections.abc import Iterable
from typing import Final

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

DESCRIBE: Final = "INFO FOR DB STRUCTURE"

READ: Final = "SELECT * FROM ONLY $record"

_FENCE: Final = f"""
LET $stored = (SELECT * FROM ONLY $checkpoint);
IF $stored = NONE {{ THROW '{OURS}{GONE}' }};
IF [$stored.epoch, $stored.timeline] != [$epoch, $timeline] {{ THROW '{OURS}{STALE}' }};
"""
"""Holds the checkpoint for the rest of the transaction: of two that write it, one commits."""

_TOUCH: Final = f"""
LET $moved = (UPDATE $checkpoint SET epoch = $epoch, timeline = $timeline, at = time::now() RETURN VALUE epoch);
IF $moved = [] {{ THROW '{OURS}{DENIED}' }};
"""
"""A role that may not write gets no error: an empty answer is the only sign of it."""

# Rows that are filled from others are read before anything is written. object::entries keeps names as they are, which
# PATCH does not (it takes a dot for a step into an object), and replaces whole values, which MERGE does not.
_APPLY: Final = f"""
FOR $step IN $steps {{
    LET $missing = (SELECT VALUE number FROM $step.moves WHERE !record::exists(base));
    IF $missing != [] {{ THROW '{OURS}{MISSING} ' + <string> $missing[0] }};
    LET $filled = (SELECT VALUE
        object::from_entries(array::concat(object::entries(base.*), object::entries(row))) FROM $step.moves);
    FOR $table IN $step.truncated {{ DELETE $table RETURN NONE }};
    DELETE $step.deleted RETURN NONE;
    FOR $row IN $filled {{ UPSERT $row.id CONTENT $row RETURN NONE }};
    FOR $row IN $step.rows {{ UPSERT $row.id CONTENT $row RETURN NONE }};
    FOR $line IN $step.lines {{
        IF $line.removed != NONE {{
            LET $found = (SELECT VALUE id FROM $line.removed LIMIT 1);
            IF $found = [] {{ THROW '{OURS}{MISSING} ' + <string> $line.number }};
            DELETE $found RETURN NONE
        }};
        IF $line.row != NONE {{ CREATE $line.row.id CONTENT $line.row RETURN NONE }}
    }}
}};
"""

WRITE: Final = f"""
BEGIN;
{_FENCE}
IF [$stored.lsn, $stored.open_commit_lsn, $stored.last_change_lsn] != $before {{ THROW '{OURS}{STALE}' }};
{_APPLY}
UPDATE $checkpoint SET lsn = $after[0], open_commit_lsn = $after[1], last_change_lsn = $after[2] RETURN NONE;
{_TOUCH}
COMMIT;
"""
"""A slice of a batch and its checkpoint: all of it or nothing."""

TRY: Final = f"""
BEGIN;
{_APPLY}
THROW '{OURS}{TRIED}';
COMMIT;
"""
"""The rows without the commit: finds the one that the engine refuses."""

REGISTER: Final = f"""
BEGIN;
LET $stored = (SELECT * FROM ONLY $checkpoint);
IF $stored != NONE AND ($stored.target_id != $content.target_id OR $stored.epoch > $epoch
    OR ($stored.epoch = $epoch AND $stored.timeline != $timeline)) {{ THROW '{OURS}{STALE}' }};
UPSERT $checkpoint CONTENT $content RETURN NONE;
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

COPY_ROWS: Final = f"""
BEGIN;
{_FENCE}
DELETE $state_id RETURN NONE;
INSERT $rows RETURN NONE;
{_TOUCH}
COMMIT;
"""
"""A chunk of a copy into a table that was empty; nothing says yet that it is complete."""

STORE_STATE: Final = f"""
BEGIN;
{_FENCE}
UPSERT $state_id CONTENT $state RETURN NONE;
{_TOUCH}
COMMIT;
"""

CLEAR_STAGE: Final = f"""
BEGIN;
{_FENCE}
DELETE {STAGE} WHERE slot = $slot AND target = $target RETURN NONE;
{_TOUCH}
COMMIT;
"""

STAGE_ROWS: Final = f"""
BEGIN;
{_FENCE}
CREATE {STAGE} CONTENT {{ slot: $slot, target: $target, rows: $rows }} RETURN NONE;
{_TOUCH}
COMMIT;
"""
"""A chunk of a copy whose table still has its old rows."""

SWITCH: Final = f"""
BEGIN;
{_FENCE}
DELETE $table RETURN NONE;
FOR $rows IN (SELECT VALUE rows FROM {STAGE} WHERE slot = $slot AND target = $target) {{ INSERT $rows RETURN NONE }};
DELETE {STAGE} WHERE slot = $slot AND target = $target RETURN NONE;
UPSERT $state_id CONTENT $state RETURN NONE;
{_TOUCH}
COMMIT;
"""
"""The old rows give way to the new ones in one transaction."""


def name(text: str) -> str:
    r"""Quote a name: between backticks anything may stand, with a backslash before ` and \ themselves."""
    if "\0" in text:
        raise ValueError("a name cannot contain a NUL character")
    return "`" + text.replace("\\", "\\\\").replace("`", "\\`") + "`"


def prepare(names: Iterable[str]) -> str:
    """Make the tables that are absent (3.x fails on one that is not defined), and forget the states of others."""
    definitions = "\n".join(f"DEFINE TABLE IF NOT EXISTS {name(each)};" for each in names)
    return f"""
BEGIN;
{_FENCE}
{definitions}
DELETE {STORE} WHERE kind = 'table_state' AND slot = $slot AND target = $target AND table NOTINSIDE $kept RETURN NONE;
{_TOUCH}
COMMIT;
"""
