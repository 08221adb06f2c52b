"""The continuum memory system: a cascade of MLPs, level l on every frame, or on every period-th one.

Level l: x + W_b gelu(W_a LN_l(x) + b_a) + b_b. Frames count from the start of the clip, so that a pass over one
frame of a rollout runs the levels that a pass over all frames runs on it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from specs.trainer_hope import ContinuumMemory


class Level(nn.Module):
    """One MLP of the cascade, its residual left to the caller."""

    def __init__(self, width: int, mult: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, int(width * mult))
        self.fc2 = nn.Linear(int(width * mult), width)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.fc2(nnf.gelu(self.fc1(self.norm(x))))
        return added


class Cms(nn.Module):
    """All levels in order, (B, N, D) -> the sum of what they add, (B, N, D)."""

    def __init__(self, width: int, settings: ContinuumMemory) -> None:
        super().__init__()
        self.levels = nn.ModuleList(Level(width, mult) for mult in settings.mults)
        self.periods = settings.periods if settings.scheduled else (1,) * len(settings.mults)

    def forward(self, x: Tensor, *, frame_tokens: int, first_frame: int = 0) -> Tensor:
        y = x.unflatten(1, (-1, frame_tokens))
        added: Tensor | None = None
        for level, period in zip(self.levels, self.periods, strict=True):
            first = -first_frame % period
            if first < y.shape[1]:
                added = _run(level, y, added, slice(first, None, period))
        return (torch.zeros_like(y) if added is None else added).flatten(1, 2)


def _run(level: nn.Module, y: Tensor, added: Tensor | None, frames: slice) -> Tensor:
    """What was ``added`` to (B, T, P, D) so far, and what ``level`` adds to ``frames``: no other frame is touched.

    In place: of what was added nothing is needed again by a backward pass.
    """
    seen = y[:, frames] if added is None else y[:, frames] + added[:, frames]
    own: Tensor = level(seen)
    if added is None and own.shape == y.shape:
        return own
    if added is None:
        added = torch.zeros_like(y, dtype=own.dtype)
    added[:, frames] += own
    return added
