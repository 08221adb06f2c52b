"""The learning rate: linear warm-up, constant, linear decay to zero over the last part (WSD)."""

from __future__ import annotations

from specs.trainer_ep import Optimizer


def learning_rate(step: int, steps: int, settings: Optimizer) -> float:
    """The rate of training step ``step`` (from 0) out of ``steps``.

    The first warm-up step has lr / warmup, the last step of all one part of the decay, not zero.
    """
    warm = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
    decay = settings.decay_fraction * steps
    cool = min(1.0, (steps - step) / decay) if decay else 1.0
    return settings.lr * min(warm, cool)
