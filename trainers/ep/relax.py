"""The free phase: Euler steps z <- z + eps F(z), T1 of them, then on to the tolerance or the cap.

One policy serves training, validation and the BPTT twin, so that all take the loss at the same state. Sequences
are independent systems: residuals are per sequence, the largest decides when to stop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from specs.trainer_ep import EpTrainer, Objective

Force = Callable[[Tensor], Tensor]
Walk = Callable[[Force, Tensor, float, int], Tensor]


@dataclass(frozen=True, kw_only=True)
class RelaxPolicy:
    """How long to relax. ``refine`` off ends at T1, where `finite_T` takes its loss."""

    eps: float
    T1: int
    t1max: int
    tolerance: float
    check_every: int
    objective: Objective
    refine: bool

    @classmethod
    def of(cls, settings: EpTrainer, *, measure: bool = False) -> RelaxPolicy:
        """The policy of a run; ``measure`` refines under `finite_T` too, to report the residual there."""
        relaxation = settings.relaxation
        return cls(
            eps=relaxation.eps,
            T1=relaxation.T1,
            t1max=relaxation.t1max,
            tolerance=relaxation.tolerance,
            check_every=relaxation.check_every,
            objective=settings.objective,
            refine=measure or settings.objective is Objective.FIXED_POINT,
        )


@dataclass(frozen=True, kw_only=True)
class Relaxed:
    """A relaxation's outcome. Residuals are step residuals eps ||F(z)|| / ||z|| at the named state, (B,)."""

    z_T1: Tensor
    z_ref: Tensor  # z_T1 where nothing was refined
    r_T1: Tensor
    r_ref: Tensor
    steps: int  # in all, to z_ref
    hit_cap: bool  # t1max came before the tolerance
    objective: Objective

    @property
    def z(self) -> Tensor:
        """The state that the loss is taken at."""
        return self.z_ref if self.objective is Objective.FIXED_POINT else self.z_T1


def euler(force: Force, z: Tensor, eps: float, steps: int) -> Tensor:
    for _ in range(steps):
        z = torch.add(z, force(z), alpha=eps)
    return z


def relax(force: Force, z: Tensor, policy: RelaxPolicy, walk: Walk = euler) -> Relaxed:
    """Relax from ``z`` (B, T, C). Differentiable under grad; residuals never carry a graph."""
    z_T1 = z = walk(force, z, policy.eps, policy.T1)
    r_T1 = r = step_residual(force, z, policy.eps)
    steps = policy.T1
    while policy.refine and steps < policy.t1max and bool(r.max() > policy.tolerance):
        block = min(policy.check_every, policy.t1max - steps)
        z = walk(force, z, policy.eps, block)
        r = step_residual(force, z, policy.eps)
        steps += block
    return Relaxed(
        z_T1=z_T1,
        z_ref=z,
        r_T1=r_T1,
        r_ref=r,
        steps=steps,
        hit_cap=policy.refine and not bool(r.max() <= policy.tolerance),
        objective=policy.objective,
    )


@torch.no_grad()
def step_residual(force: Force, z: Tensor, eps: float) -> Tensor:
    """eps ||F(z)|| / ||z|| per sequence, (B,)."""
    return eps * per_sequence_norm(force(z)) / per_sequence_norm(z)


def per_sequence_norm(t: Tensor) -> Tensor:
    """Euclidean norm over positions and width: (..., T, C) -> (...)."""
    return torch.linalg.vector_norm(t, dim=(-2, -1))
