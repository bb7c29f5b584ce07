"""Makes the target's tables from the source's catalogue, and compares those that are there with it.

Tables made here have columns, the key and nothing that could refuse a row of the source. Tables that are there are
never changed: a difference is a finding with the statement that mends it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from walsync.identifier import quote
from walsync.source.table import Table
from walsync.target.base import Finding
from walsync.target.d1.document import INTEGERS
from walsync.target.d1.plan import TablePlan, table_name, table_plan
from walsync.target.d1.request import Result, Statement
from walsync.target.d1.statements import RESERVED_PREFIXES

MAX_COLUMNS: Final = 100
"""D1's limit."""

_KEY_INTEGERS: Final = INTEGERS - {"oid"}
"""What an INTEGER PRIMARY KEY holds for sure; an oid does too, but nobody has one as a key."""

LOOKS: Final = 5
"""The statements of `look`."""


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column as SQLite describes it; `key` is its place in the primary key, from 1, or 0."""

    name: str
    column_type: str
    not_null: bool
    has_default: bool
    key: int
    generated: bool


@dataclass(frozen=True, slots=True)
class TargetTable:
    """What stands under a table's name; `plain` when nothing but the table itself would go with it."""

    kind: str
    strict: bool
    columns: dict[str, TargetColumn]
    unique: bool
    foreign_keys: bool
    plain: bool


def look(table: Table) -> list[Statement]:
    """Ask for all that `read_look` needs."""
    name = table_name(table)
    quoted = quote(name)
    return [
        Statement(f"PRAGMA table_list({quoted})"),
        Statement(f"PRAGMA table_xinfo({quoted})"),
        Statement(f"PRAGMA index_list({quoted})"),
        Statement(f"PRAGMA foreign_key_list({quoted})"),
        # A view names its tables in its text only.
        Statement(
            "SELECT count(*) FROM sqlite_master WHERE type = 'view' OR (lower(tbl_name) = lower(?1)"
            " AND type IN ('index', 'trigger') AND sql IS NOT NULL)",
            (name,),
        ),
    ]


def read_look(results: Sequence[Result]) -> TargetTable | None:
    """Understand the answers; None where nothing has the table's name."""
    described, columns, indexes, foreign_keys, attached = (result.rows for result in results)
    if not described:
        return None
    _, _, kind, _, _, strict = described[0]
    return TargetTable(
        kind=kind,
        strict=bool(strict),
        columns={
            name.lower(): TargetColumn(name, kind.upper(), bool(not_null), default is not None, key, hidden > 1)
            for _, name, kind, not_null, default, key, hidden in columns
        },
        unique=any(is_unique and origin != "pk" for _, _, is_unique, origin, _ in indexes),
        foreign_keys=bool(foreign_keys),
        plain=attached[0][0] == 0,
    )


def create_table(plan: TablePlan, name: str | None = None) -> Statement:
    """Write the CREATE TABLE of a table that is absent; `name` makes another of the same shape."""
    columns = [f"{quote(column)} {form.column_type}" for column, form in zip(plan.columns, plan.forms, strict=True)]
    options = "STRICT"
    if len(plan.key) == 1 and plan.types[plan.key[0]].name in _KEY_INTEGERS:
        columns[plan.key[0]] += " PRIMARY KEY"
    elif plan.key:
        columns.append(f"PRIMARY KEY ({', '.join(quote(plan.columns[index]) for index in plan.key)})")
        options = "STRICT, WITHOUT ROWID"
    return Statement(f"CREATE TABLE {quote(name or plan.table)} ({', '.join(columns)}) {options}")


def findings(table: Table, target: TargetTable | None) -> Iterator[Finding]:
    """Find what would keep rows from fitting; `target` is None where the table is to be made."""
    name, target_name = table.qualified_name, table_name(table)
    columns = table.published
    if len(columns) > MAX_COLUMNS:
        yield Finding(
            "WS4501",
            name,
            f"it has {len(columns)} columns, and D1 takes {MAX_COLUMNS}",
            f"leave some out: source.tables: {{table: {name}, columns: [...]}}",
        )
    if target_name.lower().startswith(RESERVED_PREFIXES):
        yield Finding("WS4502", name, f"D1 or walsync keep the name {target_name} for themselves", "`rename` the table")
    for column, times in Counter(map(str.lower, columns)).items():
        if times > 1:
            yield Finding(
                "WS4503",
                name,
                f"{times} columns are called {column}, and D1 ignores case",
                "leave the others out with `columns`, or rename them on the source",
            )
    if target is not None:
        yield from _differences(table_plan(table), target)


def _differences(plan: TablePlan, target: TargetTable) -> Iterator[Finding]:
    name, table = plan.name, quote(plan.table)
    again = f"on the target: DROP TABLE {table}; walsync makes it again and copies the rows"
    if target.kind != "table":
        yield Finding("WS4212", name, "it is not a table on the target", "rename what has its name there")
        return
    if not target.strict:
        yield Finding("WS4504", name, "the target's table is not STRICT, and would convert values", again)
    for column, form in zip(plan.columns, plan.forms, strict=True):
        yield from _column_differences(plan, column, form.column_type, target, again)
    known = set(map(str.lower, plan.columns))
    for extra in target.columns.values():
        if extra.name.lower() not in known and extra.not_null and not extra.has_default:
            yield Finding(
                "WS4205",
                name,
                f"column {extra.name}, which only the target has, is NOT NULL and has no default",
                f"on the target: ALTER TABLE {table} DROP COLUMN {quote(extra.name)}",
            )
    key = {column.name.lower() for column in target.columns.values() if column.key}
    if key != {plan.columns[index].lower() for index in plan.key}:
        wanted = ", ".join(plan.columns[index] for index in plan.key) or "none"
        yield Finding("WS4206", name, f"the target's table has another primary key than the source ({wanted})", again)
    if target.unique or target.foreign_keys:
        what = "a UNIQUE constraint or index besides the key" if target.unique else "a foreign key"
        yield Finding(
            "WS4505",
            name,
            f"the target's table has {what}, which a batch may break for a moment",
            "make it a plain index, with DROP INDEX and CREATE INDEX; or " + again,
        )


def _column_differences(
    plan: TablePlan, column: str, wanted: str, target: TargetTable, again: str
) -> Iterator[Finding]:
    found = target.columns.get(column.lower())
    if found is None:
        yield Finding(
            "WS4203",
            plan.name,
            f"column {column} is missing on the target",
            f"on the target: ALTER TABLE {quote(plan.table)} ADD COLUMN {quote(column)} {wanted}",
        )
    elif found.generated:
        yield Finding("WS4213", plan.name, f"column {column} is generated on the target only", again)
    elif found.column_type not in (wanted, "ANY"):
        yield Finding(
            "WS4204", plan.name, f"column {column} is {found.column_type} on the target, and has to be {wanted}", again
        )
