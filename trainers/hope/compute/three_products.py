"""A float32 product as three of TF32: what it is made of, and in which form.

    t = hi + lo exactly, hi the upper 10 of 23 bits of the mantissa;  a b ~ a_lo b_hi + a_hi b_lo + a_hi b_hi.

Here hi is cut off, not rounded as `trainers.tf32.split` has it: one kernel less for every operand, and what is made of
a product is bound by memory as much as by arithmetic. Then |lo| < 2^-10 |t|. Left out are a_lo b_lo, below
2^-20 |a| |b|, and what a tensor core drops of a lo of 13 bits, below 2^-21 |t| a side: 2^-19 |a| |b| together for each
term of a sum at worst, 2^-22 on average; float32 itself rounds each to 2^-24, TF32 alone to 2^-10. hi is made although
a tensor core ignores the lower bits anyway: whether a library rounds them first is not documented, and a product of
numbers that TF32 holds exactly is right either way.

Two forms. *Stacked*: one product of (lo, hi, hi) and (hi, lo, hi) along the inner dimension; its sum is written once,
its operands three times. *One by one*: three products, each added to the one before; operands are cut once,
whichever side they stand on, and the sum passes through memory five times. `stacks` counts which moves less.

A tensor core truncates as it adds up, so that a long sum shrinks by about 2^-24 every 8 terms, of its own size at the
time. Sums of more than `LONGEST` terms are cut into parts that float32 adds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from trainers.tf32 import KEPT

LONGEST = 2048
"""Terms that one product adds up: at most 7e-6 of the sum is lost."""

REMEMBERED = 6
"""Operands whose parts are kept: an operand of a backward pass, or of a write, soon stands in a second product."""

ALIGNED = 4
"""Numbers of 16 bytes: where rows begin at multiples of it, the fast kernels serve."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """hi + lo of an operand."""

    hi: Tensor
    lo: Tensor

    def turned(self) -> Parts:
        return Parts(hi=self.hi.mT, lo=self.lo.mT)

    def expanded(self, like: Tensor) -> Parts:
        return Parts(hi=self.hi.expand_as(like), lo=self.lo.expand_as(like))


def cut_into(t: Tensor, parts: Parts) -> Parts:
    """``parts`` holding those of ``t``, float32 of any strides; lo is NaN where ``t`` is not finite."""
    torch.bitwise_and(t.view(torch.int32), KEPT, out=parts.hi.view(torch.int32))
    torch.sub(t, parts.hi, out=parts.lo)
    return parts


def cut(t: Tensor) -> Parts:
    """The parts of ``t``, new and contiguous."""
    return cut_into(t, Parts(hi=t.new_empty(t.shape), lo=t.new_empty(t.shape)))


def stacked_left(a: Tensor) -> Tensor:
    """(..., M, K) -> (lo, hi, hi): (..., M, 3 K), its memory in the order of that of ``a``."""
    if _lies_across(a):
        return _stacked(a.mT, -2, lo=0, hi=1).mT
    return _stacked(a, -1, lo=0, hi=1)


def stacked_right(b: Tensor) -> Tensor:
    """(..., K, N) -> (hi, lo, hi): (..., 3 K, N), its memory in the order of that of ``b``."""
    if _lies_across(b):
        return _stacked(b.mT, -1, lo=1, hi=0).mT
    return _stacked(b, -2, lo=1, hi=0)


def _stacked(t: Tensor, dim: int, *, lo: int, hi: int) -> Tensor:
    shape = list(t.shape)
    shape[dim] *= 3
    whole = t.new_empty(shape)
    thirds = whole.chunk(3, dim)
    cut_into(t, Parts(hi=thirds[hi], lo=thirds[lo]))
    thirds[2].copy_(thirds[hi])
    return whole


def _lies_across(t: Tensor) -> bool:
    """Column by column, as a transposed matrix does."""
    return t.stride(-1) != 1 and t.stride(-2) == 1


class Cuts:
    """The parts of the operands that were cut last. A changed operand is cut again: its version counts."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], tuple[Tensor, Parts]] = OrderedDict()

    def __call__(self, t: Tensor) -> Parts:
        """Of ``t`` (M, K) or (B, M, K); of matrices that are all the same one, cut once."""
        if _all_the_same(t):
            return self(t[0]).expanded(t)
        if _lies_across(t):
            return self(t.mT).turned()
        key = (t.data_ptr(), t._version, t.shape, t.stride())
        found = self._kept.pop(key, None)
        if found is None:
            found = (t.detach(), cut(t))  # held, so that no other operand comes to lie there
        self._kept[key] = found
        while len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)
        return found[1]

    def forget(self) -> None:
        self._kept.clear()


