"""What every estimator returns: the adjoint together with the proof of how well it solves its equation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.ep.relax import per_sequence_norm


@dataclass(frozen=True, kw_only=True)
class AdjointRecord:
    """How well J^T a = -ell is solved. ``r_adj`` = ||J^T a + ell|| / ||ell|| per sequence, (B,)."""

    r_adj: Tensor
    steps: int  # applications of J^T
    converged: bool  # the largest r_adj is within the tolerance


@dataclass(frozen=True, kw_only=True)
class Adjoint:
    a: Tensor  # (B, T, C)
    record: AdjointRecord


class Best:
    """The snapshot of smallest r_adj seen so far, per sequence: the residual need not fall monotonically."""

    def __init__(self, a: Tensor, tolerance: float) -> None:
        self._a = a
        self._r = torch.full(a.shape[:1], torch.inf, dtype=a.dtype, device=a.device)
        self._tolerance = tolerance

    def offer(self, a: Tensor, r_adj: Tensor) -> bool:
        """Take ``a`` where it is better; True once every sequence is within the tolerance."""
        better = r_adj < self._r
        self._a = torch.where(better[:, None, None], a, self._a)
        self._r = torch.where(better, r_adj, self._r)
        return self.converged

    @property
    def converged(self) -> bool:
        return bool(self._r.max() <= self._tolerance)

    def result(self, steps: int) -> Adjoint:
        return Adjoint(
            a=self._a,
            record=AdjointRecord(r_adj=self._r, steps=steps, converged=self.converged),
        )


def adjoint_residual(Jt_a: Tensor, ell: Tensor) -> Tensor:
    """||J^T a + ell|| / ||ell|| per sequence; zero where ell is zero, for then a = 0 is exact."""
    size = per_sequence_norm(ell)
    return torch.where(size == 0, torch.zeros_like(size), per_sequence_norm(Jt_a + ell) / size)
