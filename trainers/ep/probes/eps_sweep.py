"""Does a smaller step help? Euler with several eps over EQUAL time eps x steps.

Reported is the force residual g = ||F|| / ||z||. The step residual eps g falls with eps all by itself and says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from trainers.ep.probes import Say
from trainers.ep.probes.model import ROOT, Model, force_residual
from trainers.ep.relax import euler


@dataclass(frozen=True, kw_only=True)
class Options:
    eps: tuple[float, ...] = (0.2, 0.1, 0.05, 0.02, 0.01)
    time: float | None = None  # eps x steps; that of the settings' T1 where left out

    def __post_init__(self) -> None:
        if not self.eps or min(self.eps) <= 0:
            raise ValueError(f"eps are {list(self.eps)}, allowed: numbers above 0")
        if self.time is not None and not self.time > 0:
            raise ValueError(f"time is {self.time:g}, allowed: more than 0")


@dataclass(frozen=True, kw_only=True)
class EpsRow:
    """All sequences at one eps."""

    COLUMNS: ClassVar[tuple[str, ...]] = ("model", "eps", "steps", "time", "g_mean", "g_max")

    model: str
    eps: float
    steps: int
    time: float
    g_mean: float
    g_max: float
    finding: str


@torch.no_grad()
def probe(model: Model, options: Options, say: Say) -> tuple[EpsRow, ...]:
    """One row an eps."""
    time = options.time or model.eps * model.settings.relaxation.T1
    rows = []
    for eps in options.eps:
        steps = max(1, round(time / eps))
        say(f"{model.name}: eps {eps:g}, {steps} steps")
        z = euler(model.system.force, model.start, eps, steps)
        g = force_residual(model.system.force, z)
        worst = float(g.max())
        rows.append(
            EpsRow(
                model=model.name,
                eps=eps,
                steps=steps,
                time=eps * steps,
                g_mean=float(g.mean()),
                g_max=worst,
                finding=_finding(worst),
            )
        )
    return tuple(rows)


def _finding(g: float) -> str:
    if g <= ROOT:
        return "at a root"
    return "not at a root" if g < 1 else "diverged"
