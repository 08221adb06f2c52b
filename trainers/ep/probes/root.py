"""The search for an equilibrium, by means that do not ask whether the dynamics would stay at it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.ep.probes.model import ROOT, Model, force_residual
from trainers.ep.solvers.anderson import Anderson
from trainers.ep.solvers.newton import newton

EVALUATIONS = 500
"""Forces that Anderson may spend."""


@dataclass(frozen=True, kw_only=True)
class Equilibrium:
    """The state to take J at. ``g_refined`` is the force residual of the refined state, ``g`` of ``z``, (B,)."""

    z: Tensor
    g: Tensor
    g_refined: Tensor
    by_newton: bool

    @property
    def refined_is_root(self) -> bool:
        return bool((self.g_refined <= ROOT).all())

    @property
    def is_root(self) -> bool:
        return bool((self.g <= ROOT).all())

    @property
    def origin(self) -> str:
        """Where the state comes from, in a few words."""
        if not self.by_newton:
            return "refined"
        return "newton" if self.is_root else "refined, no root found"


@dataclass(frozen=True, kw_only=True)
class Search:
    """The best that Newton-GMRES found. ``g`` (B,); ``iterations``: Newton steps in all."""

    z: Tensor  # (B, T, C)
    g: Tensor
    iterations: int


@torch.no_grad()
def equilibrium(model: Model) -> Equilibrium:
    """The refined state if it is a root, else the root that Newton-GMRES finds, else the refined state."""
    z = model.relaxed.z_ref
    g = force_residual(model.system.force, z)
    if bool((g <= ROOT).all()):
        return Equilibrium(z=z, g=g, g_refined=g, by_newton=False)
    found = search(model, z, tolerance=0.01 * ROOT)
    if not bool((found.g <= ROOT).all()):
        found = better(found, search(model, accelerate(model), tolerance=0.01 * ROOT))
    if bool((found.g <= ROOT).all()):
        return Equilibrium(z=found.z, g=found.g, g_refined=g, by_newton=True)
    return Equilibrium(z=z, g=g, g_refined=g, by_newton=True)


def search(model: Model, z: Tensor, *, tolerance: float) -> Search:
    """Newton-GMRES from ``z``."""
    root = newton(model.system, z, tolerance=tolerance)
    return Search(z=root.z, g=root.g, iterations=root.iterations)


def better(a: Search, b: Search) -> Search:
    """Of each sequence the state of smaller residual."""
    of_b = ~(a.g <= b.g)
    return Search(
        z=torch.where(of_b[:, None, None], b.z, a.z),
        g=torch.where(of_b, b.g, a.g),
        iterations=a.iterations + b.iterations,
    )


@torch.no_grad()
def accelerate(model: Model, evaluations: int = EVALUATIONS) -> Tensor:
    """The best state that Anderson reaches from z_0, per sequence, (B, T, C)."""
    relaxation = model.settings.relaxation
    anderson = Anderson(
        model.start,
        memory=relaxation.memory,
        regularisation=relaxation.regularisation,
        mixing=1 / model.system.stiffness,
        eps=relaxation.eps,
    )
    best, g_best, spent = model.start, force_residual(model.system.force, model.start), 0
    while spent < evaluations and bool((g_best > 0.01 * ROOT).any()):
        block = min(10, evaluations - spent)
        anderson.advance(model.system.force, block)
        spent += block
        g = anderson.residual(1.0)
        nearer = g < g_best
        best = torch.where(nearer[:, None, None], anderson.z, best)
        g_best = torch.where(nearer, g, g_best)
    return best
