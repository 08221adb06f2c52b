"""The adjoint by GMRES on J^T a = -ell: what the other estimators are measured by, and the fastest at a tight tolerance."""

from __future__ import annotations

import torch
from torch import Tensor

from specs.trainer_ep import Adjoint as AdjointSettings
from specs.trainer_ep import Precision
from trainers.ep.estimators.record import Adjoint, AdjointRecord
from trainers.ep.estimators.system import System
from trainers.ep.solvers.gmres import gmres


@torch.no_grad()
def exact(system: System, z: Tensor, settings: AdjointSettings, eps: float) -> Adjoint:
    """Solve J^T a = -ell at ``z`` to ``settings.tolerance`` with at most ``max_steps`` applications of J^T.

    With ``precision: float64`` J, ell and a are in double, whatever type ``z`` has. ``eps`` has no meaning here.
    """
    del eps
    if settings.precision is Precision.FLOAT64:
        system, z = system.to(torch.float64), z.double()
    ell = system.ell(z)
    J = system.linearise(z)
    solved = gmres(
        J.vjp,
        -ell,
        tolerance=settings.tolerance,
        max_applications=settings.max_steps,
        restart=settings.restart,
        check_every=settings.check_every,
        arnoldi=J.vjp_arnoldi(),
    )
    return Adjoint(
        a=solved.x,
        record=AdjointRecord(
            r_adj=solved.residual, steps=solved.applications, converged=solved.converged
        ),
    )
