"""Two real nudged phases with the AsymEP correction and a common-mode anchor.

    z_s <- z_s + eps [F(z_s) - s beta ell - s (J - J^T) d],   s = +1, -1,
    zbar = (z_+ + z_-) / 2,   d = (z_+ - z_-) / 2,   J and the correction at zbar.

To first order d <- d + eps (J^T d - beta ell), while zbar follows the free force up to O(beta^2). So -d / beta solves
J^T a = -ell, with an error of O(beta^2). Correction: Scurria et al., arXiv 2602.03670; J - J^T is never clipped.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specs.trainer_ep import Adjoint as AdjointSettings
from trainers.ep.estimators.record import Adjoint, Best, adjoint_residual
from trainers.ep.estimators.system import Jacobian, System
from trainers.ep.relax import per_sequence_norm


@torch.no_grad()
def ep(system: System, z: Tensor, settings: AdjointSettings, eps: float) -> Adjoint:
    """Solve J^T a = -ell by nudging. The nudge is sized so that ||d|| is at most ``radius`` ||z||."""
    ell = system.ell(z)
    a = ell / system.stiffness
    beta = _nudge_size(z, a, settings.radius)
    phases = torch.stack((z - beta * a, z + beta * a))
    best = Best(a, settings.tolerance)
    for step in range(1, settings.max_steps + 1):
        anchor, d = 0.5 * (phases[0] + phases[1]), 0.5 * (phases[0] - phases[1])
        correction, Jt_d = antisymmetric(system.linearise(anchor), d)
        last = step == settings.max_steps
        if (last or step % settings.check_every == 0) and best.offer(
            -d / beta, adjoint_residual(-Jt_d / beta, ell)
        ):
            return best.result(step)
        push = beta * ell + correction
        phases = phases + eps * (system.force(phases) - torch.stack((push, -push)))
        if step % settings.refresh_nudge == 0:
            phases, beta = _within_radius(phases, beta, settings.radius)
            ell = system.ell(0.5 * (phases[0] + phases[1]))
    return best.result(settings.max_steps)


def antisymmetric(J: Jacobian, d: Tensor) -> tuple[Tensor, Tensor]:
    """(J - J^T) d and J^T d. Linear in d: no norm, no clip."""
    Jt_d = J.vjp(d)
    return J.jvp(d) - Jt_d, Jt_d


def _nudge_size(z: Tensor, a: Tensor, radius: float) -> Tensor:
    """beta (B, 1, 1) such that ||beta a|| = radius ||z||; one where there is nothing to nudge."""
    size = per_sequence_norm(a)
    beta = torch.where(size == 0, torch.ones_like(size), radius * per_sequence_norm(z) / size)
    return beta[:, None, None]


def _within_radius(phases: Tensor, beta: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Shrink d and beta together where d outgrew the radius; the estimate -d / beta stays as it is."""
    anchor, d = 0.5 * (phases[0] + phases[1]), 0.5 * (phases[0] - phases[1])
    shrink = (radius * per_sequence_norm(anchor) / per_sequence_norm(d)).clamp(max=1.0)
    d = shrink[:, None, None] * d
    return torch.stack((anchor + d, anchor - d)), shrink[:, None, None] * beta
