"""Where does a long free phase end: at a root, on a limit cycle, or neither?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainers.ep.probes import Say
from trainers.ep.probes.model import ROOT, Model
from trainers.ep.probes.motion import FINDINGS, Fate, observe

MOST_STEPS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Options:
    steps: int = 2000

    def __post_init__(self) -> None:
        if not 4 <= self.steps <= MOST_STEPS:
            raise ValueError(f"steps is {self.steps}, allowed: 4 to {MOST_STEPS}")


@dataclass(frozen=True, kw_only=True)
class RelaxRow:
    """One sequence; what it does is judged by the last half of the steps. ``g`` = ||F|| / ||z||."""

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "model", "sequence", "fate", "steps", "time", "g_end", "amplitude", "period",
    )  # fmt: skip

    model: str
    sequence: int
    fate: Fate
    steps: int
    time: float  # eps x steps
    g_end: float
    g_lowest: float  # in the last half
    amplitude: float  # rms distance from the mean state, over its norm
    period: float | None  # in units of eps x steps
    residuals: tuple[tuple[float, float], ...]  # (time, g)
    finding: str


def probe(model: Model, options: Options, say: Say) -> tuple[RelaxRow, ...]:
    """One row a sequence, from z_0."""
    say(f"{model.name}: {options.steps} steps of eps {model.eps:g}")
    seen = observe(model.system.force, model.start, eps=model.eps, steps=options.steps, root=ROOT)
    return tuple(
        RelaxRow(
            model=model.name,
            sequence=b,
            fate=motion.fate,
            steps=options.steps,
            time=model.eps * options.steps,
            g_end=motion.g_end,
            g_lowest=motion.g,
            amplitude=motion.amplitude,
            period=motion.period,
            residuals=motion.residuals,
            finding=FINDINGS[motion.fate],
        )
        for b, motion in enumerate(seen)
    )
