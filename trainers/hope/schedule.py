"""Warm-up, constant, decay: the rate of a step as a fraction of each group's peak."""

from __future__ import annotations

import math

from specs.trainer_hope import HopeOptimizer


def factor(step: int, steps: int, settings: HopeOptimizer) -> float:
    """Of the peak, at step ``step`` (from 0) of ``steps``: linear from start_lr / lr, then 1, then down to 0."""
    warm, fall = settings.warmup * steps, settings.decay * steps
    if step < warm:
        first = settings.start_lr / settings.lr
        return first + (1 - first) * step / warm
    left = steps - step
    if left >= fall:
        return 1.0
    if settings.decay_shape == "linear":
        return left / fall
    return 0.5 * (1 + math.cos(math.pi * (1 - left / fall)))
