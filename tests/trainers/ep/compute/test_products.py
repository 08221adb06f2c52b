"""A block whose products are made of TF32 ones: nothing but the arithmetic differs."""

from __future__ import annotations

import pytest
import torch

from specs.trainer_ep import EpTrainer
from trainers.ep.block import embed, fold, force, init
from trainers.ep.compute.products import split_block
from trainers.ep.linearise import linearise


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
