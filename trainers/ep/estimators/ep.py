"""Two real nudged phases: N = 2 of `nudged`. Bias O(radius^2), no complex number anywhere."""

from __future__ import annotations

from torch import Tensor

from specs.trainer_ep import Adjoint as AdjointSettings
from trainers.ep.estimators.nudged import nudged
from trainers.ep.estimators.record import Adjoint
from trainers.ep.estimators.system import System


def ep(system: System, z: Tensor, settings: AdjointSettings, eps: float) -> Adjoint:
    """Solve J^T a = -ell at ``z`` by two nudged phases."""
    adjoint, _ = nudged(system, z, settings, eps, points=2)
    return adjoint
