"""The contact sheet of a task of the puck: its first clips, as the encoder sees them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from trainers.data.contact_sheet import Row, sheet
from trainers.data.puck.clips import Studio, pictures
from trainers.data.puck.encoder import TUBELET
from trainers.data.puck.parameters import Pucks, Table, draw
from trainers.data.puck.physics import FRAME_SECONDS
from trainers.data.puck.render import MARGIN, PUCK, WALL

SHOWN = 8
_RED = (WALL[0] + PUCK[0]) / 2
_ARROW_SECONDS = 0.3  # its length: the way in this time, if nothing slowed the puck


def portrait(by: Studio, task: str, clips: int) -> Image.Image:
    """Every second frame of at most `SHOWN` clips, and all frames in one."""
    of = by.settings
    numbers = np.arange(min(clips, SHOWN), dtype=np.int64)
    pucks = draw(of.seed, task, numbers, by.table)
    seen = pictures(pucks, by.table, of.frames, by.size, torch.device("cpu"))
    frames = (255 * seen).round().byte().permute(0, 1, 3, 4, 2).numpy()
    rows = [
        Row(
            title=f"clip {number}",
            facts=_facts(pucks, row),
            frames=np.concatenate((frames[row, ::TUBELET], _overlaid(frames[row])[None])),
            arrow=_arrow(pucks, row, by.table),
        )
        for row, number in enumerate(numbers)
    ]
    times = [f"{n * FRAME_SECONDS:.2f} s" for n in range(0, TUBELET * of.frames, TUBELET)]
    subtitle = (
        f"seed {of.seed};  {TUBELET * of.frames} frames of {by.size[1]} x {by.size[0]} pixels, every second one "
        f"shown;  features {of.frames} x {of.grid[0] * of.grid[1]} x {of.feature_width};  the arrow is the strike"
    )
    return sheet(f"Puck, task {task}", subtitle, [*times, "all frames"], rows)


def _overlaid(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The puck of every frame, later ones on top. It alone is so red."""
    whole = frames[0].copy()
    for frame in frames[1:]:
        puck = frame[..., 0] > 255 * _RED
        whole[puck] = frame[puck]
    return np.asarray(whole)


def _arrow(pucks: Pucks, row: int, table: Table) -> tuple[float, float, float, float]:
    way = _ARROW_SECONDS * pucks.impulse[row] / pucks.mass[row]
    size = np.array((table.width, table.height)) + 2 * MARGIN
    x, y = (pucks.position[row] + MARGIN) / size
    to_x, to_y = (pucks.position[row] + way + MARGIN) / size
    return float(x), float(y), float(to_x), float(to_y)


def _facts(pucks: Pucks, row: int) -> tuple[str, ...]:
    surface = "ice" if pucks.ice[row] else "felt"
    strike = float(np.hypot(*pucks.impulse[row]))
    bends = f", bends {pucks.curve[row]:.2f}" if pucks.curve[row] else ""
    return (
        f"friction {pucks.friction[row]:.3f} ({surface})",
        f"radius {pucks.radius[row]:.3f}, mass {pucks.mass[row]:.2f}",
        f"strike {strike:.2f}",
        f"spin {pucks.spin[row]:+.1f} rad/s{bends}",
        f"time steps x {pucks.coarse[row]}" if pucks.coarse[row] > 1 else "",
    )
