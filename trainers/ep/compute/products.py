"""float32 matrix products from three TF32 ones, about three times as fast on tensor cores.

A float32 number is hi + lo, hi with the 10 bits of mantissa that TF32 keeps, so that hi enters a tensor core
exactly. a b = a_lo b_hi + a_hi b_lo + a_hi b_hi, and the term left out is 2^-22 of the whole. The three lie one
behind the other along the inner dimension of one product, the small ones first: a tensor core truncates as it adds
up, and truncates less while the sum is small. (The scheme is that of Markidis et al. 2018, arXiv 1803.04014, and of
Ootomo & Yokota 2022, arXiv 2203.03341.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from trainers.ep.block import Folded

_DROPPED_BITS = 13  # of float32's 23


def split(t: Tensor) -> tuple[Tensor, Tensor]:
    """(hi, lo) with hi + lo == t exactly; hi is ``t`` (float32, finite) rounded to TF32."""
    half = 1 << (_DROPPED_BITS - 1)
    keep = -(1 << _DROPPED_BITS)
    hi = ((t.contiguous().view(torch.int32) + half) & keep).view(torch.float32)
    return hi, t - hi


def left(a: Tensor) -> Tensor:
    """(lo, hi, hi) along the last dimension."""
    hi, lo = split(a)
    return torch.cat((lo, hi, hi), dim=-1)


def right(b: Tensor) -> Tensor:
    """(hi, lo, hi) along the first dimension, to stand behind `left`: (K, N) -> (3 K, N)."""
    hi, lo = split(b)
    return torch.cat((hi, lo, hi), dim=0)


@contextmanager
def tensor_cores() -> Iterator[None]:
    """Products inside are computed, or captured into a CUDA graph, in TF32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@dataclass(frozen=True, kw_only=True)
class SplitFolded(Folded):
    """A block whose six products are made of TF32 ones; run it within `tensor_cores`."""

    in_: Tensor  # right(W_in), and so on
    out: Tensor
    in_T: Tensor
    out_T: Tensor

    def project_in(self, h: Tensor) -> Tensor:
        return torch.addmm(self.b_in, left(h), self.in_)

    def project_out(self, joined: Tensor) -> Tensor:
        return torch.addmm(self.b_out, left(joined), self.out)

    def times_in(self, w: Tensor) -> Tensor:
        return left(w) @ self.in_

    def times_out(self, w: Tensor) -> Tensor:
        return left(w) @ self.out

    def back_in(self, a: Tensor) -> Tensor:
        return left(a) @ self.in_T

    def back_out(self, a: Tensor) -> Tensor:
        return left(a) @ self.out_T


def split_block(block: Folded) -> SplitFolded:
    """The same block with its products split."""
    return SplitFolded(
        **{field.name: getattr(block, field.name) for field in fields(Folded)},
        in_=right(block.W_in),
        out=right(block.W_out),
        in_T=right(block.W_in.mT),
        out_T=right(block.W_out.mT),
    )
