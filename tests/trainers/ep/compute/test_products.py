"""Products from three TF32 ones: the parts add up, and nothing but the arithmetic differs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from specs.trainer_ep import EpTrainer
from trainers.ep.block import embed, fold, force, init
from trainers.ep.compute.products import left, right, split, split_block
from trainers.ep.linearise import linearise

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


@pytest.mark.parametrize("qk_norm", [True, False])
def test_a_split_block_has_the_force_and_jacobian_of_the_block(qk_norm: bool) -> None:
    settings = EpTrainer(kind="ep", width=16, heads=2, context=8, batch=2, qk_norm=qk_norm)
    source = torch.Generator().manual_seed(1)
    params = init(settings, 11, source)
    block = fold(params, settings)
    other = split_block(block)
    x = embed(params, torch.randint(11, (2, 8), generator=source))
    z, w = x + 0.1 * torch.randn(x.shape, generator=source), torch.randn(x.shape, generator=source)
    near = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(force(other, z, x), force(block, z, x), **near)
    J, J_split = linearise(block, z), linearise(other, z)
    for product in ("jvp", "vjp", "self_jvp"):
        torch.testing.assert_close(getattr(J_split, product)(w), getattr(J, product)(w), **near)
