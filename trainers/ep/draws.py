"""What a training step of EP draws, each from (seed, step, purpose)."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor

from specs.trainer_ep import EpTrainer
from trainers.draws import generator

__all__ = ["Purpose", "drawn_T1", "force_noise", "generator", "normal_like"]


class Purpose(StrEnum):
    INIT = "init"
    JACREG = "jacreg"
    HINGE = "hinge"
    HOMEOSTASIS = "homeostasis"
    ESTIMATE = "estimate"  # directions of the spectrum's power estimate
    NOISE = "noise"  # of the force
    T1 = "T1"  # length of the free phase


def normal_like(t: Tensor, seed: int, step: int, purpose: Purpose, index: int = 0) -> Tensor:
    """N(0, 1) of the shape, type and device of ``t``."""
    source = generator(seed, step, purpose, t.device, index)
    return torch.randn(t.shape, generator=source, dtype=t.dtype, device=t.device)


def force_noise(
    settings: EpTrainer, like: Tensor, step: int | None, index: int = 0
) -> Tensor | None:
    """The realisation ``index`` of the force's noise in training step ``step``, of the shape of ``like`` (B, T, C).

    None without `fnoise`, and outside of training (``step`` None): validation and probes see the force itself.
    """
    if settings.fnoise == 0 or step is None:
        return None
    return settings.fnoise * normal_like(like, settings.seed, step, Purpose.NOISE, index)


def drawn_T1(settings: EpTrainer, step: int | None) -> int:
    """T1 of training step ``step``: uniform within `random_T1`, both ends included; T1 itself outside of training.

    A model whose loss is always taken after the same number of steps learns that number (STARS, arXiv 2605.26733).
    """
    relaxation = settings.relaxation
    if not relaxation.random_T1 or step is None:
        return relaxation.T1
    low, high = relaxation.random_T1
    source = generator(settings.seed, step, Purpose.T1)
    return int(torch.randint(low, high + 1, (), generator=source))
