"""Attention that sees its own frame and the frames before it, and the transformer block around it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from specs.trainer_hope import HopeModel, Rope
from trainers.hope import rope

LN_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Sight:
    """Where tokens stand and what they see: the same for all layers of a pass, made once.

    ``turn``: cosine and sine of the rotary positions, None without them; ``mask``: see `frame_mask`.
    """

    turn: tuple[Tensor, Tensor] | None
    mask: Tensor | None


def sight(settings: HopeModel, times: Tensor, grid: tuple[int, int], dtype: torch.dtype) -> Sight:
    """Of frames at ``times`` (B or 1, T), in which positions turn; tables in ``dtype``."""
    turn = None
    if settings.rope is not Rope.OFF:
        cos, sin = rope.table(times, grid, settings.width // settings.heads, settings.rope)
        turn = cos.to(dtype), sin.to(dtype)
    frame_tokens = rope.CONDITIONING + grid[0] * grid[1]
    return Sight(turn=turn, mask=frame_mask(times.shape[1], frame_tokens, times.device))


class FrameAttention(nn.Module):
    """Multi-head attention over (B, N, D); all tokens of a frame see each other and every earlier frame."""

    def __init__(self, settings: HopeModel) -> None:
        super().__init__()
        self.heads = settings.heads
        self.qkv = nn.Linear(settings.width, 3 * settings.width)
        self.proj = nn.Linear(settings.width, settings.width)

    def forward(self, x: Tensor, sight: Sight) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if sight.turn is not None:
            q, k = rope.rotate(q, *sight.turn), rope.rotate(k, *sight.turn)
        seen = nnf.scaled_dot_product_attention(q, k, v, attn_mask=sight.mask)
        return self.proj(seen.transpose(1, 2).flatten(-2))


def frame_mask(frames: int, frame_tokens: int, device: torch.device) -> Tensor | None:
    """(N, N), true where a token may look; None where it may look everywhere."""
    if frames == 1:
        return None
    frame = torch.arange(frames, device=device).repeat_interleave(frame_tokens)
    return frame[:, None] >= frame


class Mlp(nn.Module):
    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, int(width * ratio))
        self.fc2 = nn.Linear(int(width * ratio), width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(nnf.gelu(self.fc1(x)))
        return out
