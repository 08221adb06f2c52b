"""The free phase: Euler steps z <- z + eps F(z), T1 of them, then on to the tolerance or the cap.

One policy serves training, validation and the BPTT twin, so that all take the loss at the same state. Sequences
are independent systems: residuals are per sequence, the largest decides when to stop. A step is an evaluation of
the force, whichever solver spends it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from specs.trainer_ep import EpTrainer, Objective, Solver
from trainers.ep.norms import per_sequence_norm
from trainers.ep.solvers.adaptive import adaptive, even_pace
from trainers.ep.solvers.anderson import Anderson

Force = Callable[[Tensor], Tensor]
Walk = Callable[[Force, Tensor, float, int], Tensor]
Step = Callable[[Tensor, Tensor, float | Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class RelaxPolicy:
    """How, and how long, to relax. ``refine`` off ends at T1, where `finite_T` takes its loss."""

    eps: float
    T1: int
    t1max: int
    tolerance: float
    check_every: int
    objective: Objective
    refine: bool
    solver: Solver = Solver.EULER
    memory: int = 6
    regularisation: float = 1e-8
    mixing: float = (
        1.0  # what Anderson adds of F to a mixture: z <- sum_i alpha_i (z_i + mixing F_i)
    )
    adaptive: bool = False
    eps_min: float = 1e-3

    def __post_init__(self) -> None:
        if self.adaptive and self.solver is not Solver.EULER:
            raise ValueError(
                f"adaptive chooses the size of Euler steps; solver {self.solver.value} would ignore it"
            )

    @classmethod
    def of(
        cls, settings: EpTrainer, *, measure: bool = False, T1: int | None = None
    ) -> RelaxPolicy:
        """The policy of a run; ``measure`` refines under `finite_T` too, to report the residual there.

        ``T1`` is what a training step drew where T1 is random.
        """
        relaxation = settings.relaxation
        return cls(
            eps=relaxation.eps,
            T1=relaxation.T1 if T1 is None else T1,
            t1max=relaxation.t1max,
            tolerance=relaxation.tolerance,
            check_every=relaxation.check_every,
            objective=settings.objective,
            refine=measure or settings.objective is Objective.FIXED_POINT,
            solver=relaxation.solver,
            memory=relaxation.memory,
            regularisation=relaxation.regularisation,
            mixing=1 / (1 + settings.damping),
            adaptive=relaxation.adaptive,
            eps_min=relaxation.eps_min,
        )


@dataclass(frozen=True, kw_only=True)
class Relaxed:
    """A relaxation's outcome. Residuals are step residuals eps ||F(z)|| / ||z|| at the named state, (B,).

    Their eps is the policy's, also where the steps were taken with another, so that they stay comparable.
    """

    z_T1: Tensor  # after T1 steps; with Anderson earlier, if it was within the tolerance earlier
    z_ref: Tensor  # z_T1 where nothing was refined
    r_T1: Tensor
    r_ref: Tensor
    steps: int  # in all, to z_ref
    hit_cap: bool  # t1max came before the tolerance
    objective: Objective
    eps_min: float | None = (
        None  # the smallest step that an adaptive refinement took; None: there was none
    )

    @property
    def z(self) -> Tensor:
        """The state that the loss is taken at."""
        return self.z_ref if self.objective is Objective.FIXED_POINT else self.z_T1


def advance(z: Tensor, f: Tensor, eps: float | Tensor) -> Tensor:
    """One step: z + eps f. ``eps`` may be (B, 1, 1)."""
    if isinstance(eps, Tensor):
        return torch.addcmul(z, f, eps)
    return torch.add(z, f, alpha=eps)


def euler(force: Force, z: Tensor, eps: float, steps: int, step: Step = advance) -> Tensor:
    for _ in range(steps):
        z = step(z, force(z), eps)
    return z


def relax(
    force: Force, z: Tensor, policy: RelaxPolicy, walk: Walk | None = None, step: Step = advance
) -> Relaxed:
    """Relax from ``z`` (B, T, C). Differentiable under grad, but for Anderson; residuals never carry a graph.

    ``walk`` takes the steps of fixed size (default: `euler`), ``step`` is what it and the adaptive ones do.
    """
    if policy.solver is Solver.ANDERSON:
        return _accelerated(force, z, policy)
    walk = walk or partial(euler, step=step)
    z_T1 = z = walk(force, z, policy.eps, policy.T1)
    r_T1 = r = step_residual(force, z, policy.eps)
    steps, pace = policy.T1, None
    while policy.refine and steps < policy.t1max and bool(r.max() > policy.tolerance):
        block = min(policy.check_every, policy.t1max - steps)
        if policy.adaptive:
            pace = pace or even_pace(z, policy.eps)
            z, pace = adaptive(force, z, pace, policy.eps_min, block, step)
        else:
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
        eps_min=None if pace is None else float(pace.lowest.min()),
    )


def _accelerated(force: Force, z: Tensor, policy: RelaxPolicy) -> Relaxed:
    """The same with Anderson, which need not spend all of T1: it stops at the tolerance."""
    search = Anderson(
        z,
        memory=policy.memory,
        regularisation=policy.regularisation,
        mixing=policy.mixing,
        eps=policy.eps,
    )
    steps = _spend(search, force, policy, 0, policy.T1)
    z_T1, r_T1 = search.z, search.residual(policy.eps)
    if policy.refine:
        steps = _spend(search, force, policy, steps, policy.t1max)
    r = search.residual(policy.eps)
    return Relaxed(
        z_T1=z_T1,
        z_ref=search.z,
        r_T1=r_T1,
        r_ref=r,
        steps=steps,
        hit_cap=policy.refine and not bool(r.max() <= policy.tolerance),
        objective=policy.objective,
    )


def _spend(search: Anderson, force: Force, policy: RelaxPolicy, steps: int, most: int) -> int:
    """Search until the tolerance, or ``most`` evaluations in all; how many it has made by then."""
    while steps < most and bool(search.residual(policy.eps).max() > policy.tolerance):
        block = min(policy.check_every, most - steps)
        search.advance(force, block)
        steps += block
    return steps


@torch.no_grad()
def step_residual(force: Force, z: Tensor, eps: float) -> Tensor:
    """eps ||F(z)|| / ||z|| per sequence, (B,)."""
    return eps * per_sequence_norm(force(z)) / per_sequence_norm(z)
