"""The memory of a U block: every setting of memories acts on it, or is what it says it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as nnf

from specs.trainer_hope import Losses
from tests.trainers.hope import small
from trainers.hope.losses import lost
from trainers.hope.model import Predictor


def predictor(**memories: Any) -> Predictor:
    return small.trained(small.predictor(small.settings(pattern="U", memories=memories)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scope", "per_sample"),
        ("preconditioner", "rank1"),
        ("chunk_frames", 2),
        ("write_clip", 1e-3),
        ("eta_scale", 0.1),
        ("eta_max", 1e-3),
        ("alpha_offset", 2.0),
        ("surprise_threshold", 1e6),
        ("target_norm", False),
        ("skip_conditioning", True),
    ],
)
def test_no_setting_of_memories_is_ignored(field: str, value: object) -> None:
    clips = small.batch().inputs()
    plain, other = predictor(), predictor(**{field: value})
    assert not torch.allclose(plain(clips).features, other(clips).features, rtol=1e-9, atol=1e-12)


def test_rates_learn_through_linked_writes_alone() -> None:
    for interval, reached in ((1, False), (0, True)):
        model = predictor(detach_interval=interval)
        model(small.batch().inputs()).features.square().sum().backward()
        layer = model.blocks[0].titan
        assert (layer.eta.grad is not None) is reached
        assert (layer.alpha.grad is not None) is reached


def test_keys_and_values_learn_by_the_auxiliary_loss_alone() -> None:
    for auxiliary in (0.0, 0.1):
        model = predictor(detach_interval=0)
        losses = Losses(auxiliary=auxiliary)
        lost(model, small.batch(), losses, torch.tensor([3, 4])).total.backward()
        layer = model.blocks[0].titan
        for name in ("W_k", "W_v"):
            gradient = getattr(layer, name).weight.grad
            assert (gradient is not None and bool(gradient.any())) is (auxiliary > 0)


def test_the_auxiliary_loss_reaches_no_weight_of_the_memory_and_no_rate() -> None:
    model = predictor(detach_interval=0)
    model(small.batch().inputs().first(1), auxiliary=True).aux.backward()
    layer = model.blocks[0].titan
    memory = layer.memories["M_memory"]
    assert memory.norm.weight.grad is not None and memory.norm.weight.grad.any()
    for parameter in (memory.W1, memory.W2, layer.eta, layer.alpha, layer.W_q.weight):
        assert parameter.grad is None or not parameter.grad.any()


@pytest.mark.parametrize("scope", ["shared", "per_sample"])
def test_the_auxiliary_loss_changes_no_prediction(scope: str) -> None:
    model, clips = predictor(scope=scope), small.batch().inputs()
    for keep in (True, False):
        passed = model(clips, auxiliary=True, keep_state=keep)
        assert torch.equal(passed.features, model(clips, keep_state=keep).features)


def test_rates_begin_as_documented() -> None:
    """softplus(-3) and sigmoid(2), in no other scale."""
    of = small.settings(pattern="U")
    layer = small.predictor(of).blocks[0].titan
    eta = of.memories.eta_scale_of("U") * nnf.softplus(layer.eta)
    torch.testing.assert_close(eta, torch.full_like(eta, 0.04858735157374206))
    alpha = torch.sigmoid(layer.alpha + of.memories.alpha_offset)
    torch.testing.assert_close(alpha, torch.full_like(alpha, 0.8807970779778823))
    assert of.memories.eta_scale_of("H") == 0.01
