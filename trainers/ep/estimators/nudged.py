"""Nudged phases with the AsymEP correction: the one algorithm behind `ep` and `holomorphic`.

    z_k <- z_k + eps [F(z_k) - beta_k ell - (J - J^T)(z_k - anchor)],   beta_k = beta e^{2 pi i k / N}

To first order the displacement obeys d_k <- d_k + eps (J^T d_k - beta_k ell), so that the first Fourier coefficient
over k of the settled phases is beta J^-T ell, and -1/beta times it solves J^T a = -ell. Coefficients of higher order
alias onto it from order N + 1 on: the bias is O(beta^N). J is real, and the correction acts on real and imaginary
parts apart: J^T is the plain transpose. J - J^T is never clipped: whatever bounds it destroys a.
(Scurria et al., arXiv 2602.03670; Laborieux & Zenke, arXiv 2209.00530.)

`track` takes the anchor at the mean of the phases. The correction then leaves the mean alone, which goes on settling
under the free force up to O(beta^N), while only the differences see J^T. `frozen` takes it at the free state z, once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specs.trainer_ep import Adjoint as AdjointSettings
from specs.trainer_ep import Anchor
from trainers.ep.estimators.circle import Circle, contract
from trainers.ep.estimators.record import Adjoint, Best, adjoint_residual
from trainers.ep.estimators.system import Jacobian, System
from trainers.ep.norms import per_sequence_norm


@torch.no_grad()
def nudged(
    system: System, z: Tensor, settings: AdjointSettings, eps: float, points: int
) -> tuple[Adjoint, bool]:
    """Solve J^T a = -ell with ``points`` phases. Second: did all phases stay where F is analytic?

    The nudge is sized so that ||d|| is at most ``radius`` ||z||. Starts from ell / (1 + c). Ends at once where a
    phase left its circle.
    """
    circle = Circle.of(points, z)
    tracked = settings.anchor is Anchor.TRACK
    ell = system.ell(z)
    a = ell / system.stiffness
    beta = _nudge_size(z, a, settings.radius)
    rows = circle.state * z - circle.nudge * (beta * a)
    frozen = None if tracked else system.linearise(z)
    best = Best(a, settings.tolerance)
    for step in range(1, settings.max_steps + 1):
        anchor = z if frozen else contract(circle.mean, rows)
        d = torch.addcmul(rows, circle.state, anchor, value=-1)
        # tracked displacements sum to zero, which spares one row of products
        some = circle.independent(d) if tracked else d
        correction, Jt_d = antisymmetric(frozen or system.linearise(anchor), some)
        if step == settings.max_steps or step % settings.check_every == 0:
            if points > 2 and not bool(circle.on_circle(rows).all()):
                return best.result(step), False
            found = -contract(circle.harmonic, d) / beta
            Jt_d = circle.completed(Jt_d) if tracked else Jt_d
            r_adj = adjoint_residual(-contract(circle.harmonic, Jt_d) / beta, ell)
            if best.offer(found, r_adj):
                return best.result(step), True
        correction = circle.completed(correction) if tracked else correction
        push = torch.addcmul(correction, circle.nudge, beta * ell)
        rows = torch.add(rows, circle.force(system.force, rows) - push, alpha=eps)
        if step % settings.refresh_nudge == 0:
            rows, beta = _within_radius(circle, rows, beta, settings.radius)
            if tracked:
                ell = system.ell(contract(circle.mean, rows))
    return best.result(settings.max_steps), True


def antisymmetric(J: Jacobian, d: Tensor) -> tuple[Tensor, Tensor]:
    """(J - J^T) d and J^T d. Linear in d: no norm, no clip."""
    Jt_d = J.vjp(d)
    return J.jvp(d) - Jt_d, Jt_d


def _nudge_size(z: Tensor, a: Tensor, radius: float) -> Tensor:
    """beta (B, 1, 1) such that ||beta a|| = radius ||z||; one where there is nothing to nudge."""
    size = per_sequence_norm(a)
    beta = torch.where(size == 0, torch.ones_like(size), radius * per_sequence_norm(z) / size)
    return beta[:, None, None]


def _within_radius(
    circle: Circle, rows: Tensor, beta: Tensor, radius: float
) -> tuple[Tensor, Tensor]:
    """Shrink displacements and beta together where d outgrew the radius; the estimate stays as it is."""
    mean = circle.state * contract(circle.mean, rows)
    d = per_sequence_norm(contract(circle.harmonic, rows))
    shrink = (radius * per_sequence_norm(mean[0]) / d).clamp(max=1.0)[:, None, None]
    return mean + shrink * (rows - mean), shrink * beta
