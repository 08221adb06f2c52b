"""Rotary positions over time, height and width.

The dimensions of a head are cut in three equal, even parts, one an axis; what is left over is not rotated. Action
and state token of a frame have a time but no place: only their first part turns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specs.trainer_hope import Rope
from trainers.hope.titan import CONDITIONING

BASE = 10_000.0


def part_width(head_width: int) -> int:
    """Dimensions that turn with one axis."""
    return 2 * ((head_width // 3) // 2)


def angles(positions: Tensor, width: int, form: Rope) -> Tensor:
    """(..., N) positions -> (..., N, width): the angle of each dimension. Pairs are neighbours.

    UPSTREAM lays the frequencies out one after the other and so gives the two of a pair different ones; released
    checkpoints were trained that way.
    """
    steps = torch.arange(width // 2, device=positions.device, dtype=torch.float64)
    angle = positions.double()[..., None] * BASE ** (-2 * steps / width)
    if form is Rope.UPSTREAM:
        return torch.cat((angle, angle), dim=-1)
    return angle.repeat_interleave(2, dim=-1)


def table(
    times: Tensor, grid: tuple[int, int], head_width: int, form: Rope
) -> tuple[Tensor, Tensor]:
    """(cos, sin), (S, 1, T P, head_width) float32, of frames at ``times`` (S, T): for all heads alike."""
    down, across = grid
    patch = torch.arange(down * across, device=times.device)
    none = torch.zeros(CONDITIONING, dtype=patch.dtype, device=times.device)
    frames, per_frame = times.shape[1], CONDITIONING + down * across
    rows = torch.cat((none, patch // across)).repeat(frames).expand(len(times), -1)
    columns = torch.cat((none, patch % across)).repeat(frames).expand(len(times), -1)
    width = part_width(head_width)
    turned = torch.cat(
        [
            angles(at, width, form)
            for at in (times.repeat_interleave(per_frame, dim=1), rows, columns)
        ],
        dim=-1,
    )
    rest = turned.new_zeros(*turned.shape[:-1], head_width - 3 * width)
    turned = torch.cat((turned, rest), dim=-1)[:, None]
    return turned.cos().float(), turned.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn (..., N, head_width) by the table, of its type: neighbours (a, b) -> (a cos - b sin, b cos + a sin)."""
    pairs = x.unflatten(-1, (-1, 2))
    across = torch.stack((-pairs[..., 1], pairs[..., 0]), dim=-1).flatten(-2)
    return x * cos + across * sin
