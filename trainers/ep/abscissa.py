"""The rightmost eigenvalue of J, proved, without the eigenvalues of every token.

For a matrix A every eigenvalue obeys Re mu <= ln ||exp(t A)|| / t, at any t > 0 and in any norm, because
exp(t mu) is an eigenvalue of exp(t A). At t -> 0 that is the numerical abscissa, the largest eigenvalue of
(A + A^T) / 2, which for non-normal A is far too large to tell tokens apart; as t grows it falls to the spectral
abscissa like 1/t. Squaring doubles t for one matrix product, some forty times cheaper than the eigenvalues. So a
token is left out as soon as its bound lies left of an eigenvalue already found, and the rest is decomposed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainers.ep.linearise import Linearisation
from trainers.ep.spectrum import Rightmost, chunk_of, eigenvalues_of, rightmost_of, self_blocks

FIRST_TIME = 1.0
DOUBLINGS = 12
ROUNDING = 1e-9
"""What a bound may owe to rounding: every squaring doubles the relative error of E, and t with it."""

_GROWTH_STEPS = 8
_GROWTH_EPS = 0.3


@dataclass(frozen=True, kw_only=True)
class Extent:
    """The rightmost eigenvalue, and of how many of the tokens' blocks all eigenvalues were computed for it."""

    rightmost: Rightmost
    decomposed: int
    blocks: int


def rightmost(J: Linearisation) -> Rightmost:
    """The eigenvalue of largest real part. Equal to `rightmost_of(eigenvalues(J))`."""
    return extent(J).rightmost


@torch.no_grad()
def extent(J: Linearisation) -> Extent:
    """The rightmost eigenvalue and what finding it took; the most suspicious tokens are looked at first."""
    order = _growth(J).flatten().argsort(descending=True, stable=True)
    best, decomposed = _decompose(J, int(order[0]), self_blocks(J, order[:1])), 1
    for part in torch.split(order[1:], chunk_of(J)):
        blocks = self_blocks(J, part)
        bounds = upper_bounds(blocks, best.re_mu)
        for i in bounds.argsort(descending=True).tolist():
            if float(bounds[i]) <= best.re_mu:
                break
            found = _decompose(J, int(part[i]), blocks[i : i + 1])
            decomposed += 1
            best = max(best, found, key=lambda at: at.re_mu)
    return Extent(rightmost=best, decomposed=decomposed, blocks=order.numel())


def _decompose(J: Linearisation, token: int, block: Tensor) -> Rightmost:
    """The rightmost eigenvalue of one token's block (1, C, C)."""
    sequence, position = divmod(token, J.x_hat.shape[1])
    return replace(rightmost_of(eigenvalues_of(block)[None]), sequence=sequence, token=position)


@torch.no_grad()
def upper_bounds(blocks: Tensor, enough: float) -> Tensor:
    """Bounds (n,) of max Re mu of each of (n, C, C), sharpened until at most ``enough`` or `DOUBLINGS` times.

    In float64, about the mean eigenvalue, so that the exponential neither overflows nor vanishes.
    """
    A = blocks.double()
    centre = A.diagonal(dim1=-2, dim2=-1).mean(-1)
    eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    E, t = torch.matrix_exp(FIRST_TIME * (A - centre[:, None, None] * eye)), FIRST_TIME
    bounds, log_scale = torch.full_like(centre, torch.inf), torch.zeros_like(centre)
    alive = torch.arange(len(A), device=A.device)
    for doubling in range(DOUBLINGS + 1):
        norm = torch.linalg.matrix_norm(E)
        log_scale = log_scale + norm.log()
        bounds[alive] = torch.minimum(bounds[alive], centre[alive] + log_scale / t + ROUNDING)
        keep = ~(bounds[alive] <= enough)  # a bound that is no number proves nothing
        if doubling == DOUBLINGS or not bool(keep.any()):
            break
        alive, E, log_scale = alive[keep], E[keep] / norm[keep, None, None], log_scale[keep]
        E, log_scale, t = E @ E, 2 * log_scale, 2 * t
    return bounds


def _growth(J: Linearisation) -> Tensor:
    """ln ||v_t|| after a few steps v_t <- v_t + eps J_tt v_t, (B, T): who to look at first; it proves nothing."""
    v = torch.ones_like(J.x_hat)
    v[..., ::2] = -1  # the layer norm is deaf to a constant
    total = torch.zeros(J.x_hat.shape[:2], dtype=v.dtype, device=v.device)
    for _ in range(_GROWTH_STEPS):
        v = torch.add(v, J.self_jvp(v), alpha=_GROWTH_EPS)
        norm = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
        total, v = total + norm[..., 0].log(), v / norm
    return total
