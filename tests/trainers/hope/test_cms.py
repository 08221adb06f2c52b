"""The continuum memory system: which frames a level runs on, and that others pass it untouched."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from specs.trainer_hope import ContinuumMemory
from trainers.hope.cms import Cms

D, TOKENS, FRAMES = 6, 3, 7
PERIODS = (1, 3, 7)


def cms(*, scheduled: bool, periods: tuple[int, ...] = PERIODS) -> Cms:
    of = ContinuumMemory(mults=(1.0,) * len(periods), periods=periods, scheduled=scheduled)
    source = torch.Generator().manual_seed(0)
    made = Cms(D, of).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=source).double())
    return made


def tokens(frames: int = FRAMES) -> Tensor:
    source = torch.Generator().manual_seed(1)
    return torch.randn(2, frames * TOKENS, D, generator=source, dtype=torch.float64)


def frames_of(made: Cms, level: int, first_frame: int = 0, frames: int = FRAMES) -> set[int]:
    """The frames of the clip whose tokens a level is given."""
    x = tokens(frames)
    with torch.no_grad():
        whole = made(x, frame_tokens=TOKENS, first_frame=first_frame)
        for parameter in made.levels[level].fc2.parameters():
            parameter.zero_()
        without = made(x, frame_tokens=TOKENS, first_frame=first_frame)
    changed = (whole != without).unflatten(1, (-1, TOKENS)).any(-1).any(-1).any(0)
    return {first_frame + t for t in range(frames) if changed[t]}


@pytest.mark.parametrize(("level", "ran"), [(0, set(range(7))), (1, {0, 3, 6}), (2, {0})])
def test_a_level_runs_on_the_frames_that_its_period_divides(level: int, ran: set[int]) -> None:
    assert frames_of(cms(scheduled=True), level) == ran


@pytest.mark.parametrize("level", range(3))
def test_without_a_schedule_every_level_runs_on_every_frame(level: int) -> None:
    assert frames_of(cms(scheduled=False), level) == set(range(7))


@pytest.mark.parametrize("level", range(3))
def test_every_level_runs_on_the_only_frame_of_a_jump(level: int) -> None:
    assert frames_of(cms(scheduled=True), level, frames=1) == {0}


@pytest.mark.parametrize(("level", "ran"), [(0, {4, 5, 6, 7}), (1, {6}), (2, {7})])
def test_frames_count_from_the_start_of_the_clip(level: int, ran: set[int]) -> None:
    assert frames_of(cms(scheduled=True), level, first_frame=4, frames=4) == ran


@pytest.mark.parametrize("periods", [PERIODS, (2, 3, 7)])
def test_what_it_adds_is_the_cascade_of_its_levels(periods: tuple[int, ...]) -> None:
    """Written frame by frame: y goes through each level that runs, and what is added is y at the end less x."""
    made, x = cms(scheduled=True, periods=periods), tokens()
    y = x.unflatten(1, (-1, TOKENS)).clone()
    for level, period in zip(made.levels, periods, strict=True):
        for t in range(FRAMES):
            if t % period == 0:
                y[:, t] = y[:, t] + level(y[:, t])
    expected = y.flatten(1, 2) - x
    torch.testing.assert_close(made(x, frame_tokens=TOKENS), expected, rtol=1e-10, atol=1e-12)


def test_where_no_level_runs_nothing_is_added() -> None:
    made = cms(scheduled=True, periods=(2, 3, 7))
    assert not made(tokens(1), frame_tokens=TOKENS, first_frame=1).any()
