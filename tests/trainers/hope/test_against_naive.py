"""The layer of memories against the documented one, written plainly: same outputs, same gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from specs.trainer_hope import Losses
from tests.support.naive_hope import naive
from tests.trainers.hope import small
from trainers.hope.losses import lost
from trainers.hope.model import Predictor

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
TAU = torch.tensor([3, 4, 2])


def predictor(dtype: torch.dtype, **memories: Any) -> Predictor:
    of = small.settings(pattern="HTH", memories=memories, temporal_embeddings=True)
    return small.trained(small.predictor(of), 0.1).to(dtype)


def passed(
    model: Predictor, dtype: torch.dtype, auxiliary: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs, final weights; then the gradient of every parameter, of all losses together."""
    batch = small.batch(len(TAU), dtype=dtype)
    out = model(batch.inputs(), keep_state=True)
    total = lost(
        model, batch, Losses(auxiliary=auxiliary, rollout=1.0, rollout_frames=3), TAU
    ).total
    gradients = torch.autograd.grad(
        total, list(model.parameters()), allow_unused=True, materialize_grads=True
    )
    return [out.features.detach(), total.detach()], list(gradients)


def assert_same(ours: list[Tensor], theirs: list[Tensor], rel: float, names: list[str]) -> None:
    """Each tensor within ``rel`` of the other's size; what is zero there is zero here."""
    whole = torch.stack([t.norm() for t in theirs]).norm()
    for name, a, b in zip(names, ours, theirs, strict=True):
        assert torch.isfinite(b).all()
        assert (a - b).norm() <= rel * max(b.norm(), 1e-3 * whole), name
        assert bool(a.any()) is bool(b.any()), name


def assert_agrees(dtype: torch.dtype, auxiliary: float, **memories: Any) -> None:
    model = predictor(dtype, **memories)
    names = [name for name, _ in model.named_parameters()]
    (outs, gradients) = passed(model, dtype, auxiliary)
    (plain, documented) = passed(naive(model), dtype, auxiliary)
    assert_same(outs, plain, TOLERANCE[dtype], ["features", "total"])
    assert_same(gradients, documented, TOLERANCE[dtype], names)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("auxiliary", [0.0, 0.1])
@pytest.mark.parametrize("scope", ["shared", "per_sample"])
@pytest.mark.parametrize("interval", [0, 1, 2, 4])
def test_outputs_and_gradients_are_the_documented_ones(
    interval: int, scope: str, auxiliary: float, dtype: torch.dtype
) -> None:
    assert_agrees(dtype, auxiliary, detach_interval=interval, scope=scope)


def surprises(model: Predictor) -> Tensor:
    """Of the first chunk of the first block, (B,)."""
    batch = small.batch(len(TAU))
    layer = model.blocks[0].titan
    x = model.blocks[0].norm1(model._tokens(batch.inputs().first(1), torch.arange(1), None))
    twin = naive(model).blocks[0].titan
    (state, *_) = twin.begin(len(x))
    v, o = twin.read("M_v", state, x), twin.read("M_memory", state, layer.W_q(x))
    return (v - o).norm(dim=-1).mean(-1).detach()


@pytest.mark.parametrize("scope", ["shared", "per_sample"])
@pytest.mark.parametrize("interval", [0, 2])
def test_so_are_those_of_writes_that_only_some_samples_take_part_in(
    interval: int, scope: str
) -> None:
    found = surprises(predictor(torch.float64, detach_interval=interval, scope=scope)).sort().values
    threshold = float((found[0] + found[1]) / 2)
    assert found[0] < threshold < found[1]
    assert_agrees(
        torch.float64, 0.1, detach_interval=interval, scope=scope, surprise_threshold=threshold
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"chunk_frames": 2},
        {"chunk_frames": 0},
        {"mult": 4, "alpha_offset": 4.0},
        {"target_norm": False, "write_clip": 0.01},
        {"surprise_threshold": 1e6},
    ],
    ids=str,
)
def test_so_are_those_with_other_settings(fields: dict[str, Any]) -> None:
    assert_agrees(torch.float64, 0.1, detach_interval=4, **fields)
