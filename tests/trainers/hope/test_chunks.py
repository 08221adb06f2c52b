"""Chunks of frames: what a frame reads of those before it, and sequences that no chunk divides."""

from __future__ import annotations

import pytest
import torch

from specs.trainer_hope import Losses
from tests.trainers.hope import small
from trainers.hope.losses import lost
from trainers.hope.model import Predictor


def predictor(pattern: str, **memories: object) -> Predictor:
    return small.trained(small.predictor(small.settings(pattern=pattern, memories=memories)))


@pytest.mark.parametrize("pattern", ["H", "U"])
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_a_frame_reads_what_was_written_up_to_the_chunk_before_its_own(
    pattern: str, chunk: int
) -> None:
    model = predictor(pattern, chunk_frames=chunk)
    clips = small.batch().inputs()
    seen = model(clips).features
    frozen = model(clips, writes=False).features
    differs = (seen != frozen).any(-1).any(-1).any(0).tolist()
    assert differs == [t >= chunk for t in range(small.CONTEXT)]


@pytest.mark.parametrize("pattern", ["H", "U"])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("chunk", [2, 3, 9])
def test_a_last_chunk_may_be_shorter_than_the_others(pattern: str, skip: bool, chunk: int) -> None:
    """Of a teacher pass whose frames no chunk divides, and of a jump, which has one frame."""
    model = predictor(pattern, chunk_frames=chunk, skip_conditioning=skip, detach_interval=0)
    losses = Losses(auxiliary=0.1, isolate_state=False)
    total = lost(model, small.batch(), losses, torch.tensor([3, 4])).total
    total.backward()
    found = [p.grad for p in model.parameters() if p.grad is not None]
    assert torch.isfinite(total) and all(torch.isfinite(g).all() for g in found)
