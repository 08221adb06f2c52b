"""Small predictors and clips for the tests of HOPE."""

from __future__ import annotations

from typing import Any

import torch

from specs.trainer_hope import HopeModel
from trainers.hope.init import initialise
from trainers.hope.losses import Batch
from trainers.hope.model import Predictor

GRID = (2, 3)
FEATURES = 10
CONTEXT = 4


def settings(**more: Any) -> HopeModel:
    given = {
        "pattern": "HH",
        "width": 12,
        "heads": 2,
        "drop_path": 0.0,
        "conditioning_bias_std": 0.02,
    }
    return HopeModel.model_validate(given | more)


def predictor(
    of: HopeModel, *, context: int = CONTEXT, dtype: torch.dtype = torch.float64
) -> Predictor:
    model = Predictor(of, grid=GRID, feature_width=FEATURES, context=context)
    initialise(model, of, torch.Generator().manual_seed(1))
    return model.to(dtype)


def batch(
    samples: int = 2, *, context: int = CONTEXT, dtype: torch.dtype = torch.float64, seed: int = 2
) -> Batch:
    source = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=source, dtype=dtype)

    patches = GRID[0] * GRID[1]
    actions = torch.zeros(samples, context, 2, dtype=dtype)
    actions[:, 0] = normal(samples, 2)
    return Batch(
        features=3.2 * normal(samples, context + 1, patches, FEATURES),
        actions=actions,
        states=torch.zeros(samples, context, 2, dtype=dtype),
    )


def trained(model: Predictor, scale: float = 0.3) -> Predictor:
    """The same model with parameters far from their start, so that nothing is small by initialisation."""
    source = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=source).to(parameter))
    return model
