"""Restarted GMRES (Saad & Schultz 1986) on many independent systems at once: one per sequence.

The Krylov bases stay on the device; the small least-squares problems are solved on the host in double precision, once
every ``check_every`` applications, which is the only time the host waits. The residual that is reported is computed
from the solution, never the one that the recurrence believes in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.ep.norms import per_sequence_norm
from trainers.ep.solvers.arnoldi import Arnoldi, Operator, PlainArnoldi


@dataclass(frozen=True, kw_only=True)
class Solved:
    """x with A x = b as far as it got. ``residual`` = ||b - A x|| / ||b|| per sequence, zero where b is zero."""

    x: Tensor  # (B, T, C)
    residual: Tensor  # (B,)
    applications: int  # of A, those that check included
    converged: bool


@torch.no_grad()
def gmres(
    operator: Operator,
    b: Tensor,
    *,
    tolerance: float,
    max_applications: int,
    restart: int,
    check_every: int,
    arnoldi: Arnoldi | None = None,
) -> Solved:
    """Solve A x = b (B, T, C) from x = 0; every ``restart`` applications the basis is made anew.

    ``arnoldi`` grows the bases of ``operator`` (by default `PlainArnoldi`).

    Ends within the tolerance, at ``max_applications``, or after a cycle in which no sequence gained anything.
    """
    arnoldi = arnoldi or PlainArnoldi(operator)
    size = per_sequence_norm(b)
    x, r = torch.zeros_like(b), b
    residual = torch.where(size == 0, torch.zeros_like(size), size / size)  # NaN stays NaN
    used, gained = 0, True
    while gained and bool((residual > tolerance).any()) and max_applications - used >= 2:
        longest = min(restart, max_applications - used - 1)
        change, spent = _cycle(arnoldi, r, size, tolerance, longest, check_every)
        tried = x + change
        r_tried = b - operator(tried)
        used += spent + 1
        now = torch.where(size == 0, torch.zeros_like(size), per_sequence_norm(r_tried) / size)
        better = now < residual
        gained = bool(better.any())
        x = torch.where(better[:, None, None], tried, x)
        r = torch.where(better[:, None, None], r_tried, r)
        residual = torch.where(better, now, residual)
    return Solved(
        x=x,
        residual=residual,
        applications=used,
        converged=bool(residual.max() <= tolerance),
    )


def _cycle(
    arnoldi: Arnoldi, r: Tensor, size: Tensor, tolerance: float, longest: int, check_every: int
) -> tuple[Tensor, int]:
    """The best change of x in the Krylov space of ``r``, and the applications that it took."""
    start = per_sequence_norm(r)
    space = arnoldi.begin(r, start, longest)
    count, within = 0, False
    y = torch.zeros(len(r), 0, dtype=torch.float64)
    while count < longest and not within:
        steps = min(check_every, longest - count)
        arnoldi.grow(space, count, steps)
        count += steps
        H, norms = _to_host(space.H[:, : count + 1, :count], torch.stack((start, size), dim=-1))
        y, left = _least_squares(H, norms[:, 0])
        within = bool((left <= tolerance * norms[:, 1]).all())
    change = torch.einsum("bk,kbn->bn", y.to(r), space.V[:count])
    return change.view_as(r), count


def _to_host(*tensors: Tensor) -> list[Tensor]:
    """Double-precision copies of (B, ...) tensors, at the cost of one transfer."""
    packed = torch.cat([t.flatten(1) for t in tensors], dim=1).to("cpu", torch.float64)
    parts = packed.split([t[0].numel() for t in tensors], dim=1)
    return [part.reshape(t.shape) for part, t in zip(parts, tensors, strict=True)]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices of this size are slower on many threads, by ten times on sixteen."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def _least_squares(H: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """y minimising ||start e_1 - H y||, the shortest where there are several, and that norm, (B,)."""
    H = _finite(H)
    rhs = torch.zeros(*H.shape[:2], 1, dtype=H.dtype)
    rhs[:, 0, 0] = _finite(start)
    Q, R = torch.linalg.qr(H)
    pivots = R.diagonal(dim1=-2, dim2=-1).abs()
    smallest = torch.finfo(H.dtype).eps * len(H[0]) * pivots.amax(-1)
    if bool((pivots.amin(-1) > smallest).all()):
        y = torch.linalg.solve_triangular(R, Q.mT @ rhs, upper=True)
    else:  # an exhausted basis, or a singular A: the singular values take ten times as long
        y = torch.linalg.lstsq(H, rhs, driver="gelsd").solution
    return y[..., 0], torch.linalg.vector_norm(rhs - H @ y, dim=(-2, -1))


def _finite(t: Tensor) -> Tensor:
    """LAPACK must not see what is no number; the caller's true residual says what came of it."""
    return torch.nan_to_num(t, nan=0.0, posinf=0.0, neginf=0.0)
