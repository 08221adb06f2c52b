"""Pictures of a puck on its table, with soft edges one pixel wide, so that they change smoothly with its position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from trainers.data.puck.parameters import Pucks, Table
from trainers.data.puck.physics import Path

MARGIN = 0.05
"""Of the picture beyond each side of the table, where its walls are."""

FELT, ICE = (0.20, 0.33, 0.29), (0.25, 0.38, 0.40)
WALL = (0.55, 0.43, 0.30)
PUCK, MARK = (0.86, 0.24, 0.16), (0.98, 0.87, 0.55)
"""Half of the puck's top is of the second colour, and shows how far it has turned."""

_RIM = 0.15  # of the radius: darker, so that the half is seen as a mark on a disc
_LIGHT = 0.10  # the table is brighter by so much at one corner than at the opposite one


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What pictures are made of, as tensors: N clips, M moments."""

    position: Tensor  # (N, M, 2)
    angle: Tensor  # (N, M)
    radius: Tensor  # (N,)
    ice: Tensor  # (N,)
    bars: Tensor  # (N, BARS, 4)

    def parts(self, clips: int) -> Iterator[Scene]:
        """So many clips at a time."""
        cut = [getattr(self, field.name).split(clips) for field in fields(self)]
        for part in zip(*cut, strict=True):
            yield Scene(**{field.name: t for field, t in zip(fields(self), part, strict=True)})


def table_of(grid: tuple[int, int]) -> Table:
    """The table whose picture, margins included, has the shape of a grid of square patches."""
    rows, columns = grid
    picture = (1 + 2 * MARGIN) * np.array((columns, rows)) / min(grid)
    return Table(width=float(picture[0]) - 2 * MARGIN, height=float(picture[1]) - 2 * MARGIN)


def scene(pucks: Pucks, path: Path, device: torch.device) -> Scene:
    """Float32 on the device."""

    def tensor(values: object) -> Tensor:
        return torch.as_tensor(values).to(device, torch.float32)

    return Scene(
        position=tensor(path.position),
        angle=tensor(path.angle),
        radius=tensor(pucks.radius),
        ice=tensor(pucks.ice),
        bars=tensor(pucks.bars),
    )


def render(of: Scene, table: Table, size: tuple[int, int]) -> Tensor:
    """(N, M, 3, H, W) of colours in [0, 1]; ``size`` is (H, W)."""
    H, W = size
    pixel = (table.height + 2 * MARGIN) / H
    x = (torch.arange(W, device=of.radius.device) + 0.5) * pixel - MARGIN
    y = (torch.arange(H, device=of.radius.device) + 0.5) * pixel - MARGIN
    picture = _background(of, table, x, y, pixel)[:, None]
    dx = x - of.position[..., 0, None, None]
    dy = y[:, None] - of.position[..., 1, None, None]
    radius = of.radius[:, None, None, None]
    from_centre = (dx.square() + dy.square()).sqrt()
    cos, sin = of.angle.cos()[..., None, None], of.angle.sin()[..., None, None]
    top = _mixed(
        _colour(PUCK, x), _colour(MARK, x), _inside(dx * cos + dy * sin, pixel)[:, :, None]
    )
    rim = _inside((1 - _RIM) * radius - from_centre, pixel)[:, :, None]
    disc = _inside(from_centre - radius, pixel)[:, :, None]
    return _mixed(picture, top * (1 - 0.35 * rim), disc)


def _background(of: Scene, table: Table, x: Tensor, y: Tensor, pixel: float) -> Tensor:
    """Table, its border and inner walls, (N, 3, H, W)."""
    surface = _mixed(_colour(FELT, x), _colour(ICE, x), of.ice[:, None, None, None])
    light = 1 + _LIGHT * (0.5 - (x / table.width + y[:, None] / table.height) / 2)
    outside = -torch.minimum(
        torch.minimum(x, table.width - x), torch.minimum(y, table.height - y)[:, None]
    )
    walls = _inside(-outside, pixel).expand(len(of.radius), -1, -1)
    for bar in of.bars.unbind(1):
        left, top, right, bottom = (side[:, None, None] for side in bar.unbind(-1))
        beyond = torch.maximum(
            torch.maximum(left - x, x - right), torch.maximum(top - y[:, None], y[:, None] - bottom)
        )
        walls = torch.maximum(walls, _inside(beyond, pixel) * (right > left))
    return _mixed(surface * light, _colour(WALL, x), walls[:, None])


def _inside(distance: Tensor, pixel: float) -> Tensor:
    """1 within a shape, 0 outside, by the signed distance to its edge."""
    return (0.5 - distance / pixel).clamp(0, 1)


def _mixed(under: Tensor, over: Tensor, cover: Tensor) -> Tensor:
    return torch.lerp(under, over, cover)


def _colour(colour: tuple[float, float, float], like: Tensor) -> Tensor:
    return like.new_tensor(colour)[:, None, None]
