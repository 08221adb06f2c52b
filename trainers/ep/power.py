"""Power iteration on the self-blocks of a Jacobian: for every token the direction that grows most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Power:
    """The outcome of the power steps, for every token."""

    v: Tensor  # (B, T, C) unit vectors per token
    growth: Tensor  # (B, T) ||v + eps J_tt v||


@torch.no_grad()
def power(self_jvp: Callable[[Tensor], Tensor], v: Tensor, eps: float, steps: int) -> Power:
    """``steps`` times v_t <- normalise(v_t + eps J_tt v_t), from ``v`` (B, T, C), then the growth once more."""
    v = v / torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    for _ in range(steps):
        v = torch.add(v, self_jvp(v), alpha=eps)
        v = v / torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    growth = torch.linalg.vector_norm(torch.add(v, self_jvp(v), alpha=eps), dim=-1)
    return Power(v=v, growth=growth)
