"""float32 numbers as sums of two TF32 ones: the parts add up, and so do the products."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.tf32 import left, right, split, tensor_cores

TF32_MASK = (1 << 13) - 1
FINITE = st.floats(
    min_value=-(2.0**100), max_value=2.0**100, allow_nan=False, width=32, allow_subnormal=False
)


@given(st.lists(FINITE.filter(lambda v: v == 0 or abs(v) > 2.0**-100), min_size=1, max_size=20))
def test_the_two_parts_add_up_exactly_and_the_high_one_fits_tf32(values: list[float]) -> None:
    t = torch.tensor(values, dtype=torch.float32)
    hi, lo = split(t)
    assert torch.equal(hi + lo, t)
    assert not (hi.view(torch.int32) & TF32_MASK).any()
    assert (lo.abs() <= t.abs() * 2.0**-11).all()


def test_the_stacked_product_is_the_product_but_for_its_smallest_term() -> None:
    source = torch.Generator().manual_seed(0)
    a = torch.randn(5, 64, generator=source)
    b = torch.randn(64, 7, generator=source)
    whole = a.double() @ b.double()
    stacked = left(a).double() @ right(b).double()
    assert float((stacked - whole).abs().max()) <= 64 * 2.0**-22 * 16


@pytest.fixture
def allowed() -> Iterator[None]:
    """What is set during a test is set back."""
    before = torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("before", [True, False])
def test_tf32_is_allowed_within_and_as_it_was_behind_even_after_an_error(before: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = before
    with pytest.raises(KeyError), tensor_cores():
        assert torch.backends.cuda.matmul.allow_tf32
        raise KeyError
    assert torch.backends.cuda.matmul.allow_tf32 is before