def stacks(M: int, K: int, N: int) -> bool:
    """Whether the stacked form of (M, K) (K, N) is the better one.

    Numbers moved: an operand is cut by 5 (7 if stacked) passes over it and read by 3, a sum takes 5 (1 if stacked).
    """
    return K <= LONGEST and 2 * K * (M + N) <= 4 * M * N


def product(
    a: Tensor,
    b: Tensor,
    cuts: Cuts,
    *,
    plus: Tensor | None = None,
    beta: float = 1,
    alpha: float = 1,
) -> Tensor:
    """alpha a b + beta ``plus``, of float32 matrices or batches of them; run it within `trainers.tf32.tensor_cores`.

    As exact as the head of this file says where the products it is made of are TF32, as any float32 one elsewhere.
    """
    if stacks(a.shape[-2], a.shape[-1], b.shape[-1]):
        return stacked(a, b, plus=plus, beta=beta, alpha=alpha)
    return one_by_one(a, b, cuts, plus=plus, beta=beta, alpha=alpha)


def stacked(
    a: Tensor, b: Tensor, *, plus: Tensor | None = None, beta: float = 1, alpha: float = 1
) -> Tensor:
    """`product` as one, three times as long inside."""
    return _add(plus, _once(stacked_left, a), _once(stacked_right, b), beta, alpha)


def one_by_one(
    a: Tensor,
    b: Tensor,
    cuts: Cuts,
    *,
    plus: Tensor | None = None,
    beta: float = 1,
    alpha: float = 1,
) -> Tensor:
    """`product` as three, or as three of each part of a long sum."""
    if plus is None and a.dim() == 2 and (count := even_parts(a.shape[-1])) > 1:
        in_parts = _each(cuts(a), -1, count), _each(cuts(b), -2, count)
        return _added(*in_parts, None, 1, 1).sum(0)
    return _added(cuts(a), cuts(b), plus, beta, alpha)


def _all_the_same(t: Tensor) -> bool:
    """A batch of one matrix, lying in memory once."""
    return t.dim() == 3 and t.stride(0) == 0


def _once(stacked: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    return stacked(t[0]).expand(len(t), -1, -1) if _all_the_same(t) else stacked(t)


def even_parts(K: int) -> int:
    """Into how many parts of one size, aligned and no longer than `LONGEST`, K terms can be cut; 1 if into none.

    More than twice as many as needed are too many.
    """
    needed = -(-K // LONGEST)
    for count in range(needed, 2 * needed + 1):
        if K % (count * ALIGNED) == 0:
            return count
    return 1


def _each(parts: Parts, dim: int, count: int) -> Parts:
    """(M, K) -> (count, M, K / count), or (K, N) -> (count, K / count, N): views."""

    def of(t: Tensor) -> Tensor:
        cut_up = t.unflatten(dim, (count, -1))
        return cut_up.transpose(0, 1) if dim == -1 else cut_up

    return Parts(hi=of(parts.hi), lo=of(parts.lo))


def _added(a: Parts, b: Parts, plus: Tensor | None, beta: float, alpha: float) -> Tensor:
    """Three products, of slices of at most `LONGEST` terms; the small ones first."""
    K = a.hi.shape[-1]
    count = -(-K // LONGEST)
    size = -(-K // (count * ALIGNED)) * ALIGNED

    def slices(left: Tensor, right: Tensor) -> zip[tuple[Tensor, Tensor]]:
        return zip(left.split(size, -1), right.split(size, -2), strict=True)

    out: Tensor | None = None
    for x, y in chain(slices(a.lo, b.hi), slices(a.hi, b.lo), slices(a.hi, b.hi)):
        if out is None:
            out = _add(plus, x, y, beta, alpha)
        elif out.dim() == 2:
            out.addmm_(x, y, alpha=alpha)
        else:
            out.baddbmm_(x, y, alpha=alpha)
    assert out is not None  # three products are not none
    return out


def _add(plus: Tensor | None, a: Tensor, b: Tensor, beta: float, alpha: float) -> Tensor:
    """beta ``plus`` + alpha a b; without ``plus`` the other two are 1."""
    if plus is None:
        return torch.mm(a, b) if a.dim() == 2 else torch.bmm(a, b)
    add = torch.addmm if a.dim() == 2 else torch.baddbmm
    return add(plus, a, b, beta=beta, alpha=alpha)
