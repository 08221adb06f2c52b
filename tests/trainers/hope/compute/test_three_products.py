"""A float32 product from three TF32 ones, over shapes and layouts: exact but for the term that is left out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.support.tensor_cores import TensorCores, truncated
from trainers.hope.compute import three_products
from trainers.hope.compute.three_products import (
    LONGEST,
    REMEMBERED,
    Cuts,
    cut,
    even_parts,
    product,
    stacked_left,
    stacked_right,
    stacks,
)
from trainers.tf32 import tensor_cores

SIZES = st.integers(1, 40)
FINITE = st.floats(
    min_value=-(2.0**100), max_value=2.0**100, allow_nan=False, width=32, allow_subnormal=False
)
BOUND = 2.0**-19
"""Of |a| |b|, the worst case of the scheme."""
ROUNDING = 2.0**-24
"""Of float32, at each addition."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """``batch`` 0: matrices. Layouts: as it is, transposed, every second number of a wider matrix, one for all."""

    batch: int
    M: int
    K: int
    N: int
    left: str
    right: str
    seed: int

    def operands(self) -> tuple[Tensor, Tensor]:
        source = torch.Generator().manual_seed(self.seed)
        return (
            laid((self.M, self.K), self.batch, self.left, source),
            laid((self.K, self.N), self.batch, self.right, source),
        )


LAYOUTS = ("plain", "transposed", "strided", "one for all")
CASES = st.builds(
    Case,
    batch=st.integers(0, 3),
    M=SIZES,
    K=st.integers(1, 90),
    N=SIZES,
    left=st.sampled_from(LAYOUTS),
    right=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 1000),
)


def laid(shape: tuple[int, int], batch: int, layout: str, source: torch.Generator) -> Tensor:
    """Numbers of all sizes: a float32 with its exponent drawn."""
    lead = (batch,) if batch and layout != "one for all" else ()
    down, across = shape if layout != "transposed" else shape[::-1]
    whole = torch.randn(*lead, down, across * 2, generator=source)
    whole = whole * 2.0 ** torch.randint(-20, 20, whole.shape, generator=source)
    t = whole[..., ::2] if layout == "strided" else whole[..., :across]
    t = t.mT if layout == "transposed" else t
    return t.expand(batch, *shape) if batch and layout == "one for all" else t


def error(found: Tensor, a: Tensor, b: Tensor) -> float:
    """The largest, in units of |a| |b|."""
    whole = a.double() @ b.double()
    size = a.double().abs() @ b.double().abs()
    return float(((found.double() - whole).abs() / size.clamp(min=1e-300)).max())


@given(st.lists(FINITE.filter(lambda v: v == 0 or abs(v) > 2.0**-100), min_size=1, max_size=20))
def test_the_two_parts_add_up_exactly_and_the_high_one_fits_tf32(values: list[float]) -> None:
    t = torch.tensor([values], dtype=torch.float32)
    parts = cut(t)
    assert torch.equal(parts.hi + parts.lo, t)
    assert torch.equal(truncated(parts.hi), parts.hi)
    assert (parts.lo.abs() <= t.abs() * 2.0**-10).all()


@given(
    CASES, st.sampled_from(["as chosen", "stacked", "one by one"]), st.sampled_from([16, LONGEST])
)
def test_tensor_cores_make_a_float32_product_of_any_layout(
    case: Case, form: str, longest: int
) -> None:
    a, b = case.operands()
    with pytest.MonkeyPatch.context() as patch, TensorCores() as cores, tensor_cores():
        patch.setattr(three_products, "LONGEST", longest)
        if form != "as chosen":
            patch.setattr(three_products, "stacks", lambda *_: form == "stacked")
        found = product(a, b, Cuts())
    assert found.is_contiguous()
    assert cores.exact == 0
    assert error(found, a, b) <= BOUND + 3 * case.K * ROUNDING


def test_plain_tf32_would_be_a_thousand_times_as_coarse() -> None:
    case = Case(batch=0, M=64, K=256, N=64, left="plain", right="plain", seed=0)
    a, b = case.operands()
    with TensorCores(), tensor_cores():
        coarse, fine = error(a @ b, a, b), error(product(a, b, Cuts()), a, b)
    assert coarse > 2.0**-14
    assert fine < coarse / 500


@given(CASES, st.floats(-2, 2, width=32), st.floats(-2, 2, width=32), st.booleans())
def test_what_is_added_and_the_factors_are_those_of_addmm(
    case: Case, beta: float, alpha: float, row: bool
) -> None:
    a, b = case.operands()
    plus = torch.randn(case.N) if row else torch.randn(*a.shape[:-1], case.N)
    with TensorCores(), tensor_cores():
        found = product(a, b, Cuts(), plus=plus, beta=beta, alpha=alpha)
    whole = beta * plus.double() + alpha * (a.double() @ b.double())
    size = abs(beta) * plus.double().abs() + abs(alpha) * (a.double().abs() @ b.double().abs())
    assert ((found - whole).abs() <= (BOUND + 4 * (case.K + 2) * ROUNDING) * size + 1e-37).all()


@pytest.mark.parametrize("layout", LAYOUTS[:3])
def test_a_stacked_operand_lies_as_the_operand_does(layout: str) -> None:
    t = laid((6, 8), 0, layout, torch.Generator().manual_seed(0))
    across = layout == "transposed"
    assert (stacked_left(t).stride(-2) == 1) is across
    assert (stacked_right(t).stride(-2) == 1) is across


def test_an_operand_is_cut_once_whichever_side_it_stands_on() -> None:
    cuts, t = Cuts(), torch.randn(6, 8)
    parts, turned = cuts(t), cuts(t.mT)
    assert turned.hi.data_ptr() == parts.hi.data_ptr()
    assert torch.equal(turned.lo, parts.lo.mT)


def test_a_changed_operand_is_cut_again() -> None:
    cuts, t = Cuts(), torch.randn(6, 8)
    cuts(t)
    t.mul_(3)
    assert torch.equal(cuts(t).hi + cuts(t).lo, t)


def test_an_operand_at_the_address_of_an_earlier_one_is_not_taken_for_it() -> None:
    cuts = Cuts()
    for _ in range(50):
        t = torch.randn(64, 64)
        assert torch.equal(cuts(t).hi + cuts(t).lo, t)
        del t


def test_only_the_last_operands_are_remembered() -> None:
    cuts = Cuts()
    tensors = [torch.randn(3, 3) for _ in range(REMEMBERED + 1)]
    first = cuts(tensors[0]).hi.data_ptr()
    kept = [cuts(t).hi for t in tensors[1:]]
    assert all(cuts(t).hi is hi for t, hi in zip(tensors[1:], kept, strict=True))
    assert len(cuts._kept) == REMEMBERED
    assert first not in {hi.data_ptr() for hi in kept}


@pytest.mark.parametrize(
    ("M", "K", "N", "pays"),
    [
        (28_896, 384, 1536, True),  # a continuum memory, into its hidden width
        (28_896, 1536, 384, False),  # and back
        (384, 28_896, 1536, False),  # the gradient of its weights
        (4128, 384, 768, True),  # a read of a memory
    ],
)
def test_short_sums_into_many_numbers_are_stacked(M: int, K: int, N: int, pays: bool) -> None:
    assert stacks(M, K, N) is pays


@given(st.integers(1, 100_000))
def test_a_sum_is_cut_into_even_parts_that_are_short_enough(K: int) -> None:
    count = even_parts(K)
    if count > 1:
        assert K % count == 0
        assert K // count <= LONGEST


@pytest.mark.parametrize(("K", "count"), [(384, 1), (2048, 1), (28_896, 21), (4128, 3), (4129, 1)])
def test_the_documented_sizes_are_cut_evenly(K: int, count: int) -> None:
    assert even_parts(K) == count


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_is_not_finite_stays_so(value: float) -> None:
    a = torch.randn(4, 4)
    a[0, 0] = value
    found = product(a, torch.randn(4, 4), Cuts())
    assert not found[0].isfinite().any()
    assert found[1:].isfinite().all()
