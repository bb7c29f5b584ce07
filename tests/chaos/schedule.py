"""Draws from a seed alone what happens to a run, and when: a list of steps, the same for the same seed. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Final

LONGEST: Final = 5
"""For how many steps something lasts, at most."""

DOWN_AT_ONCE: Final = 3
AWAY_AT_ONCE: Final = 2
LOOKS: Final = 0.9
"""How often the others' progress is looked at while something lasts."""


class Blow(StrEnum):
    """What can happen; its value is its name in a record."""

    KILL = "SIGKILL"
    FREEZE = "SIGSTOP"
    THAW = "SIGCONT"
    DRAIN = "SIGTERM"
    REFUSE = "target refused"
    HOLD = "target held"
    GONE = "target gone mid-batch"
    LOSE_REQUEST = "lost before the commit"
    LOSE_ANSWER = "lost after the commit"
    BACK = "target back"
    CUT_SOURCE = "source cut"
    CUT_SOURCE_LATER = "source cut mid-message"
    HOLD_SOURCE = "source held"
    RESTART_SOURCE = "source restarted"
    LEAVE_TABLE = "table removed"
    JOIN_TABLE = "table added"
    LEAVE_TARGET = "target removed"
    JOIN_TARGET = "target added"
    SNAPSHOT = "table copied again"
    LOOK = "progress looked at"


TROUBLES: Final = (Blow.REFUSE, Blow.HOLD, Blow.GONE, Blow.LOSE_REQUEST, Blow.LOSE_ANSWER)
"""What happens to a target until it is back."""

NO_BLOWS: Final = (Blow.THAW, Blow.BACK, Blow.LOOK)
"""What does no harm."""

_WEIGHTS: Final = {
    Blow.KILL: 4.0,
    Blow.FREEZE: 1.5,
    Blow.DRAIN: 1.0,
    **dict.fromkeys(TROUBLES, 2.0),
    Blow.CUT_SOURCE: 1.0,
    Blow.CUT_SOURCE_LATER: 1.0,
    Blow.HOLD_SOURCE: 0.5,
    Blow.RESTART_SOURCE: 0.7,
    Blow.LEAVE_TABLE: 2.0,
    Blow.LEAVE_TARGET: 1.0,
    Blow.SNAPSHOT: 2.0,
}
_ENDS: Final = {
    Blow.FREEZE: Blow.THAW,
    **dict.fromkeys(TROUBLES, Blow.BACK),
    Blow.LEAVE_TABLE: Blow.JOIN_TABLE,
    Blow.LEAVE_TARGET: Blow.JOIN_TARGET,
}
_LISTENING: Final = {
    Blow.DRAIN,
    Blow.LEAVE_TABLE,
    Blow.JOIN_TABLE,
    Blow.LEAVE_TARGET,
    Blow.JOIN_TARGET,
    Blow.SNAPSHOT,
    Blow.LOOK,
}
"""What a frozen process would not answer."""


@dataclass(frozen=True)
class Step:
    """Wait, then do this: to `target`, or to the source's or that target's `table`; `number` decides the details."""

    blow: Blow
    seconds: float
    number: int
    target: str = ""
    table: str = ""


@dataclass(frozen=True)
class Cast:
    """What there is to strike: the troubles that each target can have, and the tables of each that may come and go."""

    troubles: Mapping[str, Collection[Blow]]
    tables: Mapping[str, Sequence[str]]
    """By target; under "" those that may leave the source."""
    copied: Mapping[str, Sequence[str]]
    """By target, those that may be copied again; they never leave."""


def draw(seed: int, cast: Cast, length: int) -> list[Step]:
    """Draw what happens: `length` blows, and the end of everything that lasts."""
    return _Drawing(Random(f"{seed} schedule"), cast).draw(length)


@dataclass
class _Drawing:
    random: Random
    cast: Cast
    steps: list[Step] = field(default_factory=list)
    lasting: list[tuple[int, Step]] = field(default_factory=list)
    """What goes on, and the step at which it ends."""

    def draw(self, length: int) -> list[Step]:
        for number in range(length):
            self._end(number)
            possible = {blow: weight for blow, weight in _WEIGHTS.items() if self._choices(blow)}
            (blow,) = self.random.choices(list(possible), list(possible.values()))
            target, table = self.random.choice(self._choices(blow))
            self._add(blow, target, table)
            if blow in _ENDS:
                self.lasting.append((number + self.random.randint(1, LONGEST), self.steps[-1]))
            if blow is Blow.KILL:
                self._forget_freeze()
            if self.random.random() < LOOKS and not self._is_frozen:
                self._add(Blow.LOOK)
        while self.lasting:
            length += 1
            self._end(length)
        self._add(Blow.LOOK)
        return self.steps

    @property
    def _is_frozen(self) -> bool:
        return any(step.blow is Blow.FREEZE for _, step in self.lasting)

    def _names(self, *blows: Blow) -> list[str]:
        return [step.target for _, step in self.lasting if step.blow in blows]

    def _choices(self, blow: Blow) -> list[tuple[str, str]]:
        """Return what a blow can be done to: targets and tables."""
        if self._is_frozen and blow in _LISTENING | {Blow.FREEZE}:
            return []
        down, away = self._names(*TROUBLES), self._names(Blow.LEAVE_TARGET)
        present = [name for name in self.cast.troubles if name not in away]
        match blow:
            case _ if blow in TROUBLES:
                free = [name for name in present if name not in down and blow in self.cast.troubles[name]]
                return [(name, "") for name in free] if len(down) < DOWN_AT_ONCE else []
            case Blow.LEAVE_TARGET:
                return [(name, "") for name in present] if len(away) < AWAY_AT_ONCE else []
            case Blow.SNAPSHOT:
                return [(name, table) for name in present for table in self.cast.copied[name]]
            case Blow.LEAVE_TABLE:
                gone = {step.table for _, step in self.lasting if step.blow is Blow.LEAVE_TABLE}
                return [(name, one) for name, tables in self.cast.tables.items() for one in tables if one not in gone]
            case _:
                return [("", "")]

    def _end(self, number: int) -> None:
        """End what has lasted long enough, as far as the process can be told."""
        for until, step in sorted(self.lasting, key=lambda one: one[0]):
            end = _ENDS[step.blow]
            waits = end in _LISTENING and self._is_frozen
            waits |= end is Blow.JOIN_TARGET and step.target in self._names(*TROUBLES)
            if until <= number and not waits:
                self.lasting.remove((until, step))
                self._add(end, step.target, step.table)

    def _forget_freeze(self) -> None:
        self.lasting = [(until, step) for until, step in self.lasting if step.blow is not Blow.FREEZE]

    def _add(self, blow: Blow, target: str = "", table: str = "") -> None:
        seconds = self.random.choice((0.05, 0.2, 0.6, 1.2)) * self.random.uniform(0.5, 1.5)
        self.steps.append(Step(blow, seconds, self.random.randrange(2**16), target, table))
