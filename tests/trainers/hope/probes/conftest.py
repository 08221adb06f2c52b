"""Predictors that are probed: small, with toy clips, as a checkpoint would give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.trainers.hope.small import Clips, training
from trainers.hope.continual.protocol import tasks_of
from trainers.hope.probes.opened import Opened
from trainers.hope.trainer import HopeTraining

DOCUMENTED = {"model": {"pattern": "HHHHHH", "width": 48, "conditioning_bias_std": 0.0}}
"""The documents' initialisation at their depth: tokens of zeros stay exactly zero."""


def opened_of(trainer: HopeTraining, source: Clips) -> Opened:
    return Opened(
        settings=trainer._settings,
        model=trainer.model,
        source=source,
        device=torch.device("cpu"),
        step=trainer.step,
    )


@pytest.fixture
def probed() -> Callable[..., tuple[HopeTraining, Opened]]:
    """A trainer, after so many steps, and what a probe of its checkpoint gets."""

    def make(steps: int = 0, **more: Any) -> tuple[HopeTraining, Opened]:
        source = Clips(tasks_of(training(**more)._settings))
        trainer = training(source, **more)
        for _ in range(steps):
            trainer.advance()
        return trainer, opened_of(trainer, source)

    return make


@pytest.fixture
def said() -> list[str]:
    """What the probe has said."""
    return []
