"""Folders of clips in the documented layout, as small as they can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from specs.data_clips import ClipData
from trainers.data.clip_layout import ACTIONS, FEATURES, clip_name

FRAMES, ROWS, COLUMNS, WIDTH = 3, 2, 2, 4
IMPULSE = (0.25, -1.5)


def features(number: int = 0) -> Any:
    """(T, P, F), different for each clip and each place."""
    count = FRAMES * ROWS * COLUMNS * WIDTH
    flat = np.arange(count, dtype=np.float32) + 100 * (number % 100)
    return flat.reshape(FRAMES, ROWS * COLUMNS, WIDTH).astype(np.float16)


def actions(number: int = 0, steps: int = 6) -> Any:
    found = np.full((steps, 2), 9.0, np.float32)
    found[1] = (IMPULSE[0] + number, IMPULSE[1])
    return found


def write_clip(task: Path, number: int, **changes: Any) -> Path:
    clip = task / clip_name(number)
    given = {"features": features(number), "actions": actions(number), **changes}
    for name, values in ((FEATURES, given["features"]), (ACTIONS, given["actions"])):
        (clip / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(clip / name, values)
    return clip


def folder(root: Path, **tasks: int) -> Path:
    """So many clips of each task."""
    for task, clips in tasks.items():
        for number in range(clips):
            write_clip(root / task, number)
    return root


def settings(root: Path, **fields: Any) -> ClipData:
    given = {"grid": (ROWS, COLUMNS), "feature_width": WIDTH, "frames": FRAMES, **fields}
    return ClipData(kind="clips", path=str(root), **given)
