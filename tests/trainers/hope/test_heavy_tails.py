"""Gradients of the model at its documented depth on features with heavy tails."""

from __future__ import annotations

from dataclasses import replace

import numpy
import pytest
import torch

from specs.trainer_hope import HopeModel, Losses
from tests.trainers.hope import small
from trainers.hope import gradients
from trainers.hope.losses import lost


@pytest.mark.parametrize("interval", [0, 1, 2, 4])
@pytest.mark.parametrize("normalised", [True, False])
def test_features_with_heavy_tails_and_outlier_channels_leave_them_finite(
    interval: int, normalised: bool
) -> None:
    """Student-t of 2.5 degrees of freedom, one channel twelve times as large, all of standard deviation 3.2."""
    of = HopeModel.model_validate({
        "pattern": "HHHHHH", "width": 48, "heads": 4, "drop_path": 0.0, "conditioning_bias_std": 0.02,
        "normalise_features": normalised, "memories": {"detach_interval": interval},
    })  # fmt: skip
    model = small.predictor(of, context=7, dtype=torch.float32)
    batch = small.batch(2, context=7, dtype=torch.float32)
    heavy = numpy.random.default_rng(5).standard_t(2.5, batch.features.shape)
    heavy[..., 0] *= 12
    features = torch.from_numpy(3.2 * heavy / heavy.std()).float()
    lost(model, replace(batch, features=features), Losses(), torch.tensor([5, 7])).total.backward()
    found = gradients.norms(gradients.present(model), 6)
    assert int(found.bad) == 0
    assert float(gradients.block_ratio(found.blocks)) < 100
