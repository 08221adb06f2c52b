"""A picture of some clips: a row each, its frames from left to right, what it is beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

FRAME_SIDE = 112
_GAP, _EDGE, _CAPTION, _HEAD = 6, 18, 168, 72
_PAPER, _INK, _FAINT, _ARROW = (250, 249, 246), (38, 40, 44), (128, 130, 136), (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class Row:
    """``frames`` (C, H, W, 3) uint8; an ``arrow`` from and to, in parts of the first frame's width and height."""

    title: str
    facts: tuple[str, ...]
    frames: NDArray[np.uint8]
    arrow: tuple[float, float, float, float] | None = None


def sheet(title: str, subtitle: str, columns: Sequence[str], rows: Sequence[Row]) -> Image.Image:
    """All rows have as many frames as there are columns. Frames are enlarged pixel by pixel, not smoothed."""
    height, width = _cell(rows[0].frames)
    size = (
        2 * _EDGE + _CAPTION + len(columns) * (width + _GAP),
        2 * _EDGE + _HEAD + len(rows) * (height + _GAP),
    )
    page = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((_EDGE, _EDGE), title, _INK, ImageFont.load_default(20))
    pen.text((_EDGE, _EDGE + 26), subtitle, _FAINT, ImageFont.load_default(12))
    for column, name in enumerate(columns):
        left = _EDGE + _CAPTION + column * (width + _GAP)
        pen.text((left, _EDGE + _HEAD - 16), name, _FAINT, ImageFont.load_default(12))
    for number, row in enumerate(rows):
        _row(page, pen, row, _EDGE + _HEAD + number * (height + _GAP), (width, height))
    return page


def _row(
    page: Image.Image, pen: ImageDraw.ImageDraw, row: Row, top: int, cell: tuple[int, int]
) -> None:
    pen.text((_EDGE, top + 2), row.title, _INK, ImageFont.load_default(14))
    for line, fact in enumerate(row.facts):
        pen.text((_EDGE, top + 22 + 15 * line), fact, _FAINT, ImageFont.load_default(12))
    for column, frame in enumerate(row.frames):
        picture = Image.fromarray(frame).resize(cell, Image.Resampling.NEAREST)
        page.paste(picture, (_EDGE + _CAPTION + column * (cell[0] + _GAP), top))
    if row.arrow is not None:
        _arrow(pen, row.arrow, (_EDGE + _CAPTION, top), cell)


def _arrow(
    pen: ImageDraw.ImageDraw,
    arrow: tuple[float, float, float, float],
    corner: tuple[int, int],
    cell: tuple[int, int],
) -> None:
    start, end = (
        np.array(corner) + np.clip(point, 0.02, 0.98) * np.array(cell)
        for point in (np.array(arrow[:2]), np.array(arrow[2:]))
    )
    along = (end - start) / max(1e-6, float(np.hypot(*(end - start))))
    across = np.array((-along[1], along[0]))
    head = [end, end - 7 * along + 4 * across, end - 7 * along - 4 * across]
    pen.line([tuple(start), tuple(end - 5 * along)], _ARROW, 2)
    pen.polygon([tuple(point) for point in head], _ARROW)


def _cell(frames: NDArray[np.uint8]) -> tuple[int, int]:
    """Height and width of a frame on the page: whole pixels of its own, about `FRAME_SIDE` high."""
    H, W = frames.shape[1:3]
    times = max(1, round(FRAME_SIDE / H))
    if H > 2 * FRAME_SIDE:
        return FRAME_SIDE, round(FRAME_SIDE * W / H)
    return times * H, times * W
