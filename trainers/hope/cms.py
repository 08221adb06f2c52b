"""The continuum memory system: a cascade of MLPs, level l on every frame, or on every period-th one.

Level l: x + W_b gelu(W_a LN_l(x) + b_a) + b_b. Frames count from the start of the clip, so that a pass over one
frame of a rollout runs the levels that a pass over all frames runs on it.
"""

from __future__ import annotations

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
        for level, period in zip(self.levels, self.periods, strict=True):
            y = _run(level, y, period, first_frame)
        return y.flatten(1, 2) - x


def _run(level: nn.Module, y: Tensor, period: int, first_frame: int) -> Tensor:
    """``level`` on the frames of (B, T, P, D) whose number is a whole multiple of ``period``."""
    if period == 1:
        ran: Tensor = y + level(y)
        return ran
    first = -first_frame % period
    if first >= y.shape[1]:
        return y
    z = y.clone()
    z[:, first::period] = y[:, first::period] + level(y[:, first::period])
    return z


def runs_on(period: int, frames: int, first_frame: int = 0) -> list[int]:
    """The frames, counted from the start of the clip, on which a level of ``period`` runs."""
    return [t for t in range(first_frame, first_frame + frames) if t % period == 0]
