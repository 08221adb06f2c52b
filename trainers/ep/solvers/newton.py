"""Newton-GMRES with a line search on F(z) = 0: the honest test of whether there is a root nearby.

Euler and Anderson go where the dynamics go and can not settle on an equilibrium that the dynamics leave. Newton's
method knows nothing of stability: it finds a stable and an unstable root alike. What it does not find from here may
still exist elsewhere; ``g`` says how far it got.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.ep.estimators.system import System
from trainers.ep.norms import per_sequence_norm
from trainers.ep.solvers.gmres import gmres

FORCING = 1e-3
"""Relative residual of the linear systems: every full step gains about three digits."""

DECREASE = 1e-4
HALVINGS = 12

STALLED = 1e-3
"""A step that lowers ||F|| by no more than this part of it, in every sequence that is not there yet, is the last."""


@dataclass(frozen=True, kw_only=True)
class Root:
    """Where the search ended. ``g`` = ||F(z)|| / ||z||, the force residual, per sequence."""

    z: Tensor  # (B, T, C)
    g: Tensor  # (B,)
    found: Tensor  # (B,) g is within the tolerance
    iterations: int
    applications: int  # of J

    def __str__(self) -> str:
        worst = float(self.g.max())
        if bool(self.found.all()):
            return (
                f"a root: ||F||/||z|| is at most {worst:.1e} after {self.iterations} Newton steps"
            )
        lost = int((~self.found).sum())
        return (
            f"no root found for {lost} of {len(self.g)} sequences: ||F||/||z|| is still {worst:.1e} "
            f"after {self.iterations} Newton steps"
        )


@torch.no_grad()
def newton(
    system: System,
    z: Tensor,
    *,
    tolerance: float,
    max_iterations: int = 50,
    restart: int = 60,
    max_applications: int = 600,
) -> Root:
    """Search for F(z) = 0 from ``z`` (B, T, C). ``max_applications`` of J bound each linear system."""
    f = system.force(z)
    iterations = applications = 0
    gaining = True
    while gaining and iterations < max_iterations and bool((_g(f, z) > tolerance).any()):
        solved = gmres(
            system.linearise(z).jvp,
            -f,
            tolerance=FORCING,
            max_applications=max_applications,
            restart=restart,
            check_every=restart,
        )
        iterations += 1
        applications += solved.applications
        size = per_sequence_norm(f)
        z, f = _line_search(system, z, f, solved.x)
        gained = per_sequence_norm(f) < (1 - STALLED) * size
        gaining = bool((gained & (size > tolerance * per_sequence_norm(z))).any())
    g = _g(f, z)
    return Root(z=z, g=g, found=g <= tolerance, iterations=iterations, applications=applications)


def _g(f: Tensor, z: Tensor) -> Tensor:
    return per_sequence_norm(f) / per_sequence_norm(z)


def _line_search(system: System, z: Tensor, f: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """z and F(z) after the longest of the halved steps at which ||F|| falls, per sequence; none: stay."""
    size = per_sequence_norm(f)
    length = torch.ones_like(size)
    open_ = torch.ones_like(size, dtype=torch.bool)
    z_new, f_new = z, f
    for _ in range(HALVINGS):
        tried = z + length[:, None, None] * change
        f_tried = system.force(tried)
        good = open_ & (per_sequence_norm(f_tried) <= (1 - DECREASE * length) * size)
        z_new = torch.where(good[:, None, None], tried, z_new)
        f_new = torch.where(good[:, None, None], f_tried, f_new)
        open_ = open_ & ~good
        if not bool(open_.any()):
            break
        length = torch.where(open_, 0.5 * length, length)
    return z_new, f_new
