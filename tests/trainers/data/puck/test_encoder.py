"""Laws of the features: statistics, and what can be read off them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from specs.data_clips import TASKS, PuckData
from trainers.data.puck.clips import Studio, studio
from trainers.data.puck.parameters import draw
from trainers.data.puck.physics import simulate

CPU = torch.device("cpu")


def made(**fields: Any) -> Studio:
    return studio(PuckData(**{"grid": (4, 4), "feature_width": 64, **fields}), CPU)


def some(by: Studio, task: str, clips: int) -> Tensor:
    return torch.cat([part for _, part in by.all_features(task, clips)]).float()


@pytest.fixture(scope="module")
def small() -> Studio:
    return made()


@pytest.fixture(scope="module")
def base(small: Studio) -> Tensor:
    """(400, 8, 16, 64)."""
    return some(small, "base", 400)


def explained(features: Tensor, wanted: Tensor) -> float:
    """R^2 of the worse component by ridge regression; the last fifth of the clips is judged."""
    X = features.flatten(2).flatten(0, 1)
    Y = wanted.flatten(0, 1)
    cut = int(0.8 * len(features)) * features.shape[1]
    X = (X - X[:cut].mean(0)) / (X[:cut].std(0) + 1e-3)
    mean = Y[:cut].mean(0)
    gram = X[:cut].T @ X[:cut] + 300 * torch.eye(X.shape[1])
    weights = torch.linalg.solve(gram, X[:cut].T @ (Y[:cut] - mean))
    rest = Y[cut:] - mean - X[cut:] @ weights
    return float((1 - rest.square().sum(0) / (Y[cut:] - Y[cut:].mean(0)).square().sum(0)).min())


def truth(by: Studio, of: Callable[[Tensor], Tensor]) -> Tensor:
    path = simulate(draw(0, "base", range(400), by.table), by.table, 16)
    return of(torch.from_numpy(path.position).float().unflatten(1, (8, 2)))


def test_position_can_be_read_off_the_features(small: Studio, base: Tensor) -> None:
    assert explained(base, truth(small, lambda pairs: pairs.mean(2))) > 0.9


def test_a_single_frame_carries_velocity(small: Studio, base: Tensor) -> None:
    """Chance gives zero; the two pictures of a tubelet give most of it."""
    assert explained(base, truth(small, lambda pairs: pairs[:, :, 1] - pairs[:, :, 0])) > 0.5


@pytest.mark.parametrize(
    ("width", "std"), [(64, 3.2), (256, 3.2), (256, 1.0)], ids=["narrow", "wide", "other std"]
)
def test_features_have_the_statistics_of_a_trained_encoder(width: int, std: float) -> None:
    by = made(feature_width=width, feature_std=std)
    features = torch.cat([some(by, task, 24) for task in TASKS])
    assert float(features.std()) == pytest.approx(std, rel=0.1)
    assert 6 * std < float(features.abs().max()) < 14 * std
    means = features.mean((0, 1, 2)).abs()
    assert int((means > 4 * std).sum()) == max(1, width // 128)
    assert float(means.median()) < 0.5 * std


def test_what_moves_is_seen_in_every_patch(base: Tensor) -> None:
    assert float(base.std((0, 1)).mean(-1).min()) > 0.2


def test_features_are_the_same_each_time_and_other_with_another_seed(
    small: Studio, base: Tensor
) -> None:
    assert torch.equal(some(made(), "base", 8), some(made(), "base", 8))
    assert not torch.allclose(some(made(seed=1), "base", 8), base[:8], atol=1.0)


def test_a_clip_is_the_same_alone_and_among_others(small: Studio, base: Tensor) -> None:
    alone = small.features("base", np.array([37])).float()
    torch.testing.assert_close(alone[0], base[37], atol=0.02, rtol=1e-3)


@pytest.mark.gpu
def test_a_gpu_makes_the_same_features_up_to_rounding(base: Tensor) -> None:
    by = studio(PuckData(grid=(4, 4), feature_width=64), torch.device("cuda"))
    found = by.features("base", np.arange(16)).float().cpu()
    torch.testing.assert_close(found, base[:16], atol=0.03, rtol=2e-3)
