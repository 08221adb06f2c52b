"""Memories as values: MLPs whose weights are passed in and handed back, and what is read of them.

Five memories M in {k, v, eta, alpha, memory} belong to a block. One is f(x; W) = W2 gelu(W1 x) + x and is read
through a layer norm, M(x) = LN(f(x; W)). The parameters are only where W begins; what is written
(`trainers.hope.writing`) lives in a `MemoryState`, so that nothing leaks from one pass into another.

Shapes: B samples, n tokens of a chunk, R rows of a state, D width, H hidden width, M memories, S = 1 (one state
shared by the batch) or B (a state a sample). Source: Behrouz et al., arXiv 2512.24695, equations 76-97.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as nnf

from specs.trainer_hope import WriteScope
from trainers.hope.autocast import product_dtype


@dataclass(frozen=True, kw_only=True)
class Norms:
    """The affine layer norms that memories are read through: slow parameters, never written. (M, D) each."""

    gain: Tensor
    bias: Tensor

    def take(self, which: Sequence[int]) -> Norms:
        return Norms(gain=_take(self.gain, which, 0), bias=_take(self.bias, which, 0))

    def split(self, sizes: Sequence[int]) -> tuple[Norms, ...]:
        """Neighbours in groups of ``sizes``, M in all."""
        parts = zip(self.gain.split(list(sizes)), self.bias.split(list(sizes)), strict=True)
        return tuple(Norms(gain=gain, bias=bias) for gain, bias in parts)

    def __call__(self, f: Tensor) -> Tensor:
        """LN of (S, M, R, D)."""
        standard = nnf.layer_norm(f, f.shape[-1:])
        return torch.addcmul(self.bias[:, None], standard, self.gain[:, None])

    def each(self, f: Tensor) -> tuple[Tensor, ...]:
        """LN of (S, M, R, D), memory by memory: M of (S, R, D)."""
        return tuple(
            nnf.layer_norm(one, one.shape[-1:], gain, bias)
            for one, gain, bias in zip(
                f.unbind(1), self.gain.unbind(0), self.bias.unbind(0), strict=True
            )
        )


@dataclass(frozen=True, kw_only=True)
class MemoryState:
    """Active weights: W1 (S, M, H, D), W2 (S, M, D, H); ``writes`` since the start of the pass.

    They lie memory by memory, so that those of neighbours are read where they lie (`flat`).
    """

    W1: Tensor
    W2: Tensor
    writes: int = 0

    def detached(self) -> MemoryState:
        return replace(self, W1=self.W1.detach(), W2=self.W2.detach())

    def uncounted(self) -> MemoryState:
        """The same weights without the number of writes, for what must not depend on it."""
        return replace(self, writes=0)

    def to(self, dtype: torch.dtype) -> MemoryState:
        """The same weights for products in ``dtype``."""
        return replace(self, W1=self.W1.to(dtype), W2=self.W2.to(dtype))

    def split(self, sizes: Sequence[int]) -> tuple[MemoryState, ...]:
        """Neighbours in groups of ``sizes``, M in all. Their gradients come back in one piece."""
        parts = zip(self.W1.split(list(sizes), 1), self.W2.split(list(sizes), 1), strict=True)
        return tuple(replace(self, W1=W1, W2=W2) for W1, W2 in parts)

    def take(self, which: Sequence[int]) -> MemoryState:
        """The memories ``which`` alone."""
        return replace(self, W1=_take(self.W1, which, 1), W2=_take(self.W2, which, 1))


def _take(t: Tensor, which: Sequence[int], dim: int) -> Tensor:
    """Neighbours, as a view: an index would copy the weights at every read."""
    if len(which) == t.shape[dim]:
        return t
    return t.narrow(dim, which[0], len(which))


def begin(W1: Tensor, W2: Tensor, samples: int, scope: WriteScope) -> MemoryState:
    """The state before the first write; gradients reach the parameters W1 (M, H, D) and W2 (M, D, H)."""
    S = samples if scope is WriteScope.PER_SAMPLE else 1
    return MemoryState(W1=_each_its_own(W1, S), W2=_each_its_own(W2, S))


def _each_its_own(W: Tensor, S: int) -> Tensor:
    """(M, a, b) -> (S, M, a, b), lying memory by memory."""
    return W[:, None].expand(-1, S, -1, -1).contiguous().transpose(0, 1)


def lowered(state: MemoryState) -> MemoryState:
    """The state for products: in the type that autocast asks for, converted once; else itself."""
    dtype = product_dtype(state.W1.device.type, otherwise=state.W1.dtype)
    return state if dtype == state.W1.dtype else state.to(dtype)


def rows(x: Tensor, S: int) -> Tensor:
    """(B, n, D) -> (S, R, D): the tokens that one state serves."""
    return x.reshape(S, -1, x.shape[-1])


def flat(W: Tensor) -> Tensor:
    """(S, M, a, b) -> (M S, a, b): a view, as weights lie memory by memory."""
    return W.transpose(0, 1).flatten(0, 1)


def for_each(x: Tensor, memories: int) -> Tensor:
    """(S, R, D) -> (M S, R, D): the same tokens for every memory; a view where one state serves all."""
    return x.expand(memories, *x.shape).flatten(0, 1)


def back(y: Tensor, S: int) -> Tensor:
    """(M S, ...) -> (S, M, ...)."""
    return y.unflatten(0, (-1, S)).transpose(0, 1)


def fit(state: MemoryState, x: Tensor) -> Tensor:
    """f(x; W) of all memories of ``state`` on the same tokens (S, R, D): (S, M, R, D).

    Computed in the type of the weights. Hidden activations lie memory by memory and contiguous: their
    elementwise kernels are several times as slow on a strided view.
    """
    tokens = for_each(x.to(state.W1.dtype), state.W1.shape[1])
    hidden = nnf.gelu(torch.bmm(tokens, flat(state.W1).mT))
    return back(torch.baddbmm(tokens, hidden, flat(state.W2).mT), len(x))


def read(state: MemoryState, norms: Norms, x: Tensor) -> Tensor:
    """M(x) = LN(f(x; W)): (S, M, R, D)."""
    return norms(fit(state, x))


def read_each(state: MemoryState, norms: Norms, x: Tensor) -> tuple[Tensor, ...]:
    """What `read` gives, one tensor (S, R, D) a memory."""
    return norms.each(fit(state, x))
