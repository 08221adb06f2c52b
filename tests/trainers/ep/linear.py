"""A linear system, on which every estimator is exact at any radius, and dense references."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from specs.trainer_ep import Adjoint
from trainers.ep.solvers.arnoldi import PlainArnoldi


@dataclass(frozen=True)
class Linear:
    """F(z) = A z + b on one sequence, with a constant pull."""

    A: Tensor
    b: Tensor
    pull: Tensor
    stiffness: float = 1.0

    def force(self, z: Tensor) -> Tensor:
        return self._times(self.A, z) + self.b

    def ell(self, z: Tensor) -> Tensor:
        return self.pull

    def linearise(self, z: Tensor) -> Linear:
        return self

    def jvp(self, w: Tensor) -> Tensor:
        return self._times(self.A, w)

    def vjp(self, a: Tensor) -> Tensor:
        return self._times(self.A.mT, a)

    def vjp_arnoldi(self) -> PlainArnoldi:
        return PlainArnoldi(self.vjp)

    def to(self, dtype: torch.dtype) -> Linear:
        return replace(self, A=self.A.to(dtype), b=self.b.to(dtype), pull=self.pull.to(dtype))

    @property
    def root(self) -> Tensor:
        return torch.linalg.solve(self.A, -self.b.flatten()).view(self.b.shape)

    @staticmethod
    def _times(A: Tensor, z: Tensor) -> Tensor:
        return (A.to(z.dtype) @ z.flatten(-2)[..., None])[..., 0].unflatten(-1, z.shape[-2:])


def linear_system(asymmetry: float, seed: int = 0) -> Linear:
    """Symmetric part below -1, antisymmetric part of spectral norm ``asymmetry``."""
    source = torch.Generator().manual_seed(seed)
    n = 12
    raw = torch.randn(n, n, generator=source, dtype=torch.float64)
    skew = raw - raw.T
    skew = asymmetry * skew / torch.linalg.matrix_norm(skew, 2)
    A = -torch.eye(n, dtype=torch.float64) - 0.02 * raw @ raw.T + skew
    b, pull = torch.randn(2, 1, 3, 4, generator=source, dtype=torch.float64)
    return Linear(A=A, b=b, pull=pull)


def dense_adjoint(J: Tensor, ell: Tensor) -> Tensor:
    """a with J^T a = -ell, J a matrix over all elements."""
    return torch.linalg.solve(J.T, -ell.flatten()).view(ell.shape)


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def solver(**fields: Any) -> Adjoint:
    """Adjoint settings that do not stop early."""
    return Adjoint(**{"max_steps": 4000, "tolerance": 1e-11, **fields})
