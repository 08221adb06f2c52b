"""Euler steps of adaptive size: eps grows by 5 % where ||F|| fell and halves where it did not, per sequence.

Where a mode has Re mu >= 0 no eps makes Euler converge and eps sinks to its floor, so the smallest eps is kept as
a symptom.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.ep.norms import per_sequence_norm

GROW, SHRINK, EPS_MAX = 1.05, 0.5, 1.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The step of each sequence, (B, 1, 1), what it is judged by, (B,), and the smallest so far."""

    eps: Tensor
    size: Tensor  # ||F|| at the last step
    lowest: Tensor


def even_pace(z: Tensor, eps: float) -> Pace:
    """The same step for every sequence, before any F is known."""
    start = torch.full_like(z[:, :1, :1], eps).detach()
    return Pace(eps=start, size=torch.full_like(start[:, 0, 0], torch.inf), lowest=start)


def adaptive(
    force: Callable[[Tensor], Tensor],
    z: Tensor,
    pace: Pace,
    eps_min: float,
    steps: int,
    step: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> tuple[Tensor, Pace]:
    """``steps`` of z <- step(z, F(z), eps). Differentiable; the choice of eps carries no graph."""
    for _ in range(steps):
        f = force(z)
        pace = _judged(pace, per_sequence_norm(f.detach()), eps_min)
        z = step(z, f, pace.eps)
    return z, pace


def _judged(pace: Pace, size: Tensor, eps_min: float) -> Pace:
    fell = (size < pace.size)[:, None, None]
    grown = (GROW * pace.eps).clamp(max=EPS_MAX)
    eps = torch.where(fell, grown, (SHRINK * pace.eps).clamp(min=eps_min))
    return Pace(eps=eps, size=size, lowest=torch.minimum(pace.lowest, eps))
