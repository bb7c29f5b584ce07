"""Changes -> the steps that `statements.write` takes: rows to fill, tables to empty, records to delete and to write.

A step is what a segment of changes comes to; between two of them the shape of a table has changed. Pure.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

from cbor2 import CBORTag

from walsync.errors import TargetRefused
from walsync.relation import Relation
from walsync.row import UNCHANGED, Value, read_tuple
from walsync.target.collapse import (
    Collapsed,
    Delete,
    Key,
    Patch,
    collapse,
    describe_key,
    missing_row,
    require_whole,
    segments,
)
from walsync.target.surrealdb.schema import Layout, Layouts, table_parameter
from walsync.transaction import change as of_source
from walsync.transaction.change import Change, Transaction, Truncate

RowChange: TypeAlias = of_source.Insert | of_source.Update | of_source.Delete

Written: TypeAlias = list[dict[str, list[object]]]
"""Steps as the program takes them: the parts that have something to do, by name."""


_FILLED: Final = {"moves": "filled", "compared_moves": "compared_filled", "edge_moves": "edge_filled"}
"""What becomes of rows that are filled."""

_PUTS: Final = ("rows", "compared", "edges")
_IN_ORDER: Final = ("moves", "compared_moves", "rows", "compared", "edge_moves", "edges")
"""The parts of a step that write rows; edges come after the records that they may lead to."""


class Subject(NamedTuple):
    """The row that a part of a step is about, and the one it is filled from; without a key, only the table is known."""

    relation: Relation
    layout: Layout
    key: Key = ()
    base: Key = ()

    def describe(self) -> str:
        """Name the row in a message."""
        if not self.key:
            return self.relation.qualified_name
        return describe_key(self.relation, self.layout.key, self.key)

    def missing(self) -> TargetRefused:
        """Say that the target does not have a row that it should have."""
        if self.base:
            return missing_row(self.relation, self.layout.key, self.base)
        return TargetRefused(
            "WS4304",
            f"{self.relation.qualified_name}: a change found no such row in the target",
            hint="the target has lost rows or the stream is damaged: take a new snapshot of this table",
        )


@dataclass(slots=True)
class Part:
    """Rows that one loop of the program writes, and what each of them is."""

    rows: list[Any] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)

    def add(self, row: dict[str, object], subject: Subject) -> None:
        """Add a row."""
        self.rows.append(row)
        self.subjects.append(subject)


@dataclass(slots=True)
class Held:
    """Records of a table without a key that a step deletes: of equal ones, those from the first to the last."""

    number: int
    records: CBORTag
    first: int
    last: int

    def write(self) -> dict[str, object]:
        """Write it for the program."""
        return {"number": self.number, "records": self.records, "first": self.first, "last": self.last}


@dataclass(slots=True)
class Step:
    """What one segment of changes comes to; the parts in the order of the program.

    `truncated` tables are emptied by a scan, so nothing was written before; of `emptied` ones the request knows the
    records. `lines` are new rows of tables without a key, by number.
    """

    truncated: list[object] = field(default_factory=list)
    emptied: list[object] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    deleted: list[object] = field(default_factory=list)
    parts: dict[str, Part] = field(default_factory=lambda: {name: Part() for name in _IN_ORDER})
    lines: dict[int, dict[str, object]] = field(default_factory=dict)

    @property
    def subjects(self) -> list[Subject]:
        """All rows of the step."""
        return list(chain.from_iterable(self.parts[name].subjects for name in _IN_ORDER))

    def write(self, most_rows: int | None = None) -> dict[str, list[object]]:
        """Write the step for the program, with no more than so many of its rows."""
        left = len(self.subjects) if most_rows is None else most_rows
        written: dict[str, list[object]] = {
            "truncated": self.truncated,
            "emptied": self.emptied,
            "held": [held.write() for held in self.held],
            "deleted": self.deleted,
        }
        for name in _IN_ORDER:
            part = self.parts[name]
            written[name] = part.rows[: max(0, left)]
            left -= len(part.rows)
        return {name: part for name, part in written.items() if part}

    def records_of(self, table: str) -> list[object]:
        """Name the records of a table that the step writes."""
        moved = [row["row"] for name in _FILLED for row in self.parts[name].rows]
        rows = [row for name in _PUTS for row in self.parts[name].rows]
        return [row["id"] for row in moved + rows if row["id"].value[0] == table]


@dataclass(slots=True)
class EqualRows:
    """Rows of a table without a key that are equal: those that the request finds, and those that it has written.

    Of the ones that it finds, `deleted` are gone, and the last of those by `held`; none is there after a TRUNCATE.
    """

    is_truncated: bool
    deleted: int = 0
    held: tuple[Step, Held] | None = None
    written: list[tuple[Step, int]] = field(default_factory=list)


class Program:
    """The steps of one request."""

    def __init__(self, layouts: Layouts) -> None:
        self._layouts = layouts
        self._steps: list[Step] = []
        self._may_be_missing: list[Subject] = []
        self._equal_rows: dict[int, dict[tuple[Value, ...], EqualRows]] = {}
        self._truncated: set[int] = set()

    @property
    def subjects(self) -> list[Subject]:
        """All rows, in the order in which the engine writes them."""
        return list(chain.from_iterable(step.subjects for step in self._steps))

    def write(self) -> Written:
        """Write the steps for the engine."""
        return [step.write() for step in self._steps]

    def prefix(self, rows: int) -> Written:
        """Write the steps up to so many rows in all."""
        written: Written = []
        for step in self._steps:
            written.append(step.write(rows))
            rows -= len(step.subjects)
            if rows < 0:
                break
        return written

    def missing(self, number: int) -> TargetRefused:
        """Say which row the engine did not find."""
        return self._may_be_missing[number].missing()

    def add(self, changes: Sequence[Change]) -> None:
        """Add what changes of one shape come to, as the next step."""
        keyed: list[Change] = []
        without_key: dict[int, list[RowChange]] = {}
        replaced: set[int] = set()
        for change in changes:
            if isinstance(change, Truncate):
                for relation in change.relations:
                    without_key.pop(relation.relid, None)
                    self._equal_rows.pop(relation.relid, None)
                    self._truncated.add(relation.relid)
                keyed.append(change)
            elif self._layouts.of(change.relation).key:
                keyed.append(change)
                if not isinstance(change, of_source.Insert):
                    replaced.add(change.relation.relid)
            else:
                without_key.setdefault(change.relation.relid, []).append(change)
        step = Step()
        self._add_collapsed(step, collapse(keyed, lambda relation: self._layouts.of(relation).key), replaced)
        for change in chain.from_iterable(without_key.values()):
            self._add_line(step, change)
        for number, row in step.lines.items():
            step.parts["rows"].add(row, self._may_be_missing[number])
        self._steps.append(step)

    def _add_collapsed(self, step: Step, collapsed: Collapsed, replaced: Collection[int]) -> None:
        """Add what rows come to; where all of a table's changes are inserts, there is nothing that a row may equal."""
        for relation in collapsed.truncated:
            self._truncate(step, self._layouts.of(relation).table)
        for table in collapsed.tables.values():
            layout = self._layouts.of(table.relation)
            moves, puts = _parts_of(layout, replaces=table.relation.relid in replaced)
            for key, state in table.rows.items():
                match state:
                    case bytes():
                        content = layout.whole(read_tuple(state), layout.record(key))
                        step.parts[puts].add(content, Subject(table.relation, layout, key))
                    case Delete():
                        step.deleted.append(layout.record(key))
                    case Patch():
                        subject = Subject(table.relation, layout, key, state.base)
                        row = layout.content(state.values, layout.record(key))
                        base = layout.record(state.base)
                        step.parts[moves].add({"number": self._number(subject), "base": base, "row": row}, subject)

    def _truncate(self, step: Step, table: str) -> None:
        if not self._steps:
            step.truncated.append(table_parameter(table))
            return
        step.emptied.append(table_parameter(table))
        for before in self._steps:
            step.deleted += before.records_of(table)

    def _add_line(self, step: Step, change: RowChange) -> None:
        """Add a change of a table without a key: one of the rows equal to the old one goes, a new one comes."""
        layout = self._layouts.of(change.relation)
        subject = Subject(change.relation, layout)
        old = _old_row(change)
        if old is not None:
            self._delete_one(step, subject, old)
        if not isinstance(change, of_source.Delete):
            values = read_tuple(change.new)
            if old is not None:
                values = [under if value is UNCHANGED else value for value, under in zip(values, old, strict=True)]
            require_whole(change.relation, values)
            number = self._number(subject)
            step.lines[number] = layout.content(values, layout.name_record(values))
            self._equal(subject, values).written.append((step, number))

    def _delete_one(self, step: Step, subject: Subject, old: Sequence[Value]) -> None:
        """Delete one of some equal rows: the one that the request has written last, else one of those it finds."""
        equal = self._equal(subject, old)
        if equal.written:
            writer, number = equal.written.pop()
            row = writer.lines.pop(number)
            if writer is not step:
                step.deleted.append(row["id"])
            return
        if equal.is_truncated:
            raise subject.missing()
        if equal.held is None or equal.held[0] is not step:
            records = subject.layout.equal_records(old)
            equal.held = step, Held(self._number(subject), records, equal.deleted, equal.deleted)
            step.held.append(equal.held[1])
        equal.deleted += 1
        equal.held[1].last = equal.deleted

    def _equal(self, subject: Subject, values: Sequence[Value]) -> EqualRows:
        relid = subject.relation.relid
        return self._equal_rows.setdefault(relid, {}).setdefault(tuple(values), EqualRows(relid in self._truncated))

    def _number(self, subject: Subject) -> int:
        self._may_be_missing.append(subject)
        return len(self._may_be_missing) - 1


