"""The Arnoldi process (Arnoldi 1951; Saad 2003, algorithm 6.2) on many independent operators at once: one per sequence.

For each sequence A V_k = V_{k+1} H_k, the columns of V orthonormal, H upper Hessenberg. Both grow in place in tables
made beforehand, and growing them again from the same place gives the same: so ten steps can be one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Operator = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Krylov:
    """Room for ``longest`` steps; what has not been grown yet is undefined, but H is zero below its subdiagonal."""

    V: Tensor  # (longest + 1, B, T C): a vector of all sequences lies in one piece
    H: Tensor  # (B, longest + 1, longest)
    shape: torch.Size  # (B, T, C), what the operator takes

    @property
    def longest(self) -> int:
        return len(self.V) - 1


class Arnoldi(Protocol):
    """How the bases of one operator are begun and grown."""

    @property
    def ahead(self) -> bool:
        """Is it done beside the host, so that the next steps had better begin before they are known to be needed?"""
        ...

    def begin(self, r: Tensor, size: Tensor, longest: int) -> Krylov:
        """Bases that begin with r / ||r||; ``r`` is (B, T, C), ``size`` its norms (B,)."""
        ...

    def grow(self, space: Krylov, at: int, steps: int) -> None:
        """``steps`` further steps of bases that have made ``at``."""
        ...


class PlainArnoldi:
    """As it is written, in new tables."""

    ahead = False

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def begin(self, r: Tensor, size: Tensor, longest: int) -> Krylov:
        return begin(room(r, longest), r, size)

    def grow(self, space: Krylov, at: int, steps: int) -> None:
        grow(self._operator, space, at, steps)


def room(like: Tensor, longest: int) -> Krylov:
    """Tables for ``longest`` steps on vectors like ``like`` (B, T, C)."""
    B, n = len(like), like[0].numel()
    return Krylov(
        V=like.new_empty(longest + 1, B, n),
        H=like.new_zeros(B, longest + 1, longest),
        shape=like.shape,
    )


@torch.no_grad()
def begin(space: Krylov, r: Tensor, size: Tensor) -> Krylov:
    """``space`` with its first vectors; zero where ``r`` is zero."""
    space.V[0] = _unit(r.flatten(1), size, size)
    return space


@torch.no_grad()
def grow(operator: Operator, space: Krylov, at: int, steps: int) -> None:
    """Steps ``at`` + 1 to ``at`` + ``steps``, in place."""
    for step in range(at, at + steps):
        _step(operator, space, step)


def _step(operator: Operator, space: Krylov, at: int) -> None:
    """Classical Gram-Schmidt, twice. An exhausted basis is continued by zeros."""
    w = operator(space.V[at].view(space.shape)).flatten(1)
    before = torch.linalg.vector_norm(w, dim=-1)
    basis = space.V[: at + 1].transpose(0, 1)
    first, w = _orthogonalise(w, basis)
    second, w = _orthogonalise(w, basis)
    space.H[:, : at + 1, at] = first + second
    after = torch.linalg.vector_norm(w, dim=-1)
    noise = 4 * torch.finfo(w.dtype).eps * before
    space.H[:, at + 1, at] = torch.where(after > noise, after, 0)
    space.V[at + 1] = _unit(w, after, noise)


def _orthogonalise(w: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """The components of w (B, n) along ``basis`` (B, k, n), and w without them."""
    h = basis @ w[..., None]
    return h[..., 0], torch.baddbmm(w[:, None], h.mT, basis, alpha=-1)[:, 0]


def _unit(w: Tensor, norm: Tensor, noise: Tensor) -> Tensor:
    """w / ||w||, or zero where ||w|| is nothing but rounding."""
    real = (norm > 0) & (norm >= noise)
    return torch.where(real[:, None], w / norm[:, None], 0)
