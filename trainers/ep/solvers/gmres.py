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
from trainers.ep.solvers.arnoldi import Arnoldi, Krylov, Operator, PlainArnoldi
from trainers.host import OnItsWay


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
    """The best change of x in the Krylov space of ``r``, and the applications that it took.

    Where the bases grow beside the host they do so while the host looks at what there is, so that the last
    ``check_every`` applications of those may be for nothing.
    """
    start = per_sequence_norm(r)
    space = arnoldi.begin(r, start, longest)
    norms = torch.stack((start, size), dim=-1)
    count = grown = 0
    y = torch.zeros(len(r), 0, dtype=torch.float64)
    for count in _ends(longest, check_every):
        grown = _grown(arnoldi, space, grown, count)
        coming = OnItsWay(_packed(space.H[:, : count + 1, :count], norms))
        if arnoldi.ahead and count < longest:
            grown = _grown(arnoldi, space, grown, min(count + check_every, longest))
        H, sizes = _unpacked(coming.wait(), count)
        y, left = _least_squares(H, sizes[:, 0])
        if bool((left <= tolerance * sizes[:, 1]).all()):
            break
    change = torch.einsum("bk,kbn->bn", y.to(r), space.V[:count])
    return change.view_as(r), grown


def _ends(longest: int, check_every: int) -> Iterator[int]:
    """After how many applications the host looks."""
    yield from range(check_every, longest, check_every)
    yield longest


def _grown(arnoldi: Arnoldi, space: Krylov, grown: int, to: int) -> int:
    if to > grown:
        arnoldi.grow(space, grown, to - grown)
    return max(grown, to)


def _packed(H: Tensor, norms: Tensor) -> Tensor:
    """One tensor, for one transfer."""
    return torch.cat((H.flatten(1), norms), dim=1)


def _unpacked(packed: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """H (B, count + 1, count) and the norms (B, 2), in double precision."""
    packed = packed.to(torch.float64)
    return packed[:, :-2].view(-1, count + 1, count), packed[:, -2:]


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
