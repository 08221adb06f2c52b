"""float32 numbers as sums of two that tensor cores take, and the switch for those.

A float32 number is hi + lo, hi with the 10 bits of mantissa that TF32 keeps, so that hi enters a tensor core exactly,
whether it rounds what it is given or cuts it off. a b = a_lo b_hi + a_hi b_lo + a_hi b_hi, and the term left out is
2^-22 of the whole. The three lie one behind the other along the inner dimension of one product, the small ones first:
a tensor core truncates as it adds up, and truncates less while the sum is small. (The scheme is that of Markidis et
al. 2018, arXiv 1803.04014, and of Ootomo & Yokota 2022, arXiv 2203.03341.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

DROPPED_BITS = 13
"""Of float32's 23."""

KEPT = -(1 << DROPPED_BITS)
"""What the bits of a number are masked with."""


def split(t: Tensor) -> tuple[Tensor, Tensor]:
    """(hi, lo) with hi + lo == t exactly; hi is ``t`` (float32, finite) rounded to TF32."""
    half = 1 << (DROPPED_BITS - 1)
    hi = ((t.contiguous().view(torch.int32) + half) & KEPT).view(torch.float32)
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