def build(layouts: Layouts, transactions: Iterable[Transaction], *, collapsed: bool) -> Program:
    """Make the program of some transactions; uncollapsed, every change is written by itself, in order."""
    program = Program(layouts)
    for segment in segments(transactions):
        if collapsed:
            program.add(segment)
        else:
            for change in segment:
                program.add([change])
    return program


def parameters(steps: Written) -> dict[str, object]:
    """Name the parts as `statements.apply` does."""
    return {f"{name}{number}": part for number, step in enumerate(steps) for name, part in step.items()}


def parts(steps: Written) -> list[list[str]]:
    """Tell `statements.apply` which parts there are; rows that are filled are written as well."""
    return [[*step, *(name for moves, name in _FILLED.items() if moves in step)] for step in steps]


def _parts_of(layout: Layout, *, replaces: bool) -> tuple[str, str]:
    """Name the parts that fill and put a table's rows."""
    if layout.options.is_edge:
        return "edge_moves", "edges"  # edges are deleted first
    return ("compared_moves", "compared") if replaces and layout.equals_others else ("moves", "rows")


def _old_row(change: RowChange) -> Sequence[Value] | None:
    if isinstance(change, of_source.Insert):
        return None
    if change.old is None:
        raise TargetRefused(
            "WS4302",
            f"{change.relation.qualified_name}: a change of a table without a key came without the old row",
            hint=f"on the source: ALTER TABLE {change.relation.qualified_name} REPLICA IDENTITY FULL;"
            " then a new snapshot",
        )
    return read_tuple(change.old)
