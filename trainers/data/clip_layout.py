"""File names of a folder of clips, ``<task>/clip_XXXXX/``; one home for those who read and who write them."""

from __future__ import annotations

import re
from pathlib import Path

FEATURES = Path("feature_maps/vjepa2_vitl16.npy")
ACTIONS = Path("actions_states/actions.npy")
CONTACT_SHEET = "contact_sheet.png"
MADE_WITH = "made_with.json"
"""Beside the clips of a task: what they were made with, so that nothing else is added to them."""

PARAMETERS = "puck.json"
"""Of one clip: the physics that it shows."""

IMPULSE_ROW = 1
"""The row of a file of actions that holds the impulse; a batch has it at index 0."""

_CLIP = re.compile(r"clip_(\d{5,})")


def clip_name(number: int) -> str:
    """``clip_00042``."""
    return f"clip_{number:05d}"


def clips_in(folder: Path) -> list[Path]:
    """Clips of a task in the order of their numbers."""
    found = [(match, path) for path in folder.iterdir() if (match := _CLIP.fullmatch(path.name))]
    return [path for match, path in sorted(found, key=lambda pair: int(pair[0][1]))]
