"""Compiled blocks compute what eager ones do."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor

from specs.trainer_hope import Losses
from tests.trainers.hope import small
from trainers.hope.compute.compiled import compile_
from trainers.hope.losses import lost
from trainers.hope.model import Predictor

pytestmark = [
    pytest.mark.heavy,  # a minute of compiling
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
]

TAU = torch.tensor([3, 4])
EVERYTHING = {
    "spatial_mixing": True,
    "temporal_embeddings": True,
    "drop_path": 0.1,
    "cms": {"mults": [1.0, 1.5], "periods": [1, 3], "scheduled": True},
    "memories": {"detach_interval": 2},
}


def gradients(model: Predictor) -> list[Tensor]:
    """The loss, then the gradient of every parameter."""
    batch = small.batch(dtype=torch.float32)
    total = lost(model, batch, Losses(), TAU).total
    found = torch.autograd.grad(
        total, list(model.parameters()), allow_unused=True, materialize_grads=True
    )
    return [total.detach(), *found]


def test_compiled_blocks_give_the_losses_and_gradients_of_eager_ones() -> None:
    of = small.settings(pattern="HT", **EVERYTHING)
    model = small.trained(small.predictor(of, dtype=torch.float32), 0.1)
    eager = gradients(model)
    compile_(model)
    whole = torch.stack([t.norm() for t in eager]).norm()
    for compiled, plain in zip(gradients(model), eager, strict=True):
        assert (compiled - plain).norm() <= 1e-5 * max(plain.norm(), 1e-3 * whole)


def test_blocks_and_frames_of_one_shape_share_their_code() -> None:
    """One more block, and two more frames, need no further compiled graph."""
    torch._dynamo.reset()
    graphs = []
    for pattern, context in (("H", 4), ("HH", 6)):
        of = small.settings(pattern=pattern, memories={"detach_interval": 1})
        model = small.predictor(of, context=context, dtype=torch.float32)
        batch = small.batch(context=context, dtype=torch.float32)
        compile_(model)
        for block in model.blocks:  # its shape is that of all tokens, not of a chunk
            del block.cms.forward
        with torch.no_grad():
            model(batch.inputs())
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] > 0
    assert graphs[1] == graphs[0]
