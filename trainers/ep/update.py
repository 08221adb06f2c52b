"""One update of the parameters: clip by the global norm, AdamW, weight caps, average; in that order."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from specs.trainer_ep import EpTrainer
from trainers.ep.block import Params
from trainers.ep.caps import cap_


def clip_factor(norm: float, clip: float) -> float:
    """What the total gradient of norm ``norm`` is multiplied by."""
    return min(1.0, clip / norm) if norm > 0 else 1.0


@torch.no_grad()
def update_(
    params: Params,
    ema: Params,
    optimizer: torch.optim.Optimizer,
    gradient: tuple[Tensor, ...],
    settings: EpTrainer,
    *,
    lr: float,
    factor: float,
    initial_norms: Mapping[str, float],
) -> Tensor | None:
    """Move ``params`` and ``ema`` in place. The fraction of matrices that were capped; None without caps."""
    for tensor, part in zip(params, gradient, strict=True):
        tensor.grad = part * factor
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    capped = cap_(params, initial_norms, settings.weight_cap) if settings.weight_cap else None
    torch._foreach_lerp_(list(ema), list(params), 1 - settings.ema)
    return capped
