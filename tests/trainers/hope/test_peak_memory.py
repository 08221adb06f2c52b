"""What a training step holds at most, with and without recomputing blocks."""

from __future__ import annotations

import pytest
import torch

from specs.trainer_hope import Losses
from tests.support.peak_memory import PeakMemory
from tests.trainers.hope import small
from trainers.hope.losses import lost

CONTEXT = 7


def peak(interval: int, *, checkpoint: bool) -> int:
    """Most bytes at one time, parameters and clips left out."""
    of = small.settings(
        pattern="HHHHHH",
        temporal_embeddings=True,
        checkpoint_blocks=checkpoint,
        memories={"detach_interval": interval},
    )
    model = small.predictor(of, context=CONTEXT, dtype=torch.float32)
    batch = small.batch(8, context=CONTEXT, dtype=torch.float32)
    with PeakMemory(held=[*model.parameters(), batch.features]) as memory:
        lost(model, batch, Losses(), torch.full((8,), 6)).total.backward()
    return memory.peak


@pytest.mark.parametrize("interval", [0, 1, 4])
def test_recomputing_blocks_needs_less_than_half_the_memory(interval: int) -> None:
    assert peak(interval, checkpoint=True) <= 0.5 * peak(interval, checkpoint=False)


def test_the_peak_is_what_is_held_at_one_time() -> None:
    x = torch.ones(100)
    with PeakMemory(held=[x]) as memory:
        y = x + 1  # 400 bytes
        z = y + 1
        del y
        z.mul_(2).view(10, 10)  # neither in place nor a view is anything new
        _ = x + z
    assert memory.peak == 2 * 400
    assert memory.now == 2 * 400


def test_what_a_backward_pass_recomputes_counts() -> None:
    def held(checkpoint: bool) -> int:
        x = torch.ones(1000, requires_grad=True)

        def deep(x: torch.Tensor) -> torch.Tensor:
            for _ in range(8):
                x = x.exp()
            return x

        with PeakMemory(held=[x]) as memory:
            y = (
                torch.utils.checkpoint.checkpoint(deep, x, use_reentrant=False)
                if checkpoint
                else deep(x)
            )
            y.sum().backward()
        return memory.peak

    assert held(True) >= held(False)
