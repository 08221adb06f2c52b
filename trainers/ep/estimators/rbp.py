"""Recurrent backpropagation (Almeida 1987; Pineda 1987): a <- a + eps (J^T a + ell).

The limit of vanishing nudge of the two-phase estimator in ep.py: the error obeys e <- (I + eps J^T) e. The residual
is the update itself, so that it costs nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specs.trainer_ep import Adjoint as AdjointSettings
from trainers.ep.estimators.record import Adjoint, Best, adjoint_residual
from trainers.ep.estimators.system import System


@torch.no_grad()
def rbp(system: System, z: Tensor, settings: AdjointSettings, eps: float) -> Adjoint:
    """Solve J(z)^T a = -ell(z). Starts from ell / (1 + c), the solution where attention and MLP are silent."""
    J = system.linearise(z)
    ell = system.ell(z)
    a = ell / system.stiffness
    best = Best(a, settings.tolerance)
    for step in range(1, settings.max_steps + 1):
        Jt_a = J.vjp(a)
        last = step == settings.max_steps
        if (last or step % settings.check_every == 0) and best.offer(
            a, adjoint_residual(Jt_a, ell)
        ):
            return best.result(step)
        a = torch.add(a, Jt_a + ell, alpha=eps)
    return best.result(settings.max_steps)
