"""Finds the change at fault: set-based statements say that a row is wrong, not which.

What a database refuses is found by sending it ever shorter beginnings of the request, each with an end that stops it,
so that nothing of them is taken. What cannot even be written as a statement is found without it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from walsync.errors import TargetRefused
from walsync.target.collapse import describe_key, key_of, missing_row
from walsync.target.d1.encoder import Write
from walsync.target.d1.failures import GuardRaised
from walsync.target.d1.plan import Plans
from walsync.target.d1.request import Statement
from walsync.target.d1.statements import MISSING, PROBE, guard
from walsync.transaction.change import Change, Delete, Insert, Transaction, Truncate, Update

Trial: TypeAlias = Callable[[Sequence[Transaction], Statement], Awaitable[None]]
"""Sends the changes and then the statement."""

Failure: TypeAlias = GuardRaised | TargetRefused

_OF_VALUES: Final = "WS44"

_END = Statement(guard(PROBE, "true"))


async def name_fault(
    transactions: Sequence[Transaction], failure: Failure, plans: Plans, trial: Trial
) -> TargetRefused:
    """Say which change is at fault; `failure` is what the whole request met."""
    changes = [change for transaction in transactions for change in transaction.changes]
    passes, fails = 0, len(changes)
    while fails - passes > 1:
        middle = (passes + fails) // 2
        found = await _try(transactions[0]._replace(changes=tuple(changes[:middle])), trial)
        if found is None:
            passes = middle
        else:
            fails, failure = middle, found
    return _describe(changes[fails - 1], failure, plans)


def name_unwritable(
    transactions: Sequence[Transaction], failure: TargetRefused, plans: Plans, write: Write
) -> TargetRefused:
    """Say which change has a value or a row that D1 cannot take; `failure` is what all of them together met."""
    if not failure.code.startswith(_OF_VALUES):
        return failure
    for transaction in transactions:
        for change in transaction.changes:
            try:
                write([transaction._replace(changes=(change,))], plans)
            except TargetRefused as refused:
                return _describe(change, refused, plans)
    return failure  # only what several changes of a row come to is too large


async def _try(beginning: Transaction, trial: Trial) -> Failure | None:
    try:
        await trial([beginning], _END)
    except GuardRaised as raised:
        return None if raised.reason == PROBE else raised
    except TargetRefused as refused:
        return refused
    return None


def _describe(change: Change, failure: Failure, plans: Plans) -> TargetRefused:
    missing = isinstance(failure, GuardRaised) and failure.reason == MISSING
    if isinstance(change, Truncate):
        names = ", ".join(relation.qualified_name for relation in change.relations)
        return _about(f"TRUNCATE of {names}", failure)
    relation, key = change.relation, plans.of(change.relation).key
    if not key and missing:
        return TargetRefused(
            "WS4304",
            f"{relation.qualified_name}: a row to be changed or deleted is not in the target",
            hint="the target has lost rows or was changed by others: take a new snapshot of this table",
        )
    if not key:
        return _about(relation.qualified_name, failure)
    if missing:
        return missing_row(relation, key, key_of(relation, key, _old(change)))
    return _about(describe_key(relation, key, key_of(relation, key, _new(change))), failure)


def _old(change: Insert | Update | Delete) -> bytes:
    match change:
        case Insert():
            return change.new
        case Update():
            return change.old or change.new
        case Delete():
            return change.old


def _new(change: Insert | Update | Delete) -> bytes:
    return change.old if isinstance(change, Delete) else change.new


def _about(subject: str, failure: Failure) -> TargetRefused:
    if isinstance(failure, TargetRefused):
        return TargetRefused(failure.code, f"{subject}: {failure.message}", hint=failure.hint)
    return TargetRefused(
        "WS4301", f"{subject}: it needs a row that the target does not have", hint="take a new snapshot"
    )
