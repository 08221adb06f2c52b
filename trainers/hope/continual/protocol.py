"""Which clips a run learns from, phase by phase, and for how many steps. Pure.

    sequence   base, then task after task
    joint      one phase on the clips of all of them, the upper bound
    (neither)  one phase on the base clips, for a given number of steps

Every phase has a schedule and an optimiser of its own: of what it began with, only the parameters are left from the
phase before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from specs.trainer_hope import Continual, HopeTrainer

BASE = "base"
JOINT = "joint"


@dataclass(frozen=True, kw_only=True)
class Phase:
    """``lr``: the peak rate; ``fresh``: clips of ``tasks`` in a batch, the others are replayed."""

    name: str
    tasks: tuple[str, ...]
    steps: int
    lr: float
    fresh: int


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where training step ``step`` (from 0) of a run lies: step ``at`` (from 0) of phase number ``phase``."""

    phase: int
    at: int


def tasks_of(settings: HopeTrainer) -> tuple[str, ...]:
    """All tasks of the run, base first."""
    return (BASE, *(settings.continual.tasks if settings.continual else ()))


def plan(settings: HopeTrainer, clips: Mapping[str, int]) -> tuple[Phase, ...]:
    """The phases of a run; ``clips``: how many each task has to learn from."""
    tasks, continual = tasks_of(settings), settings.continual
    lr, batch = settings.optimizer.lr, settings.batch
    if continual is None:
        assert settings.steps is not None  # one of the two is given
        return (Phase(name=BASE, tasks=tasks, steps=settings.steps, lr=lr, fresh=batch),)
    first = tasks if continual.order == "joint" else (BASE,)
    name = JOINT if continual.order == "joint" else BASE
    found = [_phase(settings, name, first, clips, continual.base_epochs, lr, batch)]
    if continual.order == "sequence":
        fresh = batch - replayed(settings)
        for task in continual.tasks:
            epochs, rate = continual.task_epochs, continual.task_lr
            found.append(_phase(settings, task, (task,), clips, epochs, rate, fresh))
    return tuple(found)


def _phase(
    settings: HopeTrainer,
    name: str,
    tasks: tuple[str, ...],
    clips: Mapping[str, int],
    epochs: int,
    lr: float,
    fresh: int,
) -> Phase:
    """As many steps as whole batches of ``fresh`` clips there are in the epochs."""
    seen = epochs * sum(clips[task] for task in tasks)
    steps = max(1, seen // (fresh * settings.accumulate))
    return Phase(name=name, tasks=tasks, steps=steps, lr=lr, fresh=fresh)


def replayed(settings: HopeTrainer) -> int:
    """Clips of earlier tasks in each batch of a later one."""
    continual: Continual | None = settings.continual
    if continual is None or continual.replay.buffer == 0 or continual.order == "joint":
        return 0
    return round(continual.replay.fraction * settings.batch)


def place(phases: Sequence[Phase], step: int) -> Place:
    """Where training step ``step`` lies; the first step after the last phase is none of it."""
    at = step
    for number, phase in enumerate(phases):
        if at < phase.steps:
            return Place(phase=number, at=at)
        at -= phase.steps
    return Place(phase=len(phases), at=at)


def ended(phases: Sequence[Phase], step: int) -> int:
    """How many phases are over once ``step`` training steps are done."""
    return place(phases, step).phase


def ends(phases: Sequence[Phase]) -> tuple[int, ...]:
    """The last step of each phase."""
    return tuple(accumulate(phase.steps for phase in phases))


def as_json(phases: Sequence[Phase]) -> list[dict[str, Any]]:
    """For a snapshot: phases that differ in this are other phases."""
    return [
        {"name": p.name, "tasks": list(p.tasks), "steps": p.steps, "fresh": p.fresh} for p in phases
    ]
