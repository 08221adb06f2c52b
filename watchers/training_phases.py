"""Which phase of its training a metric line belongs to, and the step at which that phase began. Pure.

A training may consist of phases that learn different things, such as one task after another: what is
measured in one is no yardstick for the next. A line that names a phase says so of its own step; a line
that names none belongs to the phase that is going on. Phases are intervals of steps: a name at a step
before the beginning of a phase takes that beginning back, because the trainer went back.
"""

from __future__ import annotations

from dataclasses import dataclass

from specs.files import MetricLine

REMEMBERED = 64
"""So many phases are known to somebody who goes back; a program may call every epoch a phase."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """A phase, and the step of the first line that named it."""

    name: str
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPhases:
    """The phases so far, in the order of their steps. None are named in most trainings."""

    begun: tuple[Begun, ...] = ()

    @property
    def name(self) -> str | None:
        """The present phase."""
        return self.begun[-1].name if self.begun else None

    @property
    def since(self) -> int:
        """Its first step; 0 as long as no phase was named, so that every step counts."""
        return self.begun[-1].step if self.begun else 0

    @property
    def said(self) -> str:
        """For a sentence about a best value: of which phase it is; nothing where none is named."""
        return "" if self.name is None else f" of phase {self.name}"

    @property
    def facts(self) -> dict[str, object]:
        """The same for the numbers behind a verdict."""
        return {} if self.name is None else {"phase": self.name, "phase_since": self.since}

    @property
    def entered(self) -> bool:
        """Did the present phase begin within the attempt? Otherwise the attempt began in it."""
        return len(self.begun) > 1

    def take(self, line: MetricLine) -> TrainingPhases:
        """The phases after one more line."""
        if line.phase is None or (line.phase == self.name and line.step >= self.since):
            return self
        here = Begun(name=line.phase, step=line.step)
        left = tuple(phase for phase in self.begun if phase.step < here.step or phase == here)
        if left and left[-1].name == line.phase:
            return TrainingPhases(begun=left)
        begun = (*left, here)
        return TrainingPhases(begun=begun[-REMEMBERED:])
