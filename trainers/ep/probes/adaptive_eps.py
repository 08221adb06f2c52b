"""Can any step size make Euler converge? eps grows by 5 % where ||F|| fell and halves where it did not.

Where a mode has Re mu >= 0 no eps > 0 is small enough: eps sinks to its floor and the residual stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from trainers.ep.probes import Say
from trainers.ep.probes.model import ROOT, Model, force_residual
from trainers.ep.relax import advance
from trainers.ep.solvers.adaptive import adaptive, even_pace

FLAT = 0.9
"""The residual is flat if the last half of the steps brought it to no less than this of what it was."""


NEAR_FLOOR = 4
"""eps is at its floor if it is at most this times as large: it grows a little between two halvings."""


@dataclass(frozen=True, kw_only=True)
class Options:
    steps: int = 600
    eps_min: float | None = None  # the settings' where left out
    points: int = 60

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ValueError(f"steps is {self.steps}, allowed: 2 or more")
        if self.eps_min is not None and not 0 < self.eps_min <= 1:
            raise ValueError(f"eps_min is {self.eps_min:g}, allowed: above 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class AdaptiveRow:
    """One sequence. ``g`` = ||F|| / ||z||."""

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "model", "sequence", "g_end", "eps_end", "lowest_eps", "pinned",
    )  # fmt: skip

    model: str
    sequence: int
    steps: int
    g_end: float
    eps_end: float
    lowest_eps: float
    eps_min: float
    pinned: bool  # eps ended near its floor, the residual flat
    residuals: tuple[tuple[float, float], ...]  # (step, g)
    finding: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """Of one sequence after ``step``; ``lowest``: the smallest eps so far."""

    step: int
    g: float
    eps: float
    lowest: float


@torch.no_grad()
def probe(model: Model, options: Options, say: Say) -> tuple[AdaptiveRow, ...]:
    """One row a sequence."""
    eps_min = options.eps_min or model.settings.relaxation.eps_min
    force, z, pace = model.system.force, model.start, even_pace(model.start, model.eps)
    say(f"{model.name}: {options.steps} steps, eps not below {eps_min:g}")
    block, done = max(1, options.steps // options.points), 0
    seen: list[list[Point]] = []
    while done < options.steps:
        count = min(block, options.steps - done)
        z, pace = adaptive(force, z, pace, eps_min, count, advance)
        done += count
        g = force_residual(force, z)
        seen.append(
            [
                Point(step=done, g=g_b, eps=eps_b, lowest=low_b)
                for g_b, eps_b, low_b in zip(
                    g.tolist(),
                    pace.eps.flatten().tolist(),
                    pace.lowest.flatten().tolist(),
                    strict=True,
                )
            ]
        )
    return tuple(
        row(model.name, b, until_root([at[b] for at in seen]), eps_min)
        for b in range(model.sequences)
    )


def until_root(curve: list[Point]) -> list[Point]:
    """Up to the first point at a root: beyond it rounding decides whether F falls, and eps means nothing."""
    arrived = next((i for i, point in enumerate(curve) if point.g <= ROOT), len(curve) - 1)
    return curve[: arrived + 1]


def row(name: str, b: int, curve: list[Point], eps_min: float) -> AdaptiveRow:
    """What the path of sequence ``b`` says."""
    last = curve[-1]
    flat = not last.g < FLAT * curve[len(curve) // 2].g
    pinned = flat and not last.g <= ROOT and last.eps <= NEAR_FLOOR * eps_min
    return AdaptiveRow(
        model=name,
        sequence=b,
        steps=last.step,
        g_end=last.g,
        eps_end=last.eps,
        lowest_eps=last.lowest,
        eps_min=eps_min,
        pinned=pinned,
        residuals=tuple((float(point.step), point.g) for point in curve),
        finding=_finding(last.g, pinned, flat),
    )


def _finding(g: float, pinned: bool, flat: bool) -> str:
    if g <= ROOT:
        return "a root"
    if pinned:
        return "eps pins at its floor and the residual stays: Re mu >= 0"
    return "the residual stays" if flat else "still falling: more steps"
