"""Holomorphic EP (Laborieux & Zenke 2022): N = 2, 4 or 8 nudged phases on a circle. Bias O(radius^N).

The complex phases go through the same force as the real ones. F is analytic near real states only: where a phase
leaves that neighbourhood the batch is solved once more with N = 2, which needs no complex state, and the record says
so (`fell_back`).
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from specs.trainer_ep import Adjoint as AdjointSettings
from trainers.ep.estimators.nudged import nudged
from trainers.ep.estimators.record import Adjoint
from trainers.ep.estimators.system import System


def holomorphic(system: System, z: Tensor, settings: AdjointSettings, eps: float) -> Adjoint:
    """Solve J^T a = -ell at ``z`` by ``settings.points`` nudged phases; ``steps`` counts those of both tries."""
    adjoint, analytic = nudged(system, z, settings, eps, points=settings.points)
    if analytic:
        return replace(adjoint, record=replace(adjoint.record, fell_back=False))
    second, _ = nudged(system, z, settings, eps, points=2)
    steps = adjoint.record.steps + second.record.steps
    return replace(second, record=replace(second.record, steps=steps, fell_back=True))
