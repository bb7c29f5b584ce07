"""What a stored checkpoint means to a writer who finds it other than expected: one judgement for all kinds. Pure."""

from typing import TypeAlias
from uuid import UUID

from walsync.errors import Fenced, TargetRefused, TargetUnavailable
from walsync.target.base import Checkpoint, Writer

Judgement: TypeAlias = Fenced | TargetRefused | TargetUnavailable


def judge(target: str, stored: Checkpoint | None, writer: Writer) -> Judgement:
    """Say why a write was not taken: the checkpoint is gone, another run's, or not where it was left."""
    if stored is None:
        return gone(target)
    try:
        check_epoch(target, stored, writer)
    except (Fenced, TargetRefused) as error:
        return error
    return TargetUnavailable(
        "WS4004",
        f"target {target}: its checkpoint is at {stored.lsn} (epoch {stored.epoch}), not where it was left",
        hint="walsync reads it again and goes on from there",
    )


def check_epoch(target: str, stored: Checkpoint, writer: Writer) -> None:
    """Refuse a writer who comes after a newer run, or writes on another timeline than this run began on."""
    if stored.epoch > writer.epoch:
        raise Fenced(
            "WS4001",
            f"target {target}: another run holds it (epoch {stored.epoch}, this one has {writer.epoch})",
            hint="nothing to do if a newer instance is running; else start this one again",
        )
    if stored.epoch == writer.epoch and stored.timeline != writer.timeline:
        raise TargetRefused(
            "WS4005",
            f"target {target}: written by this run on timeline {stored.timeline}, not {writer.timeline}",
            hint="restart walsync: it compares the timelines",
        )


def gone(target: str) -> TargetRefused:
    """Say that a target which was claimed holds no checkpoint any more."""
    return TargetRefused(
        "WS4002",
        f"target {target}: its checkpoint is gone",
        hint=f"it was restored or wiped: stop walsync, walsync drop --target {target}, walsync run",
    )


def owned_by_another(target: str, stored: Checkpoint, target_id: UUID, key: str) -> TargetRefused:
    """Say that another registration has the database; `key` is the setting that names it."""
    return TargetRefused(
        "WS4003",
        f"target {target}: its database belongs to the registration {stored.target_id}, not {target_id}",
        hint=f"`walsync drop --target {target}` gives it up; or name another database in `{key}`",
    )
