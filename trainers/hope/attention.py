"""Attention that sees its own frame and the frames before it, and the transformer block around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from specs.trainer_hope import HopeModel, Rope
from trainers.hope import rope

LN_EPS = 1e-6


class FrameAttention(nn.Module):
    """Multi-head attention over (B, N, D); all tokens of a frame see each other and every earlier frame."""

    def __init__(self, settings: HopeModel, grid: tuple[int, int]) -> None:
        super().__init__()
        self.heads = settings.heads
        self.form = settings.rope
        self.grid = grid
        self.qkv = nn.Linear(settings.width, 3 * settings.width)
        self.proj = nn.Linear(settings.width, settings.width)

    def forward(self, x: Tensor, times: Tensor, frame_tokens: int) -> Tensor:
        """``times`` (B or 1, T): the time of each frame, with which positions turn."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.form is not Rope.OFF:
            cos, sin = rope.table(times, self.grid, q.shape[-1], self.form)
            q, k = rope.rotate(q, cos, sin), rope.rotate(k, cos, sin)
        mask = frame_mask(times.shape[1], frame_tokens, x.device)
        seen = nnf.scaled_dot_product_attention(q, k, v, attn_mask=mask)
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
