"""Matrix-free Arnoldi on one sequence, and J v against its finite difference: checks of the exact spectrum.

ARPACK's restarted Arnoldi (Lehoucq, Sorensen & Yang 1998) through scipy, with J v from the written-out Jacobian.
``LM`` of M = I + eps J is the mode that decides Euler; it need not be the rightmost mu, because a stiff mode near
mu = -2/eps has |1 + eps mu| near one as well. ``LR`` of J is the rightmost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.ep.probes.model import Model
from trainers.ep.spectrum import Rightmost

FD_STEP = 1e-3
"""Length of the finite difference over ||z||: that of the source."""

_MOST_RESTARTS = 300
_DIRECTIONS = 4


@dataclass(frozen=True, kw_only=True)
class Arnoldi:
    """On the sequence with the exact rightmost eigenvalue. None where ARPACK did not converge."""

    re_mu: float | None  # rightmost of J, 'LR'
    im_mu: float | None
    gap: float | None  # |re_mu - exact|
    re_mu_of_M: float | None  # rightmost (lambda - 1) / eps over the largest |lambda| of M, 'LM'
    rho: float | None  # largest |lambda|
    fd_difference: float  # largest ||J v - FD|| / ||J v|| over random v


def cross_check(model: Model, z: Tensor, exact: Rightmost, modes: int) -> Arnoldi:
    """Arnoldi and finite differences at ``z`` (B, T, C), on the sequence of ``exact``."""
    one = model.only(exact.sequence)
    state = z[exact.sequence : exact.sequence + 1]
    jvp, eps = one.system.linearise(state).jvp, model.eps
    right = largest(jvp, state, count=min(modes, 4), which="LR")
    dominant = largest(lambda v: v + eps * jvp(v), state, count=modes, which="LM")
    mu = None if right is None else max(right, key=lambda value: value.real)
    return Arnoldi(
        re_mu=None if mu is None else mu.real,
        im_mu=None if mu is None else abs(mu.imag),
        gap=None if mu is None else abs(mu.real - exact.re_mu),
        re_mu_of_M=None
        if dominant is None
        else max(((value - 1) / eps).real for value in dominant),
        rho=None if dominant is None else max(abs(value) for value in dominant),
        fd_difference=finite_difference_gap(one.system.force, jvp, state),
    )


def largest(
    operator: Callable[[Tensor], Tensor], like: Tensor, *, count: int, which: str
) -> list[complex] | None:
    """Eigenvalues of a real linear map on tensors shaped like ``like``, by ARPACK; None if it does not converge."""
    import numpy as np
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

    size = like.numel()

    def matvec(v: np.ndarray) -> np.ndarray:
        w = operator(torch.from_numpy(np.ascontiguousarray(v, np.float64)).to(like).view_as(like))
        return w.flatten().to("cpu", torch.float64).numpy()

    start = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    count = min(count, size - 2)
    try:
        values = eigs(
            LinearOperator((size, size), matvec=matvec, dtype=np.float64),
            k=count,
            which=which,
            ncv=min(size, max(40, 4 * count)),
            v0=start.numpy(),
            maxiter=_MOST_RESTARTS,
            tol=1e-7,
            return_eigenvectors=False,
        )
    except ArpackNoConvergence:
        return None
    return [complex(value) for value in values]


@torch.no_grad()
def finite_difference_gap(
    force: Callable[[Tensor], Tensor], jvp: Callable[[Tensor], Tensor], z: Tensor
) -> float:
    """Largest ||J v - (F(z + h v) - F(z - h v)) / 2h|| / ||J v|| over random unit v, h = 1e-3 ||z||.

    Two-sided: the source's one-sided difference owes a part in a thousand to the curvature of F alone.
    """
    source = torch.Generator().manual_seed(1)
    h, worst = FD_STEP * float(torch.linalg.vector_norm(z)), 0.0
    for _ in range(_DIRECTIONS):
        v = torch.randn(z.shape, generator=source, dtype=torch.float64).to(z)
        v = v / torch.linalg.vector_norm(v)
        exact = jvp(v)
        gap = torch.linalg.vector_norm((force(z + h * v) - force(z - h * v)) / (2 * h) - exact)
        worst = max(worst, float(gap / torch.linalg.vector_norm(exact)))
    return worst
