"""Restarted GMRES (Saad & Schultz 1986) on many independent systems at once: one per sequence.

The Krylov bases stay on the device; the small least-squares problems are solved on the host in double precision, once
every ``check_every`` applications, which is the only time the host waits. The residual that is reported is computed
from the solution, never the one that the recurrence believes in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.ep.norms import per_sequence_norm

Operator = Callable[[Tensor], Tensor]


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
) -> Solved:
    """Solve A x = b (B, T, C) from x = 0; every ``restart`` applications the basis is made anew.

    Ends within the tolerance, at ``max_applications``, or after a cycle in which no sequence gained anything.
    """
    size = per_sequence_norm(b)
    x, r = torch.zeros_like(b), b
    residual = torch.where(size == 0, torch.zeros_like(size), size / size)  # NaN stays NaN
    used, gained = 0, True
    while gained and bool((residual > tolerance).any()) and max_applications - used >= 2:
        longest = min(restart, max_applications - used - 1)
        change, spent = _cycle(operator, r, size, tolerance, longest, check_every)
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
    operator: Operator, r: Tensor, size: Tensor, tolerance: float, longest: int, check_every: int
) -> tuple[Tensor, int]:
    """The best change of x in the Krylov space of ``r``, and the applications that it took."""
    B, start = len(r), per_sequence_norm(r)
    V = r.new_zeros(B, longest + 1, r[0].numel())
    H = r.new_zeros(B, longest + 1, longest)
    V[:, 0] = _unit(r.flatten(1), start, start)
    count = 0
    y = torch.zeros(B, 0, dtype=torch.float64)
    while count < longest:
        _extend(operator, V, H, count, r.shape)
        count += 1
        if count % check_every == 0 or count == longest:
            y, left = _least_squares(H[:, : count + 1, :count], start)
            if bool((left <= tolerance * size.cpu()).all()):
                break
    change = torch.einsum("bk,bkn->bn", y.to(V), V[:, :count])
    return change.view_as(r), count


def _extend(operator: Operator, V: Tensor, H: Tensor, at: int, shape: torch.Size) -> None:
    """One Arnoldi step, in place: classical Gram-Schmidt, twice. An exhausted basis is continued by zeros."""
    w = operator(V[:, at].view(shape)).flatten(1)
    before = torch.linalg.vector_norm(w, dim=-1)
    basis = V[:, : at + 1]
    for _ in range(2):
        h = (basis @ w[..., None])[..., 0]
        w = w - (h[:, None, :] @ basis)[:, 0]
        H[:, : at + 1, at] += h
    after = torch.linalg.vector_norm(w, dim=-1)
    noise = 4 * torch.finfo(w.dtype).eps * before
    H[:, at + 1, at] = torch.where(after > noise, after, 0)
    V[:, at + 1] = _unit(w, after, noise)


def _unit(w: Tensor, norm: Tensor, noise: Tensor) -> Tensor:
    """w / ||w||, or zero where ||w|| is nothing but rounding."""
    real = (norm > 0) & (norm >= noise)
    return torch.where(real[:, None], w / norm[:, None], 0)


def _least_squares(H: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """y minimising ||start e_1 - H y||, and that norm, (B,); in double on the host."""
    H = _finite(H.to("cpu", torch.float64))
    rhs = torch.zeros(*H.shape[:2], 1, dtype=torch.float64)
    rhs[:, 0, 0] = _finite(start.to("cpu", torch.float64))
    y = torch.linalg.lstsq(H, rhs, driver="gelsd").solution
    return y[..., 0], torch.linalg.vector_norm(rhs - H @ y, dim=(-2, -1))


def _finite(t: Tensor) -> Tensor:
    """LAPACK must not see what is no number; the caller's true residual says what came of it."""
    return torch.nan_to_num(t, nan=0.0, posinf=0.0, neginf=0.0)
