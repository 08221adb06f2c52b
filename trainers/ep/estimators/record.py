"""What every estimator returns: the adjoint together with the proof of how well it solves its equation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.ep.norms import per_sequence_norm


@dataclass(frozen=True, kw_only=True)
class AdjointRecord:
    """How well J^T a = -ell is solved. ``r_adj`` = ||J^T a + ell|| / ||ell|| per sequence, (B,)."""

    r_adj: Tensor
    steps: int  # applications of J^T
    converged: bool  # the largest r_adj is within the tolerance
    fell_back: bool | None = (
        None  # `holomorphic` had to do with two phases; None: another estimator
    )


@dataclass(frozen=True, kw_only=True)
class Adjoint:
    a: Tensor  # (B, T, C), in the arithmetic that found it
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


def worst_of(records: Sequence[AdjointRecord]) -> AdjointRecord:
    """The record of a mean of estimates: no better than the worst of them. Steps add up."""
    fell_back = [r.fell_back for r in records if r.fell_back is not None]
    return AdjointRecord(
        r_adj=torch.stack([r.r_adj for r in records]).amax(0),
        steps=sum(r.steps for r in records),
        converged=all(r.converged for r in records),
        fell_back=any(fell_back) if fell_back else None,
    )
